// SPDX-License-Identifier: Apache-2.0
// Feeds bytes, plain or gzip, to the IDX decoder.
#include <cstdint>
#include <cstdlib>

#include "worker/data/idx.h"

namespace {

void Decode(absl::string_view file, size_t rank) {
  const absl::StatusOr<gradwire::IdxArray> array = gradwire::DecodeIdx(file, rank);
  if (!array.ok()) return;
  size_t values = 1;
  for (const uint32_t size : array->sizes) values *= size;
  if (array->sizes.size() != rank || array->values.size() != values) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view file(reinterpret_cast<const char*>(data), size);
  Decode(file, 1);
  Decode(file, 3);
  return 0;
}
