// SPDX-License-Identifier: Apache-2.0
// Implementation of test_records.h.
#include "tests/common/replica/test_records.h"

#include <gtest/gtest.h>

#include <utility>

#include "common/optimizer/learning_rate.h"
#include "common/random/gaussian.h"

namespace gradwire {
namespace {

std::string EncodeBlock(const Codec& codec, const BlockKey& key, absl::Span<const float> values) {
  std::vector<float> residual(values.begin(), values.end());
  std::string payload;
  codec.Encode(key, absl::MakeSpan(residual), &payload);
  Accumulator sum;
  EXPECT_TRUE(codec.Accumulate(key, payload, &sum).ok());
  BlockValues mean;
  codec.Mean(key, sum, &mean);
  std::string update;
  codec.EncodeUpdate(key, mean, &update);
  return update;
}

}  // namespace

std::shared_ptr<const Job> MakeTestJob(const std::string& text) {
  const auto config = ParseJobText(text);
  EXPECT_TRUE(config.ok()) << config.status();
  auto job = MakeJob(*config);
  EXPECT_TRUE(job.ok()) << job.status();
  return *std::move(job);
}

float LearningRateAt(const Job& job, uint64_t step) {
  return LearningRate(job.optimizer->learning_rate(), job.schedule).At(step);
}

std::vector<float> TestGradient(const Job& job, uint64_t step) {
  std::vector<float> values(job.layout.dimension());
  FillGaussians({.seed = 99, .purpose = Purpose::kBatch, .step = step, .block = 0},
                absl::MakeSpan(values));
  return values;
}

std::vector<v1::UpdatePart> NextParts(const Replica& replica, absl::Span<const float> values,
                                      size_t blocks_per_part) {
  const Job& job = *replica.job();
  const uint64_t step = replica.version() + 1;
  const size_t blocks = values.empty() ? 0 : job.layout.blocks();
  std::vector<v1::UpdatePart> parts(1);
  for (size_t block = 0; block < blocks; ++block) {
    if (block != 0 && block % blocks_per_part == 0) parts.emplace_back();
    const size_t size = job.layout.block_size(block);
    const BlockKey key = {.seed = job.config.seed(),
                          .step = step,
                          .block = static_cast<uint32_t>(block),
                          .size = size};
    v1::BlockPayload* payload = parts.back().add_blocks();
    payload->set_block(key.block);
    payload->set_payload(EncodeBlock(*job.plans[block].codec, key,
                                     values.subspan(job.layout.block_offset(block), size)));
  }
  for (v1::UpdatePart& part : parts) {
    part.set_version(step);
    if (part.blocks_size() != 0) part.set_codec(job.plans[0].codec->id());
  }
  v1::Header* header = parts.back().mutable_header();
  header->set_previous_chain_hash(std::string(AsView(replica.chain_hash())));
  header->set_learning_rate(LearningRateAt(job, step));
  header->set_next_learning_rate(LearningRateAt(job, step + 1));
  if (blocks != 0) header->add_used()->set_incarnation(1);
  return parts;
}

std::shared_ptr<const Record> Seal(uint64_t version, const std::vector<v1::UpdatePart>& parts) {
  std::vector<std::string> bytes;
  for (const v1::UpdatePart& part : parts) bytes.push_back(part.SerializeAsString());
  return MakeRecord(version, std::move(bytes));
}

std::shared_ptr<const Record> FirstRecord(const Job& job) {
  v1::UpdatePart part;
  part.mutable_header()->set_next_learning_rate(LearningRateAt(job, 1));
  return Seal(0, {part});
}

std::shared_ptr<const Record> NextRecord(const Replica& replica, absl::Span<const float> values) {
  return Seal(replica.version() + 1, NextParts(replica, values));
}

Replica TrainedReplica(std::shared_ptr<const Job> job, uint64_t steps) {
  Replica replica(std::move(job));
  EXPECT_TRUE(replica.Apply(*FirstRecord(*replica.job())).ok());
  for (uint64_t step = 1; step <= steps; ++step) {
    const absl::Status status =
        replica.Apply(*NextRecord(replica, TestGradient(*replica.job(), step)));
    EXPECT_TRUE(status.ok()) << status;
  }
  return replica;
}

}  // namespace gradwire
