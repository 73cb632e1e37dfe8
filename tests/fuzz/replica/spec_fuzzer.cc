// SPDX-License-Identifier: Apache-2.0
// Every text that a job may choose its parts by, from any bytes.
#include <cstdint>
#include <cstdlib>

#include "common/base/spec.h"
#include "common/codec/registry.h"
#include "common/optimizer/perturbation.h"
#include "common/optimizer/registry.h"
#include "common/optimizer/schedule.h"
#include "common/replica/initializer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view spec(reinterpret_cast<const char*>(data), size);
  if (gradwire::SpecName(spec).size() > size) std::abort();
  (void)gradwire::MakeCodec(spec);
  (void)gradwire::MakeOptimizer(spec);
  (void)gradwire::MakePerturbation(spec);
  (void)gradwire::MakeInitializer(spec, {3, 5});
  const auto schedule = gradwire::MakeSchedule(spec);
  if (!schedule.ok()) return 0;
  for (const uint64_t step : {uint64_t{1}, uint64_t{1000}, uint64_t{1} << 40}) {
    const double factor = (*schedule)->Factor(step);
    if (!(factor >= 0 && factor <= 1)) std::abort();
  }
  return 0;
}
