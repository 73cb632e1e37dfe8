// SPDX-License-Identifier: Apache-2.0
// Implementation of state_file.h.
#include "common/replica/state_file.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/hash.h"
#include "common/base/little_endian.h"
#include "common/base/status_macros.h"

namespace gradwire {
namespace {

constexpr char kMagic[] = "GWSTATE1";
constexpr size_t kMagicBytes = 8;
constexpr size_t kHashOffset = kMagicBytes + sizeof(uint64_t);
constexpr size_t kHashEnd = kHashOffset + sizeof(ChainHash);

// Of all but the hash itself.
ChainHash HashOf(absl::string_view file) {
  ChainHasher hasher;
  hasher.Add(file.substr(0, kHashOffset));
  hasher.Add(file.substr(kHashEnd));
  return hasher.Finish();
}

template <typename Number>
using Parts = std::map<std::string, std::vector<absl::Span<const Number>>>;

template <typename Number>
Parts<Number> PartsOf(const std::map<std::string, std::vector<Number>>& vectors) {
  Parts<Number> parts;
  for (const auto& [name, values] : vectors) parts[name] = {absl::MakeConstSpan(values)};
  return parts;
}

// Takes values off the front of some bytes; false where they end too soon.
class Reader {
 public:
  explicit Reader(absl::string_view bytes) : left_(bytes) {}

  template <typename T>
  bool Number(T* value) {
    if (left_.size() < sizeof(T)) return false;
    *value = LoadLittleEndian<T>(left_.data());
    left_.remove_prefix(sizeof(T));
    return true;
  }
  bool Bytes(uint64_t size, absl::string_view* bytes) {
    if (size > left_.size()) return false;
    *bytes = left_.substr(0, size);
    left_.remove_prefix(size);
    return true;
  }
  bool Value(std::string* text) {
    uint64_t size = 0;
    absl::string_view bytes;
    if (!Number(&size) || !Bytes(size, &bytes)) return false;
    *text = std::string(bytes);
    return true;
  }
  template <typename T>
  bool Value(std::vector<T>* values) {
    uint64_t size = 0;
    absl::string_view bytes;
    if (!Number(&size) || size > left_.size() / sizeof(T)) return false;
    if (!Bytes(size * sizeof(T), &bytes)) return false;
    values->resize(size);
    if (size != 0) std::memcpy(values->data(), bytes.data(), bytes.size());
    return true;
  }
  // Names have to ascend: one state has one encoding.
  template <typename V>
  bool List(std::map<std::string, V>* list) {
    uint32_t count = 0;
    if (!Number(&count)) return false;
    for (; count > 0; --count) {
      uint32_t size = 0;
      absl::string_view name;
      if (!Number(&size) || !Bytes(size, &name)) return false;
      if (!list->empty() && !(list->rbegin()->first < std::string(name))) return false;
      if (!Value(&(*list)[std::string(name)])) return false;
    }
    return true;
  }
  bool empty() const { return left_.empty(); }

 private:
  absl::string_view left_;
};

// That these bytes are one whole file, and undamaged.
absl::Status CheckWhole(absl::string_view bytes) {
  if (bytes.substr(0, kMagicBytes) != kMagic) {
    return absl::DataLossError(absl::StrCat("it does not begin with ", kMagic));
  }
  if (bytes.size() < kHashEnd) return absl::DataLossError("it is cut");
  if (AsView(HashOf(bytes)) != bytes.substr(kHashOffset, sizeof(ChainHash))) {
    return absl::DataLossError("it is cut or damaged: its checksum is wrong");
  }
  return absl::OkStatus();
}

}  // namespace

std::string EncodeStateFile(const StateFile& state) {
  StateFile shown = {.kind = state.kind, .texts = state.texts, .floats = {}, .doubles = {}};
  shown.float_views = PartsOf(state.floats);
  shown.float_views.insert(state.float_views.begin(), state.float_views.end());
  shown.double_views = state.double_views;
  for (const auto& [name, values] : state.doubles) shown.double_views[name] = values;
  const StatePieces encoded(std::move(shown));
  std::string file;
  for (const absl::string_view piece : encoded.pieces()) file.append(piece.data(), piece.size());
  return file;
}

StatePieces::StatePieces(StateFile state) : state_(std::move(state)) {
  std::string head(kMagic, kMagicBytes);
  head.append(kHashEnd - kMagicBytes, '\0');  // body_size and hash, filled in at last
  AppendLittleEndian(static_cast<uint32_t>(state_.kind.size()), &head);
  head += state_.kind;
  const size_t head_bytes = head.size();
  own_.push_back(std::move(head));
  std::map<std::string, const std::string*> texts;
  for (const auto& [name, text] : state_.texts) texts[name] = &text;
  Parts<float> floats = PartsOf(state_.floats);
  floats.insert(state_.float_views.begin(), state_.float_views.end());
  Parts<double> doubles = PartsOf(state_.doubles);
  for (const auto& [name, values] : state_.double_views) doubles[name] = {values};
  AddList(texts);
  AddList(floats);
  AddList(doubles);
  Seal(head_bytes);
}

void StatePieces::Show(absl::string_view bytes) {
  constexpr size_t kLong = size_t{1} << 16;
  if (bytes.size() < kLong) return Copy(bytes);
  shown_.push_back(bytes);
  own_.emplace_back();
}

void StatePieces::AddValue(const std::string* text) {
  AppendLittleEndian(uint64_t{text->size()}, &own_.back());
  Show(*text);
}

template <typename Number>
void StatePieces::AddValue(const std::vector<absl::Span<const Number>>& parts) {
  uint64_t values = 0;
  for (const absl::Span<const Number> part : parts) values += part.size();
  AppendLittleEndian(values, &own_.back());
  for (const absl::Span<const Number> part : parts) {
    if (part.empty()) continue;  // it may have no address
    Show({reinterpret_cast<const char*>(part.data()), part.size() * sizeof(Number)});
  }
}

template <typename Value>
void StatePieces::AddList(const std::map<std::string, Value>& list) {
  AppendLittleEndian(static_cast<uint32_t>(list.size()), &own_.back());
  for (const auto& [name, value] : list) {
    AppendLittleEndian(static_cast<uint32_t>(name.size()), &own_.back());
    Copy(name);
    AddValue(value);
  }
}

void StatePieces::Seal(size_t head_bytes) {
  for (size_t i = 0; i < own_.size(); ++i) {
    pieces_.emplace_back(own_[i]);
    if (i < shown_.size()) pieces_.push_back(shown_[i]);
  }
  uint64_t bytes = 0;
  for (const absl::string_view piece : pieces_) bytes += piece.size();
  std::string body_size;
  AppendLittleEndian(bytes - head_bytes, &body_size);
  std::string& head = own_.front();  // from here on of one length: pieces_ still shows it
  head.replace(kMagicBytes, body_size.size(), body_size);
  ChainHasher hasher;
  hasher.Add(pieces_.front().substr(0, kHashOffset));
  hasher.Add(pieces_.front().substr(kHashEnd));
  for (size_t i = 1; i < pieces_.size(); ++i) hasher.Add(pieces_[i]);
  const ChainHash hash = hasher.Finish();
  std::copy(hash.begin(), hash.end(), head.begin() + static_cast<ptrdiff_t>(kHashOffset));
}

absl::StatusOr<StateFile> DecodeStateFile(absl::string_view bytes, absl::string_view kind) {
  const absl::Status whole = CheckWhole(bytes);
  if (!whole.ok()) {
    return absl::DataLossError(
        absl::StrCat("a state file of ", bytes.size(), " bytes is refused: ", whole.message()));
  }
  Reader reader(bytes.substr(kHashEnd));
  const auto body_size = LoadLittleEndian<uint64_t>(bytes.data() + kMagicBytes);
  uint32_t kind_size = 0;
  absl::string_view found_kind;
  absl::string_view body;
  StateFile state;
  if (!reader.Number(&kind_size) || !reader.Bytes(kind_size, &found_kind) ||
      !reader.Bytes(body_size, &body) || !reader.empty()) {
    return absl::DataLossError("a state file is refused: its sizes do not fit its length");
  }
  if (found_kind != kind) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a state file of kind \"", found_kind, "\" is refused: wanted one of kind \"", kind, "\""));
  }
  state.kind = std::string(kind);
  Reader lists(body);
  if (!lists.List(&state.texts) || !lists.List(&state.floats) || !lists.List(&state.doubles) ||
      !lists.empty()) {
    return absl::DataLossError("a state file is refused: its lists do not fit its length");
  }
  return state;
}

}  // namespace gradwire
