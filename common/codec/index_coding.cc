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

constexpr int kMaxLowBits = 31;
constexpr int kThreeHalves = 32;  // in a parameter: m is 3/2 of the power of two

bool IsParameter(int parameter) {
  return parameter <= kThreeHalves + kMaxLowBits && parameter != kThreeHalves;
}

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

// Bits of all gaps with the parameter b, without the (b + 1) of each that it costs at least.
uint64_t UnaryBits(const std::vector<uint32_t>& gaps, int b) {
  uint64_t bits = 0;
  for (const uint32_t gap : gaps) bits += gap >> b;
  return bits;
}

// The same with 32 + b.
uint64_t UnaryBitsOfThree(const std::vector<uint32_t>& gaps, int b) {
  uint64_t bits = 0;
  for (const uint32_t gap : gaps) {
    const uint32_t thirds = gap >> (b - 1);
    bits += thirds / 3 + (thirds % 3 != 0 ? 1 : 0);
  }
  return bits;
}

struct BestParameter {
  uint64_t bits = UINT64_MAX;
  int parameter = 0;

  void Consider(uint64_t other_bits, int other) {
    if (other_bits < bits) *this = {.bits = other_bits, .parameter = other};
  }
};

int BestParameterFor(const std::vector<uint32_t>& gaps) {
  BestParameter powers;
  BestParameter threes;
  for (int b = 0; b <= kMaxLowBits; ++b) {
    const uint64_t least = (static_cast<uint64_t>(b) + 1) * gaps.size();
    const uint64_t unary = UnaryBits(gaps, b);
    powers.Consider(least + unary, b);
    if (b > 0) threes.Consider(least + UnaryBitsOfThree(gaps, b), kThreeHalves + b);
    if (unary < gaps.size()) break;  // a greater b costs more than it can take off
  }
  return threes.bits < powers.bits ? threes.parameter : powers.parameter;
}

void AppendUnary(uint32_t zeros, BitWriter* writer) {
  for (; zeros >= 32; zeros -= 32) writer->Append(0, 32);
  writer->Append(uint64_t{1} << zeros, static_cast<int>(zeros) + 1);
}

void AppendLow(uint32_t gap, int bits, BitWriter* writer) {
  writer->Append(gap & ((uint64_t{1} << bits) - 1), bits);
}

void AppendGap(uint32_t gap, int parameter, BitWriter* writer) {
  if (parameter < kThreeHalves) {
    AppendUnary(gap >> parameter, writer);
    return AppendLow(gap, parameter, writer);
  }
  const int low_bits = parameter - kThreeHalves - 1;
  const uint32_t thirds = gap >> low_bits;
  AppendUnary(thirds / 3, writer);
  constexpr uint64_t kCodes[] = {0b0, 0b01, 0b11};  // lowest bit first
  writer->Append(kCodes[thirds % 3], thirds % 3 == 0 ? 1 : 2);
  AppendLow(gap, low_bits, writer);
}

void AppendGaps(absl::Span<const uint32_t> indices, std::string* out) {
  const std::vector<uint32_t> gaps = Gaps(indices);
  const int parameter = BestParameterFor(gaps);
  AppendLittleEndian(static_cast<uint32_t>(indices.size()), out);
  out->push_back(static_cast<char>(parameter));
  BitWriter writer(out);
  for (const uint32_t gap : gaps) AppendGap(gap, parameter, &writer);
  writer.Finish();
}

absl::Status CheckCount(size_t count, IndexForm form, size_t n) {
  if (count <= n && IndexFormFor(count, n) == form) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "index form ", static_cast<int>(form), " with ", count, " of ", n,
      " coordinates; form 0 is for up to three eighths of them, 1 for up to half, 2 for more"));
}

// False when the bits end within it.
bool ReadGap(int parameter, BitReader* reader, uint64_t* gap) {
  uint64_t high;
  uint64_t low;
  if (!reader->ReadUnary(&high)) return false;
  if (parameter < kThreeHalves) {
    if (!reader->ReadBits(parameter, &low)) return false;
    *gap = high << parameter | low;
    return true;
  }
  const int low_bits = parameter - kThreeHalves - 1;
  uint64_t above_first;
  uint64_t third = 0;
  if (!reader->ReadBits(1, &above_first)) return false;
  if (above_first != 0 && !reader->ReadBits(1, &third)) return false;
  if (!reader->ReadBits(low_bits, &low)) return false;
  *gap = (3 * high + above_first + third) << low_bits | low;
  return true;
}

absl::Status ReadGaps(size_t n, size_t count, int parameter, BitReader* reader,
                      std::vector<uint32_t>* indices) {
  uint64_t next = 0;
  for (size_t i = 0; i < count; ++i) {
    uint64_t gap;
    if (!ReadGap(parameter, reader, &gap)) {
      return absl::InvalidArgumentError(
          absl::StrCat("the payload ends within index ", i, " of ", count));
    }
    const uint64_t index = next + gap;
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
  const int parameter = static_cast<unsigned char>((*payload)[sizeof(uint32_t)]);
  GRADWIRE_RETURN_IF_ERROR(CheckCount(count, IndexForm::kGaps, n));
  if (!IsParameter(parameter)) {
    return absl::InvalidArgumentError(
        absl::StrCat("index parameter ", parameter, " is not one of 0 to 31 and 33 to 63"));
  }
  payload->remove_prefix(kHead);
  indices->reserve(count);
  BitReader reader(*payload);
  GRADWIRE_RETURN_IF_ERROR(ReadGaps(n, count, parameter, &reader, indices));
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
  return 8 * count > 3 * n ? IndexForm::kBitmap : IndexForm::kGaps;
}

int BestGapParameter(absl::Span<const uint32_t> indices) { return BestParameterFor(Gaps(indices)); }

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
