// SPDX-License-Identifier: Apache-2.0
// Implementation of state_file.h.
#include "common/replica/state_file.h"

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

void AppendBytes(const std::string& value, std::string* out) {
  AppendLittleEndian(uint64_t{value.size()}, out);
  *out += value;
}

template <typename T>
void AppendBytes(const std::vector<T>& values, std::string* out) {
  AppendLittleEndian(uint64_t{values.size()}, out);
  out->append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

template <typename Value>
void AppendList(const std::map<std::string, Value>& list, std::string* out) {
  AppendLittleEndian(static_cast<uint32_t>(list.size()), out);
  for (const auto& [name, value] : list) {
    AppendLittleEndian(static_cast<uint32_t>(name.size()), out);
    *out += name;
    AppendBytes(value, out);
  }
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
  std::string file(kMagic, kMagicBytes);
  file.append(kHashEnd - kMagicBytes, '\0');  // body_size and hash, filled in below
  AppendLittleEndian(static_cast<uint32_t>(state.kind.size()), &file);
  file += state.kind;
  const size_t body_begin = file.size();
  AppendList(state.texts, &file);
  AppendList(state.floats, &file);
  AppendList(state.doubles, &file);
  std::string body_size;
  AppendLittleEndian(uint64_t{file.size() - body_begin}, &body_size);
  file.replace(kMagicBytes, body_size.size(), body_size);
  file.replace(kHashOffset, sizeof(ChainHash), std::string(AsView(HashOf(file))));
  return file;
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
