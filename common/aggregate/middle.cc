// SPDX-License-Identifier: Apache-2.0
// Implementation of middle.h.
#include "common/aggregate/middle.h"

#include <algorithm>

#include "common/base/float_environment.h"
#include "common/kernels/sort_columns.h"

namespace gradwire {
namespace {

constexpr size_t kCacheFloats = 8192;  // of all rows together, while they are sorted
constexpr size_t kLeastRun = 64;
constexpr size_t kMostRun = 1024;

}  // namespace

void MeanOfMiddle(const MemberRows& members, size_t left_out, absl::Span<float> out) {
  SetFloatEnvironment();
  const size_t count = members.rows.size();
  const size_t run = std::clamp(kCacheFloats / count, kLeastRun, kMostRun);
  const auto divisor = static_cast<double>(count - 2 * left_out);
  std::vector<float*> rows(count);
  std::vector<double> sums(run);
  for (size_t begin = 0; begin < members.size; begin += run) {
    const size_t n = std::min(run, members.size - begin);
    for (size_t m = 0; m < count; ++m) rows[m] = members.rows[m] + begin;
    SortColumns(rows.data(), count, n);
    std::copy_n(rows[left_out], n, sums.begin());
    for (size_t m = left_out + 1; m < count - left_out; ++m) {
      for (size_t i = 0; i < n; ++i) sums[i] = sums[i] + double{rows[m][i]};
    }
    for (size_t i = 0; i < n; ++i) out[begin + i] = static_cast<float>(sums[i] / divisor);
  }
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace gradwire
