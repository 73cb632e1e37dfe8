// SPDX-License-Identifier: Apache-2.0
// The aggregator `norm_clip`: nobody's payload is longer than is usual in its step.
//
//   L      = factor x the median of the members' norms, each over all blocks of a payload
//   s_m    = min(1, L / norm_m)
//   out[i] = (sum over members m, in rank order, of s_m x_m[i]) / n, in double, rounded once
//
// A hostile member still pushes, but with at most the weight of `factor` honest ones: b of them can
// outweigh n - b honest ones of equal norm when factor b >= n - b, and they choose the median from
// half of the members on.  (Sun, Kairouz, Suresh, McMahan 2019; there the limit is a constant.)
#include <algorithm>
#include <cmath>

#include "common/aggregate/middle.h"
#include "common/aggregate/registry.h"
#include "common/base/float_environment.h"

namespace gradwire {
namespace {

class NormClip final : public Aggregator {
 public:
  explicit NormClip(double factor) : factor_(factor) {}

  AggregatorTraits traits() const override { return {.needs_norms = true}; }

  size_t withstands(size_t members) const override {
    const auto n = static_cast<double>(members);
    const double even = std::min(n / 2, n / (1 + factor_));
    return static_cast<size_t>(std::ceil(even)) - 1;
  }

  void Combine(const MemberRows& members, absl::Span<float> out) const override {
    SetFloatEnvironment();
    const double limit = factor_ * Median({members.norms.begin(), members.norms.end()});
    std::vector<double> sums(members.size, 0.0);
    for (size_t m = 0; m < members.rows.size(); ++m) {
      const double norm = members.norms[m];
      const double scale = norm > limit ? limit / norm : 1.0;
      const float* const row = members.rows[m];
      for (size_t i = 0; i < members.size; ++i) sums[i] = sums[i] + scale * double{row[i]};
    }
    const auto divisor = static_cast<double>(members.rows.size());
    for (size_t i = 0; i < members.size; ++i) out[i] = static_cast<float>(sums[i] / divisor);
  }

 private:
  const double factor_;
};

const std::vector<SpecParameter>& Parameters() {
  static const auto* const parameters = new std::vector<SpecParameter>{
      {.name = "factor",
       .default_value = "1",
       .max = 1e6,
       .open_min = true,
       .help = "greatest norm of a payload, in medians of the step's norms"}};
  return *parameters;
}

absl::StatusOr<std::unique_ptr<Aggregator>> Make(const SpecValues& values) {
  return std::make_unique<NormClip>(values.Number("factor"));
}

}  // namespace

// For the table in registry.cc.
AggregatorEntry NormClipEntry() {
  return {.name = "norm_clip",
          .summary =
              "payloads longer than factor times the step's median norm are scaled down to "
              "that; then the mean",
          .withstands = "fewer than n/2, which still push with the weight of factor honest ones",
          .codecs = "all but sign_majority, count_sketch, powersgd",
          .source = "Sun, Kairouz, Suresh, McMahan 2019",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
