// SPDX-License-Identifier: Apache-2.0
// What a round does with payloads that it keeps one by one: it measures them, leaves out the too
// large ones, and hands the others to the aggregator.
#include <cmath>

#include "common/aggregate/middle.h"
#include "common/kernels/vector.h"
#include "server/round.h"

namespace gradwire {
namespace {

constexpr size_t kFewest = 3;  // payloads of which the median says what is usual

}  // namespace

// Added in the order of blocks, whenever they came.
double Round::Slot::norm() const {
  double sum = 0;
  for (const double square : squares) sum += square;
  return std::sqrt(sum);
}

void Round::Measure(uint32_t block, Slot* slot) {
  codec(block).Mean(key(block), scratch_, &measured_);
  slot->squares[block] = SumOfSquares(measured_.values.data(), measured_.values.size());
}

// A median of 0 says nothing of what is usual: most had nothing to send.
void Round::LeaveOutTooLarge() {
  const double factor = job_->config.max_norm_factor();
  if (factor == 0) return;
  const std::vector<double> all = norms();
  const double median = Median(all);
  if (all.size() < kFewest || median == 0) return;
  for (Slot& slot : slots_) {
    if (slot.skipped || slot.norm() <= factor * median) continue;
    too_large_.push_back({.member = slot.member, .norm = slot.norm(), .median = median});
    Skip(&slot);
  }
}

std::vector<absl::string_view> Round::payloads(size_t block) const {
  std::vector<absl::string_view> payloads;
  for (const Slot& slot : slots_) {
    if (!slot.skipped) payloads.push_back(slot.waiting.at(static_cast<uint32_t>(block)));
  }
  return payloads;
}

std::vector<double> Round::norms() const {
  std::vector<double> norms;
  for (const Slot& slot : slots_) {
    if (!slot.skipped) norms.push_back(slot.norm());
  }
  return norms;
}

}  // namespace gradwire
