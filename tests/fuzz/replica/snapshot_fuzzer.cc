// SPDX-License-Identifier: Apache-2.0
// A snapshot, from any bytes: what is taken fits the job and is written back as it was read.
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "common/replica/snapshot.h"

namespace {

std::shared_ptr<const gradwire::Job> TheJob() {
  auto config = gradwire::ParseJobText(
      "model { mlp { inputs: 3 hidden: 4 classes: 2 } } steps: 9 name: 'q\"uote' "
      "optimizer: 'sgd:0.1,0.9'");
  if (!config.ok()) std::abort();
  auto job = gradwire::MakeJob(*std::move(config));
  if (!job.ok()) std::abort();
  return *std::move(job);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* const job = new std::shared_ptr<const gradwire::Job>(TheJob());
  auto contents = gradwire::DecodeSnapshot(**job, {reinterpret_cast<const char*>(data), size});
  if (!contents.ok()) return 0;
  gradwire::Replica replica(*job);
  if (!replica.Load(*std::move(contents)).ok()) std::abort();
  auto again = gradwire::DecodeSnapshot(**job, gradwire::EncodeSnapshot(replica, true));
  if (!again.ok()) std::abort();
  gradwire::Replica copy(*job);
  if (!copy.Load(*std::move(again)).ok() || copy.Hash() != replica.Hash()) std::abort();
  return 0;
}
