// SPDX-License-Identifier: Apache-2.0
// The codec `dgc`: Deep Gradient Compression.  Momentum at the worker, before the residual; of
// the sum, the values of greatest magnitude by a threshold that is guessed from a sample.
//
//   payload = indices values        ; see sparse_payload.h; a worker's names at most k coordinates
//   k       = max(1, floor(r n + 0.5)), n the block's size
//   r       = ratio^((e + 1) / 6), e = floor(5 (step - 1) / warmup), while step <= warmup; then
//   ratio
//
// The power is e + 1 factors of the sixth root, which 64 bisections find: every machine gives the
// same bits.
//
// Worker, g being its gradient:  u = momentum u + g; residual += u        (nesterov=no)
//                                u = momentum (u + g); residual += u + g  (nesterov=yes)
// With clip > 0, g is first scaled down to a norm of clip / sqrt(members), over the whole gradient.
// Where a value is sent, the residual and u become zero (momentum factor masking).  The sum of a
// gradient's shares is g / (1 - momentum): at 0.9 it takes a tenth of the rate of plain SGD.  The
// server, when it compresses the aggregate again, keeps no momentum.
//
// Threshold: each stride-th magnitude from a random start (common/random, purpose kSample, private
// seed); the stride is 32 j + 1, less 8 until there are at least n / 100 and 2 / r samples; tau is
// the least of the ceil(r samples) greatest.  While fewer than 0.8 k values reach tau, it is
// lowered to 0.8 tau, ten times at most.  Of more than k that reach it, the k greatest are sent,
// of equals the lowest coordinates: always exactly (the official code takes the first k in order
// of their coordinates when they are at most 1.3 k).  Zero is never sent.
//
// What is sent is always the greatest: |C(x) - x|^2 <= (1 - c/n)|x|^2 for c values sent, of which
// there are k when n <= 2 / r, and mostly 0.8 k or more.  Not linear.
// Source: Lin, Han, Mao, Wang, Dally (ICLR 2018, arXiv 1712.01887) and its official code.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/float_environment.h"
#include "common/codec/registry.h"
#include "common/codec/sparse_payload.h"
#include "common/kernels/select.h"
#include "common/random/counter.h"
#include "common/random/index_set.h"

namespace gradwire {
namespace {

constexpr size_t kStages = 5;
constexpr int kMaxLowerings = 10;
constexpr float kLowering = 0.8f;

struct Options {
  double ratio = 0;
  float momentum = 0;
  bool nesterov = false;
  double clip = 0;      // 0: none
  uint64_t warmup = 0;  // steps
  ValueFormat format = ValueFormat::kFp32;
};

size_t Ceil(double x) {
  const auto floor = static_cast<size_t>(x);
  return static_cast<double>(floor) < x ? floor + 1 : floor;
}

// For x in (0, 1].
double SixthRoot(double x) {
  double low = 0;
  double high = 1;
  for (int i = 0; i < 64; ++i) {
    const double middle = (low + high) / 2;
    const double square = middle * middle;
    (square * square * square < x ? low : high) = middle;
  }
  return high;
}

float Finite(float x) {
  constexpr float kGreatest = std::numeric_limits<float>::max();
  return std::clamp(x, -kGreatest, kGreatest);
}

struct Sample {
  size_t stride = 1;
  size_t count = 0;
};

Sample SampleOf(size_t n, double ratio) {
  const double enough = 2 / ratio;
  if (static_cast<double>(n) <= enough) return {.stride = 1, .count = n};
  const size_t least = std::max((n + 99) / 100, Ceil(enough));
  size_t stride = (n / least + 31) / 32 * 32 + 1;
  while (stride > 1 && n / stride < least) stride -= 8;
  return {.stride = stride, .count = n / stride};
}

class Dgc final : public SparseCodec {
 public:
  explicit Dgc(const Options& options) : SparseCodec("dgc", options.format), options_(options) {
    const double root = SixthRoot(options.ratio);
    double power = 1;
    for (double& ratio : stage_ratios_) ratio = power = power * root;
  }

  v1::CodecId id() const override { return v1::CODEC_DGC; }
  CodecTraits traits() const override {
    return {.only_its_feedback = true,
            .compact = false,
            .momentum = true,
            .needs_norm = options_.clip > 0};
  }

  void Prepare(const BlockKey& key, const WorkerStep& step, absl::Span<float> gradient,
               absl::Span<float> momentum) const override;
  void Sent(const BlockKey& key, absl::string_view payload,
            absl::Span<float> momentum) const override;

 private:
  void Select(const BlockKey& key, absl::Span<const float> values,
              std::vector<uint32_t>* indices) const override;

  CountRange Counts(const BlockKey& key) const override {
    return {.least = 0, .most = IndexSetSize(RatioAt(key.step), key.size)};
  }

  double RatioAt(uint64_t step) const {
    const uint64_t done = step - std::min<uint64_t>(step, 1);
    if (done >= options_.warmup) return options_.ratio;
    return stage_ratios_[kStages * done / options_.warmup];
  }

  float ClipFactor(const WorkerStep& step) const {
    if (options_.clip == 0) return 1;
    const double limit = options_.clip / std::sqrt(static_cast<double>(step.members));
    return step.gradient_norm > limit ? static_cast<float>(limit / step.gradient_norm) : 1.0f;
  }

  const Options options_;
  std::array<double, kStages> stage_ratios_;
};

void Dgc::Prepare(const BlockKey& /*key*/, const WorkerStep& step, absl::Span<float> gradient,
                  absl::Span<float> momentum) const {
  SetFloatEnvironment();
  const float factor = ClipFactor(step);
  const float beta = options_.momentum;
  for (size_t i = 0; i < gradient.size(); ++i) {
    const float g = factor * gradient[i];
    if (options_.nesterov) {
      momentum[i] = beta * Finite(momentum[i] + g);
      gradient[i] = Finite(momentum[i] + g);
    } else {
      momentum[i] = Finite(beta * momentum[i] + g);
      gradient[i] = momentum[i];
    }
  }
}

void Dgc::Sent(const BlockKey& key, absl::string_view payload, absl::Span<float> momentum) const {
  SetFloatEnvironment();
  Parts parts;
  if (!Split(key, payload, &parts).ok()) return;  // never: it is Encode's own
  for (const uint32_t index : parts.where.indices) momentum[index] = 0;
  if (!parts.where.dense) return;
  std::vector<float> values(key.size);
  EncodedValues(format(), parts.values).Load(0, absl::MakeSpan(values));
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] != 0) momentum[i] = 0;
  }
}

// The magnitude that about ratio n values reach.
float GuessThreshold(const BlockKey& key, absl::Span<const float> values, double ratio,
                     const Sample& sample) {
  const std::array<uint32_t, 4> words = RandomWords({.seed = PrivateSeed(key.seed, key.rank),
                                                     .purpose = Purpose::kSample,
                                                     .step = key.step,
                                                     .block = key.number()},
                                                    0);
  const size_t start = static_cast<size_t>(uint64_t{words[0]} * sample.stride >> 32);
  std::vector<float> magnitudes(sample.count);
  for (size_t i = 0; i < sample.count; ++i) {
    magnitudes[i] = std::fabs(values[start + i * sample.stride]);
  }
  const size_t top = std::min(sample.count, Ceil(ratio * static_cast<double>(sample.count)));
  std::vector<uint32_t> largest;
  SelectLargest(magnitudes.data(), magnitudes.size(), top, &largest);
  float least = magnitudes[largest[0]];
  for (const uint32_t i : largest) least = std::min(least, magnitudes[i]);
  return least;
}

void Dgc::Select(const BlockKey& key, absl::Span<const float> values,
                 std::vector<uint32_t>* indices) const {
  const double ratio = RatioAt(key.step);
  const size_t k = IndexSetSize(ratio, key.size);
  const Sample sample = SampleOf(key.size, ratio);
  float tau = 0;
  if (sample.stride > 1) {
    tau = GuessThreshold(key, values, ratio, sample);
    size_t count = CountAtLeast(values.data(), key.size, tau);
    for (int i = 0; i < kMaxLowerings && 5 * count < 4 * k; ++i) {
      tau = kLowering * tau;
      count = CountAtLeast(values.data(), key.size, tau);
    }
  }
  SelectAtLeast(values.data(), key.size, tau, indices);
  if (indices->size() <= k) return;
  std::vector<float> reached(indices->size());
  for (size_t i = 0; i < reached.size(); ++i) reached[i] = values[(*indices)[i]];
  std::vector<uint32_t> largest;
  SelectLargest(reached.data(), reached.size(), k, &largest);
  for (uint32_t& position : largest) position = (*indices)[position];
  *indices = std::move(largest);
}

const std::vector<SpecParameter>& Parameters() {
  static const auto* const parameters = new std::vector<SpecParameter>{
      {.name = "ratio",
       .default_value = "0.001",
       .max = 1,
       .open_min = true,
       .help = "share of coordinates that is sent, at most"},
      {.name = "momentum", .default_value = "0.9", .max = 0.9999, .help = "at the worker"},
      {.name = "nesterov",
       .kind = SpecParameter::Kind::kWord,
       .default_value = "no",
       .words = {"no", "yes"},
       .help = "Nesterov's form of the momentum"},
      {.name = "clip",
       .default_value = "0",
       .max = 1e30,
       .help = "a worker's gradient has at most the norm clip / sqrt(workers); 0: any"},
      {.name = "warmup",
       .default_value = "0",
       .max = 1e12,
       .help = "steps over which the share falls to ratio"},
      ValuesParameter()};
  return *parameters;
}

absl::StatusOr<std::unique_ptr<Codec>> Make(const SpecValues& values) {
  const double warmup = values.Number("warmup");
  const Options options = {.ratio = values.Number("ratio"),
                           .momentum = static_cast<float>(values.Number("momentum")),
                           .nesterov = values.Word("nesterov") == "yes",
                           .clip = values.Number("clip"),
                           .warmup = static_cast<uint64_t>(warmup),
                           .format = ValueFormatOf(values)};
  if (static_cast<double>(options.warmup) != warmup) {
    return absl::InvalidArgumentError(
        absl::StrCat("warmup: ", warmup, " is not a whole number of steps"));
  }
  return std::make_unique<Dgc>(options);
}

}  // namespace

// For the table in registry.cc.
CodecEntry DgcEntry() {
  return {.name = "dgc",
          .id = v1::CODEC_DGC,
          .summary = "Deep Gradient Compression: momentum at the worker, sampled threshold",
          .error = "mu >= c/n for c values sent, c <= k, mostly >= 0.8 k",
          .up = "4 k and 1.4 k of indices at 0.1 %, at most",
          .down = "the same; or the union of the workers'",
          .linear = "no",
          .source = "Lin, Han, Mao, Wang, Dally 2018",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
