// SPDX-License-Identifier: Apache-2.0
// The codec `sign_majority`: one bit a coordinate up, and what most workers say down
// (SignSGD; with momentum at the workers, Signum).
//
//   up   = signs
//   down = signs
//   signs = ceil(n / 8) bytes             ; bit i % 8 of byte i / 8 is coordinate i: 0 stands
//                             ; for +1, 1 for -1; bits from n on are zero
//
// Up, the bit is one where the worker's momentum m = momentum m + (1 - momentum) g is below zero;
// with momentum=0, m is the gradient g.  Zero counts as positive.  Down, the bit is what more than
// half of the payloads say; for even votes, bit i % 32 of word i / 32 of the words of the job's
// seed, purpose kTie, step and block (common/random/counter.h).
//
// No mu or omega: what arrives has magnitude 1 whatever the gradient, and needs a learning rate to
// match.  Without error feedback (Bernstein, Wang, Azizzadenesheli, Anandkumar, ICML 2018;
// Bernstein, Zhao, Azizzadenesheli, Anandkumar, ICLR 2019).  Not linear.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "common/base/float_environment.h"
#include "common/base/status_macros.h"
#include "common/codec/registry.h"
#include "common/codec/sub_blocks.h"
#include "common/kernels/signs.h"
#include "common/random/counter.h"

namespace gradwire {
namespace {

constexpr size_t kVotes = 64;  // in a word

size_t ByteCount(size_t n) { return (n + 7) / 8; }
size_t WordCount(size_t n) { return (n + kVotes - 1) / kVotes; }

uint64_t LoadVotes(absl::string_view signs, size_t word) {
  uint64_t votes = 0;
  std::memcpy(&votes, signs.data() + 8 * word, std::min<size_t>(8, signs.size() - 8 * word));
  return votes;
}

absl::Status CheckSigns(const BlockKey& key, absl::string_view signs) {
  const size_t bytes = ByteCount(key.size);
  return CheckScaledPayload("sign_majority", signs, 0, bytes, 8 * bytes - key.size);
}

// The number of a round's payloads that say -1, in bit slices: plane p of Accumulator.bits, a
// bitmap of the block, holds bit p of every coordinate's count.  Planes come as counts grow.
class Votes {
 public:
  Votes(size_t block_size, Accumulator* sum) : words_(WordCount(block_size)), sum_(sum) {}

  void Add(absl::string_view signs) {
    const size_t had = sum_->payloads == 0 ? 0 : Planes();
    ++sum_->payloads;
    sum_->bits.resize(Planes() * words_);
    std::fill(sum_->bits.begin() + static_cast<ptrdiff_t>(had * words_), sum_->bits.end(), 0);
    for (size_t word = 0; word < words_; ++word) {
      uint64_t carry = LoadVotes(signs, word);
      for (size_t at = word; at < sum_->bits.size(); at += words_) {
        const uint64_t before = sum_->bits[at];
        sum_->bits[at] = before ^ carry;
        carry &= before;
      }
    }
  }

 private:
  size_t Planes() const { return static_cast<size_t>(std::bit_width(sum_->payloads)); }

  const size_t words_;
  Accumulator* const sum_;
};

// Of 64 coordinates: which have more than half of the payloads against them, and which are even.
struct Verdict {
  uint64_t below = 0;
  uint64_t even = ~uint64_t{0};
};

// Compares every count with floor(payloads / 2), from the highest plane down.
Verdict Judge(const Accumulator& sum, size_t words, size_t word) {
  const uint32_t half = sum.payloads / 2;
  Verdict verdict;
  for (size_t plane = sum.bits.size() / words; plane-- > 0;) {
    const uint64_t votes = sum.bits[plane * words + word];
    const uint64_t of_half = (half >> plane & 1) != 0 ? ~uint64_t{0} : 0;
    verdict.below |= verdict.even & votes & ~of_half;
    verdict.even &= ~(votes ^ of_half);
  }
  if (sum.payloads % 2 != 0) verdict.even = 0;
  return verdict;
}

class SignMajority final : public Codec {
 public:
  explicit SignMajority(float momentum) : momentum_(momentum) {}

  v1::CodecId id() const override { return v1::CODEC_SIGN_MAJORITY; }
  CodecTraits traits() const override {
    return {.alone = Alone::kNothing,
            .feedback = Feedback::kNone,
            .only_its_feedback = true,
            .unit_free = true,
            .momentum = momentum_ > 0};
  }

  void Prepare(const BlockKey& /*key*/, const WorkerStep& /*step*/, absl::Span<float> gradient,
               absl::Span<float> momentum) const override {
    SetFloatEnvironment();
    // The two weights are off 1 by at most 2^-25: two of the greatest floats give no infinity.
    const float of_gradient = 1.0f - momentum_;
    for (size_t i = 0; i < gradient.size(); ++i) {
      momentum[i] = momentum_ * momentum[i] + of_gradient * gradient[i];
      gradient[i] = momentum[i];
    }
  }

  void Encode(const BlockKey& key, absl::Span<float> values, std::string* payload) const override {
    EncodeSigns(key, values, payload);
  }

  absl::Status Accumulate(const BlockKey& key, absl::string_view payload,
                          Accumulator* sum) const override {
    GRADWIRE_RETURN_IF_ERROR(CheckSigns(key, payload));
    Votes(key.size, sum).Add(payload);
    return absl::OkStatus();
  }

  void Mean(const BlockKey& key, const Accumulator& sum, BlockValues* mean) const override {
    const RandomKey random = {
        .seed = key.seed, .purpose = Purpose::kTie, .step = key.step, .block = key.number()};
    mean->dense = true;
    mean->indices.clear();
    mean->values.resize(key.size);
    const size_t words = WordCount(key.size);
    for (size_t word = 0; word < words; ++word) {
      const Verdict verdict = Judge(sum, words, word);
      uint64_t below = verdict.below;
      if (verdict.even != 0) below |= verdict.even & Coins(random, word);
      std::array<uint8_t, sizeof(below)> bytes;
      std::memcpy(bytes.data(), &below, sizeof(below));
      UnpackSigns(bytes.data(), 1.0f, -1.0f, &mean->values[kVotes * word],
                  std::min(kVotes, key.size - kVotes * word));
    }
  }

  void EncodeUpdate(const BlockKey& key, const BlockValues& mean,
                    std::string* payload) const override {
    EncodeSigns(key, mean.values, payload);
  }

  absl::Status DecodeUpdate(const BlockKey& key, absl::string_view payload,
                            BlockValues* update) const override {
    GRADWIRE_RETURN_IF_ERROR(CheckSigns(key, payload));
    update->dense = true;
    update->indices.clear();
    update->values.resize(key.size);
    UnpackSigns(reinterpret_cast<const uint8_t*>(payload.data()), 1.0f, -1.0f,
                update->values.data(), key.size);
    return absl::OkStatus();
  }

  size_t MaxPayloadBytes(size_t block_size) const override { return ByteCount(block_size); }

 private:
  static void EncodeSigns(const BlockKey& key, absl::Span<const float> values,
                          std::string* payload) {
    payload->resize(ByteCount(key.size));
    PackSigns(values.data(), reinterpret_cast<uint8_t*>(payload->data()), key.size);
  }

  // Words 2 i and 2 i + 1, which are lanes 0 and 1, or 2 and 3, of one draw.
  static uint64_t Coins(const RandomKey& random, size_t i) {
    const std::array<uint32_t, 4> words = RandomWords(random, static_cast<uint32_t>(i / 2));
    const size_t lane = 2 * (i % 2);
    return words[lane] | uint64_t{words[lane + 1]} << 32;
  }

  const float momentum_;
};

const std::vector<SpecParameter>& Parameters() {
  static const auto* const parameters = new std::vector<SpecParameter>{
      {.name = "momentum",
       .default_value = "0",
       .max = 0.9999,
       .help = "share of the worker's momentum that stays each step; "
               "Signum has 0.9"}};
  return *parameters;
}

absl::StatusOr<std::unique_ptr<Codec>> Make(const SpecValues& values) {
  return std::make_unique<SignMajority>(static_cast<float>(values.Number("momentum")));
}

}  // namespace

// For the table in registry.cc.
CodecEntry SignMajorityEntry() {
  return {.name = "sign_majority",
          .id = v1::CODEC_SIGN_MAJORITY,
          .summary = "signs by majority vote: SignSGD, and Signum with momentum=0.9",
          .error = "none: magnitudes are lost",
          .up = "n/8",
          .down = "n/8",
          .linear = "no",
          .source = "Bernstein, Wang, Azizzadenesheli, Anandkumar 2018",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
