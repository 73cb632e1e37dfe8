// SPDX-License-Identifier: Apache-2.0
// A server's step with random_k and plain sgd touches what was sent, whatever the dimension: the
// pages of all its large memory are counted, over everything that a step makes it do.
#include <gtest/gtest.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/common/base/sanitized.h"
#include "tests/server/fake_cluster.h"
#include "tests/server/touched_memory.h"

namespace gradwire {
namespace {

// Far enough from each other for each to have a page of its own in every vector, up to 2^14.
constexpr size_t kKept = 1024;
constexpr size_t kFewer = size_t{1} << 22;
constexpr size_t kMore = size_t{1} << 24;
// Ends of vectors, and what the allocator's neighbours share.
constexpr size_t kSlack = 16;

std::string JobOf(size_t dimension, const std::string& rest) {
  return absl::StrCat("model { tensors { tensor { name: 'w' shape: ", dimension,
                      " } } } steps: 100 snapshot_every: 1000 membership { workers: 2 }",
                      " codec: 'random_k:", static_cast<double>(kKept) / dimension, "' ", rest);
}

struct Cost {
  size_t pages = 0;         // touched in the last step
  size_t record_bytes = 0;  // of its record
  size_t record_parts = 0;
};

// Of the last of so many steps of two workers, with everything that belongs to it: payloads,
// update, log, what streams and operators ask for, and the clock.
Cost LastStep(const std::string& job_text, int steps) {
  FakeCluster cluster(job_text);
  const std::vector<FakeWorker> workers = cluster.EnterAll(2);
  const std::vector<float> gradient(cluster.job->layout.dimension(), 1e-3f);
  Cost cost;
  for (int step = 1; step <= steps; ++step) {
    const std::vector<v1::Gradient> payload = cluster.Payload(gradient, 4096);
    TouchedMemory memory;
    if (step == steps) memory.Start();
    for (const FakeWorker& worker : workers) {
      for (const v1::Gradient& message : payload) {
        const absl::Status sent = cluster.Send(worker, message);
        EXPECT_TRUE(sent.ok()) << sent;
      }
      EXPECT_TRUE(cluster.coordinator->MayRead(worker.who()));
      cluster.Heartbeat(worker);
    }
    cluster.coordinator->Tick();
    EXPECT_EQ(cluster.Status().phase(), "training");
    const std::shared_ptr<const Record> record = cluster.newest();
    if (step == steps) cost.pages = memory.Stop();
    EXPECT_EQ(RecordHeader(*record).used_size(), 2);
    cost.record_bytes = record->bytes;
    cost.record_parts = record->parts.size();
  }
  EXPECT_GE(TouchedMemory::pages(), gradient.size() * sizeof(float) / TouchedMemory::kPage);
  return cost;
}

class ServerCostTest : public testing::Test {
 protected:
  void SetUp() override {
    if (kSanitized) GTEST_SKIP() << "the sanitizer has an allocator of its own";
  }
};

TEST_F(ServerCostTest, AStepOfRandomKTouchesWhatWasSentWhateverTheDimension) {
  const struct {
    const char* rest;
    size_t vectors;  // of the dimension, in which each coordinate that is sent has a place
  } cases[] = {
      {"", 1},
      {"consistency: QUORUM quorum { workers: 2 }", 1},
      {"perturbation: 'gaussian:std=0.1'", 2},  // when it was drawn last
      {"reset: 'reset:radius=1e6'", 2},         // where it was at the reset
      {"clip: 'norm:1' perturbation: 'gaussian:std=0.1' reset: 'reset:radius=1e6'", 3},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.rest);
    for (const size_t dimension : {kFewer, kMore}) {
      const Cost cost = LastStep(JobOf(dimension, c.rest), 3);
      EXPECT_GE(cost.pages, kKept * c.vectors) << dimension;
      EXPECT_LE(cost.pages, kKept * c.vectors + kSlack) << dimension;
    }
  }
}

TEST_F(ServerCostTest, ItsRecordIsAsLongAndHasAsManyParts) {
  const Cost fewer = LastStep(JobOf(kFewer, ""), 1);
  const Cost more = LastStep(JobOf(kMore, ""), 1);
  EXPECT_LE(more.record_bytes, fewer.record_bytes + fewer.record_bytes / 10);
  EXPECT_EQ(more.record_parts, fewer.record_parts);
}

// What the count above would say if there were a pass.
TEST_F(ServerCostTest, APassOverTheParametersIsCounted) {
  const size_t pages = kFewer * sizeof(float) / TouchedMemory::kPage;
  const Cost state = LastStep(JobOf(kFewer, "optimizer: 'sgd:lr=0.1,momentum=0.9'"), 2);
  EXPECT_GE(state.pages, 2 * pages);
  const Cost compared = LastStep(JobOf(kFewer, "hash_every: 2"), 2);
  EXPECT_GE(compared.pages, pages);
  const Cost between = LastStep(JobOf(kFewer, "hash_every: 2"), 3);
  EXPECT_LE(between.pages, kKept + kSlack);
}

}  // namespace
}  // namespace gradwire
