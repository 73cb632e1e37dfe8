// SPDX-License-Identifier: Apache-2.0
// Implementation of index_coding.h.
#include "common/codec/index_coding.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/little_endian.h"
#include "common/base/status_macros.h"

namespace gradwire {
namespace {

constexpr int kMaxRiceParameter = 31;

// Bits into bytes, lowest first.
class BitWriter {
 public:
  explicit BitWriter(std::string* out) : out_(out) {}

  // The `count` low bits of `bits`, the others being zero; count <= 32.
  void Append(uint64_t bits, int count) {
    pending_ |= bits << filled_;
    filled_ += count;
    for (; filled_ >= 8; filled_ -= 8, pending_ >>= 8) {
      out_->push_back(static_cast<char>(pending_ & 0xFF));
    }
  }

  void Finish() {
    if (filled_ > 0) out_->push_back(static_cast<char>(pending_));
  }

 private:
  std::string* const out_;
  uint64_t pending_ = 0;
  int filled_ = 0;
};

class BitReader {
 public:
  explicit BitReader(absl::string_view bytes) : bytes_(bytes) {}

  // Reads zero bits up to a one bit, and that; false when there is no one bit.
  bool ReadUnary(uint64_t* zeros) {
    *zeros = 0;
    while (position_ < 8 * bytes_.size()) {
      const uint64_t window = Window();
      if (window != 0) {
        const int run = std::countr_zero(window);
        *zeros += static_cast<uint64_t>(run);
        position_ += static_cast<size_t>(run) + 1;
        return true;
      }
      *zeros += kWindow;
      position_ += kWindow;
    }
    return false;
  }

  // count <= 32; false when there are fewer.
  bool ReadBits(int count, uint64_t* bits) {
    *bits = Window() & ((uint64_t{1} << count) - 1);
    position_ += static_cast<size_t>(count);
    return position_ <= 8 * bytes_.size();
  }

  // True when what is left of the last byte read is zero.
  bool PaddingIsZero() {
    const size_t rest = (8 - position_ % 8) % 8;
    return rest == 0 || (Window() & ((uint64_t{1} << rest) - 1)) == 0;
  }

  size_t BytesRead() const { return (position_ + 7) / 8; }

 private:
  static constexpr size_t kWindow = 56;

  // The next kWindow bits; zeros beyond the end.
  uint64_t Window() const {
    const size_t byte = position_ / 8;
    uint64_t window = 0;
    if (byte < bytes_.size()) {
      std::memcpy(&window, bytes_.data() + byte, std::min<size_t>(8, bytes_.size() - byte));
    }
    return window >> (position_ % 8) & ((uint64_t{1} << kWindow) - 1);
  }

  const absl::string_view bytes_;
  size_t position_ = 0;
};

std::vector<uint32_t> Gaps(absl::Span<const uint32_t> indices) {
  std::vector<uint32_t> gaps(indices.size());
  uint32_t next = 0;
  for (size_t i = 0; i < indices.size(); ++i) {
    gaps[i] = indices[i] - next;
    next = indices[i] + 1;
  }
  return gaps;
}

int BestParameterFor(const std::vector<uint32_t>& gaps) {
  uint64_t best_bits = UINT64_MAX;
  int best = 0;
  for (int b = 0; b <= kMaxRiceParameter; ++b) {
    uint64_t unary = 0;
    for (const uint32_t gap : gaps) unary += gap >> b;
    const uint64_t bits = unary + (static_cast<uint64_t>(b) + 1) * gaps.size();
    if (bits < best_bits) {
      best_bits = bits;
      best = b;
    }
    if (unary < gaps.size()) break;  // a greater b costs more than it can take off
  }
  return best;
}

void AppendGaps(absl::Span<const uint32_t> indices, std::string* out) {
  const std::vector<uint32_t> gaps = Gaps(indices);
  const int b = BestParameterFor(gaps);
  AppendLittleEndian(static_cast<uint32_t>(indices.size()), out);
  out->push_back(static_cast<char>(b));
  BitWriter writer(out);
  for (const uint32_t gap : gaps) {
    uint32_t zeros = gap >> b;
    for (; zeros >= 32; zeros -= 32) writer.Append(0, 32);
    writer.Append(uint64_t{1} << zeros, static_cast<int>(zeros) + 1);
    writer.Append(gap & ((uint64_t{1} << b) - 1), b);
  }
  writer.Finish();
}

absl::Status CheckCount(size_t count, IndexForm form, size_t n) {
  if (count <= n && IndexFormFor(count, n) == form) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "index form ", static_cast<int>(form), " with ", count, " of ", n,
      " coordinates; form 0 is for up to a quarter of them, 1 for up to half, 2 for more"));
}

absl::Status ReadGaps(size_t n, size_t count, int b, BitReader* reader,
                      std::vector<uint32_t>* indices) {
  uint64_t next = 0;
  for (size_t i = 0; i < count; ++i) {
    uint64_t high;
    uint64_t low;
    if (!reader->ReadUnary(&high) || !reader->ReadBits(b, &low)) {
      return absl::InvalidArgumentError(
          absl::StrCat("the payload ends within index ", i, " of ", count));
    }
    const uint64_t index = next + (high << b | low);
    if (index >= n) {
      return absl::InvalidArgumentError(absl::StrCat("index ", i, " of ", count, " is ", index,
                                                     ", beyond the block's ", n, " coordinates"));
    }
    indices->push_back(static_cast<uint32_t>(index));
    next = index + 1;
  }
  if (!reader->PaddingIsZero()) {
    return absl::InvalidArgumentError("the bits behind the last index are not zero");
  }
  return absl::OkStatus();
}

absl::Status TakeGaps(size_t n, absl::string_view* payload, std::vector<uint32_t>* indices) {
  constexpr size_t kHead = sizeof(uint32_t) + 1;
  if (payload->size() < kHead) {
    return absl::InvalidArgumentError(
        absl::StrCat("the payload ends within the ", kHead, " bytes of index count and parameter"));
  }
  const auto count = LoadLittleEndian<uint32_t>(payload->data());
  const int b = static_cast<unsigned char>((*payload)[sizeof(uint32_t)]);
  GRADWIRE_RETURN_IF_ERROR(CheckCount(count, IndexForm::kGaps, n));
  if (b > kMaxRiceParameter) {
    return absl::InvalidArgumentError(
        absl::StrCat("index parameter ", b, " is above ", kMaxRiceParameter));
  }
  payload->remove_prefix(kHead);
  indices->reserve(count);
  BitReader reader(*payload);
  GRADWIRE_RETURN_IF_ERROR(ReadGaps(n, count, b, &reader, indices));
  payload->remove_prefix(reader.BytesRead());
  return absl::OkStatus();
}

absl::Status TakeBitmap(size_t n, absl::string_view* payload, std::vector<uint32_t>* indices) {
  const size_t bytes = (n + 7) / 8;
  if (payload->size() < bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the payload ends within the bitmap: ", payload->size(), " bytes of ", bytes));
  }
  size_t count = 0;
  for (size_t i = 0; i < bytes; ++i) {
    count += static_cast<size_t>(std::popcount(static_cast<unsigned char>((*payload)[i])));
  }
  GRADWIRE_RETURN_IF_ERROR(CheckCount(count, IndexForm::kBitmap, n));
  indices->reserve(count);
  for (size_t i = 0; i < bytes; ++i) {
    for (unsigned bits = static_cast<unsigned char>((*payload)[i]); bits != 0; bits &= bits - 1) {
      indices->push_back(static_cast<uint32_t>(8 * i) +
                         static_cast<uint32_t>(std::countr_zero(bits)));
    }
  }
  if (!indices->empty() && indices->back() >= n) {
    return absl::InvalidArgumentError(
        absl::StrCat("the bitmap names coordinate ", indices->back(), ", beyond the block's ", n));
  }
  payload->remove_prefix(bytes);
  return absl::OkStatus();
}

}  // namespace

IndexForm IndexFormFor(size_t count, size_t n) {
  if (2 * count > n) return IndexForm::kDense;
  return 4 * count > n ? IndexForm::kBitmap : IndexForm::kGaps;
}

int BestRiceParameter(absl::Span<const uint32_t> indices) {
  return BestParameterFor(Gaps(indices));
}

void AppendIndices(absl::Span<const uint32_t> indices, size_t n, std::string* out) {
  const IndexForm form = IndexFormFor(indices.size(), n);
  out->push_back(static_cast<char>(form));
  if (form == IndexForm::kGaps) return AppendGaps(indices, out);
  if (form == IndexForm::kDense) return;
  const size_t begin = out->size();
  out->append((n + 7) / 8, '\0');
  for (const uint32_t index : indices) {
    char& byte = (*out)[begin + index / 8];
    byte = static_cast<char>(byte | 1 << (index % 8));
  }
}

absl::Status TakeIndices(size_t n, absl::string_view* payload, DecodedIndices* decoded) {
  if (payload->empty()) return absl::InvalidArgumentError("the payload is empty");
  const auto form = static_cast<unsigned char>(payload->front());
  payload->remove_prefix(1);
  decoded->indices.clear();
  decoded->dense = form == static_cast<unsigned char>(IndexForm::kDense);
  if (decoded->dense) return absl::OkStatus();
  if (form == static_cast<unsigned char>(IndexForm::kGaps)) {
    return TakeGaps(n, payload, &decoded->indices);
  }
  if (form == static_cast<unsigned char>(IndexForm::kBitmap)) {
    return TakeBitmap(n, payload, &decoded->indices);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("index form ", static_cast<int>(form), " is not known; known: 0, 1, 2"));
}

}  // namespace gradwire
