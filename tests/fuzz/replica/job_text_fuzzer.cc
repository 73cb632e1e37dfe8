// SPDX-License-Identifier: Apache-2.0
// A job as text, from any bytes: parsed and made, or refused in words; what is made
// says the same when it is written and read again.
#include <cstdint>
#include <cstdlib>

#include "common/replica/job.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config = gradwire::ParseJobText({reinterpret_cast<const char*>(data), size});
  if (!config.ok()) {
    if (config.status().message().empty()) std::abort();
    return 0;
  }
  const auto job = gradwire::MakeJob(*config);
  if (!job.ok()) return 0;
  const auto again = gradwire::ParseJobText(gradwire::JobText((*job)->config));
  if (!again.ok() || again->SerializeAsString() != (*job)->config.SerializeAsString()) std::abort();
  return 0;
}
