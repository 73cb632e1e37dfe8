// SPDX-License-Identifier: Apache-2.0
// Feeds text to the LIBSVM parser: training data, a zero byte, test data.
#include <cmath>
#include <cstdint>
#include <cstdlib>

#include "worker/data/libsvm.h"

namespace {

constexpr size_t kMaxValues = size_t{1} << 16;  // keeps inputs fast

void Check(const gradwire::Dataset& data) {
  if (data.rows == 0 || data.labels.size() != data.rows ||
      data.values.size() != data.rows * data.features || data.values.size() > kMaxValues) {
    std::abort();
  }
  for (const uint32_t label : data.labels) {
    if (label >= data.classes) std::abort();
  }
  for (const float value : data.values) {
    if (!std::isfinite(value)) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const absl::string_view train = text.substr(0, text.find('\0'));
  const absl::string_view test = train.size() < text.size() ? text.substr(train.size() + 1) : train;
  const auto pair = gradwire::ParseLibsvm({"train", train}, {"test", test}, kMaxValues);
  if (!pair.ok()) return 0;
  Check(pair->train);
  Check(pair->test);
  if (pair->train.features != pair->test.features) std::abort();
  return 0;
}
