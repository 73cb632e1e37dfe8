// SPDX-License-Identifier: Apache-2.0
// What the tests of the client library share: small jobs and records made by hand.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/hash.h"
#include "common/replica/job.h"
#include "common/replica/update_log.h"
#include "gradwire/v1/gradient.pb.h"

namespace gradwire {

struct TestJob {
  uint64_t dimension = 8;
  std::string codec = "identity";
  std::string optimizer = "sgd:lr=0.5";
  std::string perturbation = "none";
  uint64_t steps = 100;
  uint64_t hash_every = 100;
  std::string feedback = "auto";
  v1::Membership::Mode mode = v1::Membership::ELASTIC;
  uint32_t lag = 0;
};

// One tensor "w", zeros.
inline std::shared_ptr<const Job> MakeTestJob(const TestJob& options) {
  v1::JobConfig config;
  v1::Tensor* tensor = config.mutable_model()->mutable_tensors()->add_tensor();
  tensor->set_name("w");
  tensor->add_shape(options.dimension);
  config.set_steps(options.steps);
  config.set_codec(options.codec);
  config.set_optimizer(options.optimizer);
  config.set_perturbation(options.perturbation);
  config.set_hash_every(options.hash_every);
  config.set_error_feedback(options.feedback);
  config.mutable_membership()->set_mode(options.mode);
  config.set_lag(options.lag);
  auto job = MakeJob(std::move(config));
  if (!job.ok()) {
    ADD_FAILURE() << job.status();
    return nullptr;
  }
  return *job;
}

// The bytes of an identity payload.
inline std::string Bytes(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

inline BlockKey KeyOf(const Job& job, uint64_t step, uint32_t block) {
  return {.seed = job.config.seed(),
          .step = step,
          .block = block,
          .size = job.layout.block_size(block)};
}

// What a server would make of a whole payload, added to `sum`.
inline void DecodeInto(const Job& job, const v1::Gradient& message, std::vector<double>* sum) {
  for (const v1::BlockPayload& block : message.blocks()) {
    const BlockKey key = KeyOf(job, message.step(), block.block());
    Accumulator accumulator;
    BlockValues values;
    ASSERT_TRUE(job.plans[0].codec->Accumulate(key, block.payload(), &accumulator).ok());
    job.plans[0].codec->Mean(key, accumulator, &values);
    const size_t offset = job.layout.block_offset(block.block());
    for (size_t i = 0; i < values.values.size(); ++i) {
      (*sum)[offset + (values.dense ? i : values.indices[i])] += values.values[i];
    }
  }
}

// Makes the records of a job of one worker, each after the one before.
class RecordMaker {
 public:
  explicit RecordMaker(v1::CodecId codec) : codec_(codec) {}

  // Serialised parts of the next record: one for each payload, the header in the last.
  std::vector<std::string> Next(v1::Header header, const std::vector<std::string>& payloads) {
    if (version_ > 0 || made_) header.set_previous_chain_hash(std::string(AsView(chain_hash_)));
    version_ += made_ ? 1 : 0;
    made_ = true;
    std::vector<std::string> parts;
    for (size_t i = 0; i < std::max<size_t>(payloads.size(), 1); ++i) {
      v1::UpdatePart part;
      part.set_version(version_);
      part.set_codec(codec_);
      if (i < payloads.size()) {
        part.add_blocks()->set_block(static_cast<uint32_t>(i));
        part.mutable_blocks(0)->set_payload(payloads[i]);
      }
      if (i + 1 >= payloads.size()) *part.mutable_header() = header;
      parts.push_back(part.SerializeAsString());
    }
    chain_hash_ = ChainHashOf(parts);
    return parts;
  }

  uint64_t version() const { return version_; }
  const ChainHash& chain_hash() const { return chain_hash_; }

 private:
  const v1::CodecId codec_;
  bool made_ = false;
  uint64_t version_ = 0;
  ChainHash chain_hash_ = {};
};

}  // namespace gradwire
