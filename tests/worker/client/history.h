// SPDX-License-Identifier: Apache-2.0
// The history of a worker that never dies: what a recovered one is compared with.
#pragma once

#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/worker/client/testing.h"
#include "worker/client/follower.h"
#include "worker/client/uplink.h"
#include "worker/client/worker_state.h"

namespace gradwire {

// A function of step and parameters, as a trainer's; one of its values is not a number in
// kAbstainedStep.
inline constexpr uint64_t kUnusedStep = 6;
inline constexpr uint64_t kAbstainedStep = 9;
inline constexpr uint64_t kFlushedStep = 12;
inline constexpr uint64_t kResetStep = 15;  // after it everybody's residual is dropped

inline std::vector<float> GradientAt(uint64_t step, absl::Span<const float> parameters) {
  std::mt19937_64 random(step);
  std::normal_distribution<float> normal;
  std::vector<float> gradient(parameters.size());
  for (size_t i = 0; i < gradient.size(); ++i) gradient[i] = normal(random) + 0.1f * parameters[i];
  if (step == kAbstainedStep) gradient[3] = std::numeric_limits<float>::quiet_NaN();
  return gradient;
}

// The only member of its job, as incarnation 1 of rank 0.
class History {
 public:
  // With the steps above, when `eventful`.
  History(std::shared_ptr<const Job> job, const std::string& id, uint64_t versions,
          bool eventful = true)
      : job_(job), id_(id), eventful_(eventful), follower_(job), uplink_(job) {
    Apply(HeaderAfter(0), {});
    while (follower_.replica().version() < versions) {
      Compute();
      const uint64_t version = follower_.replica().version() + 1;
      v1::Header header = HeaderAfter(version);
      const bool used = !uplink_.abstained() && !(eventful_ && version == kUnusedStep);
      std::vector<v1::BlockPayload> blocks;
      if (used) {
        header.add_used()->set_incarnation(1);
        for (const v1::TrainRequest& message : uplink_.Messages(kSelf)) {
          for (v1::BlockPayload block : message.gradient().blocks()) {
            block.set_codec(job_->CodecOf(block.block(), flush_).id());
            blocks.push_back(block);
          }
        }
      }
      Apply(header, blocks);
    }
    Compute();
  }

  const std::shared_ptr<const Job>& job() const { return job_; }
  uint64_t newest() const { return records_.size() - 1; }
  const std::vector<std::string>& record(uint64_t version) const { return records_[version]; }
  const ChainHash& chain_hash(uint64_t version) const { return hashes_[version]; }
  v1::Point PointAt(uint64_t version) const {
    v1::Point point;
    point.set_version(version);
    point.set_chain_hash(std::string(AsView(hashes_[version])));
    return point;
  }
  // Before the payload of step version+1.
  WorkerState StateAt(uint64_t version) const {
    return {.version = version,
            .chain_hash = hashes_[version],
            .incarnation = 1,
            .memory = memories_[version]};
  }
  // The payload of the step after the newest record.
  const std::vector<std::string>& open_payload() const { return open_payload_; }
  const Replica& replica() const { return follower_.replica(); }

  static OpenStep Open(const Replica& replica) {
    return {.step = replica.version() + 1,
            .learning_rate = replica.header().next_learning_rate(),
            .flush = replica.header().next_flush(),
            .bases = replica.bases(),
            .base_chain_hash = replica.chain_hash()};
  }

 private:
  static constexpr MemberKey kSelf = {.rank = 0, .incarnation = 1};

  v1::Header HeaderAfter(uint64_t version) const {
    v1::Header header;
    v1::Member* member = header.add_members();
    member->set_id(id_);
    member->set_incarnation(1);
    header.set_next_learning_rate(version < 10 ? 0.5f : 0.05f);
    const bool classic = !job_->plans[0].keeps_mean();
    header.set_next_flush(eventful_ && classic && version + 1 == kFlushedStep);
    header.set_flushed(eventful_ && classic && version == kFlushedStep);
    header.set_reset_id(eventful_ && version >= kResetStep ? 7 : 0);
    return header;
  }

  void Compute() {
    OpenStep open = Open(follower_.replica());
    flush_ = open.flush;
    if (ReplicaHashDue(*job_, open.step)) open.replica_hash = follower_.replica().Hash();
    const bool lags = job_->config.lag() > 0 && follower_.replica().version() > 0;
    const auto parameters = lags ? absl::Span<const float>(before_) : Parameters();
    std::vector<float> gradient = GradientAt(eventful_ ? open.step : 1000 + open.step, parameters);
    const absl::Status status =
        uplink_.Encode(open, absl::MakeSpan(gradient), {.loss = 1, .samples = 1});
    EXPECT_TRUE(status.ok()) << status;
    open_payload_.clear();
    for (const v1::TrainRequest& message : uplink_.Messages(kSelf)) {
      open_payload_.push_back(message.SerializeAsString());
    }
  }

  void Apply(v1::Header header, const std::vector<v1::BlockPayload>& blocks) {
    if (!records_.empty()) {
      header.set_previous_chain_hash(std::string(AsView(hashes_.back())));
    }
    v1::UpdatePart part;
    part.set_version(records_.size());
    part.set_codec(job_->CodecOf(0, flush_).id());
    for (const v1::BlockPayload& block : blocks) *part.add_blocks() = block;
    *part.mutable_header() = header;
    records_.push_back({part.SerializeAsString()});
    hashes_.push_back(ChainHashOf(records_.back()));
    before_.assign(Parameters().begin(), Parameters().end());
    const auto applied = follower_.Take(records_.back()[0]);
    EXPECT_TRUE(applied.ok()) << applied.status();
    const absl::Status resolved = uplink_.Resolve(part.version(), header);
    EXPECT_TRUE(resolved.ok()) << resolved;
    const auto memory = uplink_.contents();
    EXPECT_TRUE(memory.ok()) << memory.status();
    if (memory.ok()) memories_.push_back(*memory);
  }

  absl::Span<const float> Parameters() const { return follower_.replica().parameters(); }

  const std::shared_ptr<const Job> job_;
  const std::string id_;
  const bool eventful_;
  Follower follower_;
  Uplink uplink_;
  bool flush_ = false;
  std::vector<float> before_;  // the parameters one version ago
  std::vector<std::vector<std::string>> records_;
  std::vector<ChainHash> hashes_;
  std::vector<Uplink::Contents> memories_;
  std::vector<std::string> open_payload_;
};

// Equal as bits, not as numbers: a zero has a sign.
inline void ExpectSameMemory(const Uplink::Contents& got, const Uplink::Contents& want) {
  EXPECT_EQ(got.reset_id, want.reset_id);
  EXPECT_EQ(got.memory.fresh, want.memory.fresh);
  EXPECT_EQ(Bytes(got.memory.residual), Bytes(want.memory.residual));
  EXPECT_EQ(Bytes(got.memory.momentum), Bytes(want.memory.momentum));
}

}  // namespace gradwire
