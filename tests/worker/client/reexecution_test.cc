// SPDX-License-Identifier: Apache-2.0
// Computing the steps since a saved state again gives the residual of a worker that never died,
// bit for bit.
#include "tests/worker/client/history.h"

namespace gradwire {
namespace {

constexpr char kWorker[] = "w1";
constexpr uint64_t kVersions = 18;

const TestJob kJobs[] = {
    {.dimension = 300, .codec = "top_k:0.1"},
    {.dimension = 300, .codec = "random_k:0.1"},
    {.dimension = 300, .codec = "random_k:0.1", .perturbation = "gaussian:std=0.1"},
    {.dimension = 300, .codec = "dgc:0.1"},
    {.dimension = 300, .codec = "top_k:0.1", .feedback = "ef21_sgdm:0.25"},
    {.dimension = 300, .codec = "top_k:0.1", .optimizer = "adam:lr=0.01"},
    {.dimension = 300, .codec = "qsgd"},
};

// What a returning worker does: the records up to the state, the state, and each step again.
class Returned {
 public:
  Returned(const History& history, uint64_t version)
      : history_(history), follower_(history.job()), uplink_(history.job()) {
    for (uint64_t v = 0; v <= version; ++v) Take(v);
    const absl::Status loaded = uplink_.Load(history.StateAt(version).memory);
    EXPECT_TRUE(loaded.ok()) << loaded;
  }

  void Compute() {
    OpenStep open = History::Open(follower_.replica());
    open.same_bits_from = 1;
    if (ReplicaHashDue(*history_.job(), open.step)) open.replica_hash = follower_.replica().Hash();
    std::vector<float> gradient = GradientAt(open.step, follower_.replica().parameters());
    const absl::Status status =
        uplink_.Encode(open, absl::MakeSpan(gradient), {.loss = 1, .samples = 1});
    EXPECT_TRUE(status.ok()) << status;
  }
  void Take(uint64_t version) {
    const auto applied = follower_.Take(history_.record(version)[0]);
    EXPECT_TRUE(applied.ok()) << applied.status();
    const absl::Status resolved = uplink_.Resolve(version, follower_.replica().header());
    EXPECT_TRUE(resolved.ok()) << resolved;
  }
  Uplink& uplink() { return uplink_; }

 private:
  const History& history_;
  Follower follower_;
  Uplink uplink_;
};

std::vector<std::string> OpenPayload(Uplink* uplink) {
  std::vector<std::string> messages;
  for (const v1::TrainRequest& message : uplink->Messages({.rank = 0, .incarnation = 2})) {
    messages.push_back(message.SerializeAsString());
  }
  return messages;
}

TEST(ReexecutionTest, GivesMemoryAndOpenPayloadOfAWorkerThatNeverDied) {
  for (const TestJob& options : kJobs) {
    SCOPED_TRACE(options.codec + " " + options.optimizer + " " + options.feedback);
    const History history(MakeTestJob(options), kWorker, kVersions);
    ASSERT_TRUE(history.replica().started());
    for (uint64_t from = 0; from <= kVersions; ++from) {
      SCOPED_TRACE(from);
      Returned worker(history, from);
      for (uint64_t version = from + 1; version <= kVersions; ++version) {
        worker.Compute();
        worker.Take(version);
        const auto memory = worker.uplink().contents();
        ASSERT_TRUE(memory.ok()) << memory.status();
        ExpectSameMemory(*memory, history.StateAt(version).memory);
      }
      worker.Compute();
      EXPECT_EQ(OpenPayload(&worker.uplink()), history.open_payload());
    }
  }
}

// The history has what the test above is about: otherwise it would show nothing.
TEST(ReexecutionTest, TheHistoryHasEveryEvent) {
  const History history(MakeTestJob(kJobs[0]), kWorker, kVersions);
  const auto residual = [&](uint64_t v) { return history.StateAt(v).memory.memory.residual; };
  for (uint64_t version = 1; version <= kVersions; ++version) {
    v1::UpdatePart part;
    ASSERT_TRUE(part.ParseFromString(history.record(version)[0]));
    EXPECT_EQ(part.header().used_size() == 0, version == kUnusedStep || version == kAbstainedStep);
    EXPECT_EQ(part.header().flushed(), version == kFlushedStep);
  }
  EXPECT_EQ(residual(kAbstainedStep), residual(kAbstainedStep - 1));
  EXPECT_NE(residual(kUnusedStep), residual(kUnusedStep - 1));
  EXPECT_THAT(residual(kFlushedStep), testing::Each(0.0f));
  EXPECT_THAT(residual(kResetStep), testing::Each(0.0f));
  EXPECT_THAT(residual(kVersions), testing::Contains(testing::Ne(0.0f)));
}

TEST(ReexecutionTest, WhatOlderIncarnationsOfAnotherResidualSentIsNotItsOwn) {
  struct Case {
    std::optional<uint64_t> same_bits_from;
    uint32_t rank;
    uint64_t incarnation;
    bool used;
  };
  for (const Case& c : {Case{3, 2, 3, true}, Case{3, 2, 5, true}, Case{3, 2, 2, false},
                        Case{3, 1, 3, false}, Case{std::nullopt, 2, 3, false}}) {
    SCOPED_TRACE(testing::Message() << c.rank << " " << c.incarnation);
    const auto job = MakeTestJob({.dimension = 64, .codec = "random_k:0.1"});
    Uplink uplink(job);
    std::vector<float> gradient(64, 1.0f);
    ASSERT_TRUE(
        uplink
            .Encode({.step = 1, .learning_rate = 1, .rank = 2, .same_bits_from = c.same_bits_from},
                    absl::MakeSpan(gradient), {})
            .ok());
    v1::Header header;
    header.add_used()->set_rank(c.rank);
    header.mutable_used(0)->set_incarnation(c.incarnation);
    ASSERT_TRUE(uplink.Resolve(1, header).ok());
    const bool has_all = testing::Matches(testing::Each(1.0f))(
        std::vector<float>(uplink.residual().begin(), uplink.residual().end()));
    EXPECT_EQ(has_all, !c.used);
  }
}

TEST(ReexecutionTest, MemoryIsNotKeptWhileAPayloadIsOpen) {
  const auto job = MakeTestJob({.dimension = 64, .codec = "random_k:0.1"});
  Uplink uplink(job);
  EXPECT_EQ(uplink.contents().status().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(uplink.Resolve(0, {}).ok());
  EXPECT_TRUE(uplink.contents().ok());
  std::vector<float> gradient(64, 1.0f);
  ASSERT_TRUE(uplink.Encode({.step = 1}, absl::MakeSpan(gradient), {}).ok());
  EXPECT_EQ(uplink.contents().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(ReexecutionTest, MemoryThatDoesNotFitTheJobIsRefusedAndChangesNothing) {
  const auto job = MakeTestJob({.dimension = 64, .codec = "dgc:0.1"});
  const History history(job, kWorker, 4, false);
  Uplink uplink(job);
  ASSERT_TRUE(uplink.Load(history.StateAt(4).memory).ok());
  struct Case {
    const char* name;
    void (*damage)(ErrorMemory::Contents*);
  };
  for (const Case& c : {Case{"residual", [](ErrorMemory::Contents* m) { m->residual.pop_back(); }},
                        Case{"momentum", [](ErrorMemory::Contents* m) { m->momentum.clear(); }},
                        Case{"finite", [](ErrorMemory::Contents* m) {
                               m->residual[7] = std::numeric_limits<float>::infinity();
                             }}}) {
    SCOPED_TRACE(c.name);
    Uplink::Contents contents = history.StateAt(3).memory;
    c.damage(&contents.memory);
    const absl::Status status = uplink.Load(contents);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), testing::HasSubstr(c.name));
    ExpectSameMemory(*uplink.contents(), history.StateAt(4).memory);
  }
}

}  // namespace
}  // namespace gradwire
