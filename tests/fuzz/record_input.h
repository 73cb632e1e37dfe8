// SPDX-License-Identifier: Apache-2.0
// How a fuzzer's input stands for a job and the parts of a record.
//
//   input = job *part         ; job: one byte that chooses among kJobs
//   part  = length bytes      ; length: u16, little-endian, cut to what is left
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/little_endian.h"
#include "common/replica/job.h"

namespace gradwire_fuzz {

inline constexpr const char* kJobs[] = {
    "codec: 'identity' optimizer: 'sgd:0.1,0.9'",
    "codec: 'random_k:0.1'",
    "codec: 'top_k:0.1,values=bf16'",
    "codec: 'top_k:0.1' error_feedback: 'ef21' optimizer: 'adam'",
    "codec: 'sign' reset: 'flush:2'",
    "codec: 'sign_majority' perturbation: 'none'",
    "codec: 'qsgd' perturbation: 'on_demand:1,1'",
    "codec: 'powersgd:1' tensors { name: 'v' codec: 'random_k:0.5' } reset: 'flush:2'",
    "codec: 'count_sketch' tensors { name: 'v' codec: 'identity' }",
};

inline std::shared_ptr<const gradwire::Job> MakeFuzzedJob(const char* choice) {
  auto config = gradwire::ParseJobText(
      std::string("model { tensors { tensor { name: 'w' shape: 8 shape: 5 } ") +
      (std::string(choice).find("'v'") == std::string::npos ? ""
                                                            : "tensor { name: 'v' shape: 6 } ") +
      "} } steps: 9 " + choice);
  if (!config.ok()) std::abort();
  auto job = gradwire::MakeJob(*std::move(config));
  if (!job.ok()) std::abort();
  return *std::move(job);
}

inline std::vector<std::string> SplitParts(const uint8_t* data, size_t size) {
  std::vector<std::string> parts;
  while (size >= 2) {
    const auto* bytes = reinterpret_cast<const char*>(data);
    const size_t length = std::min<size_t>(gradwire::LoadLittleEndian<uint16_t>(bytes), size - 2);
    parts.emplace_back(bytes + 2, length);
    data += 2 + length;
    size -= 2 + length;
  }
  return parts;
}

// Made once; the choice is the input's first byte.
inline const std::shared_ptr<const gradwire::Job>& ChooseJob(uint8_t choice) {
  static const auto* const jobs = [] {
    auto* made = new std::vector<std::shared_ptr<const gradwire::Job>>();
    for (const char* job : kJobs) made->push_back(MakeFuzzedJob(job));
    return made;
  }();
  return (*jobs)[choice % jobs->size()];
}

}  // namespace gradwire_fuzz
