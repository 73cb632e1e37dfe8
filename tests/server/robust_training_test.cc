// SPDX-License-Identifier: Apache-2.0
// Training with aggregators: what an update is made of, what becomes of a payload that was too
// large, and that restarts, lost workers and the order of arrival change no bit.
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/codec/block_values.h"
#include "tests/common/replica/crashing_file_system.h"
#include "tests/server/real_cluster.h"

namespace gradwire {
namespace {

constexpr size_t kDimension = 300;

std::string JobText(absl::string_view rest) {
  return absl::StrCat("model { tensors { tensor { name: 'w' shape: ", kDimension,
                      " } } } steps: 1000 ", rest);
}

std::vector<float> Gradient(size_t worker, uint64_t step) {
  return NormalGradient(kDimension, worker, step);
}

// Worker 0 is hostile.
std::vector<float> Flipped(size_t worker, uint64_t step) {
  std::vector<float> gradient = Gradient(worker, step);
  if (worker != 0) return gradient;
  for (float& value : gradient) value *= -1e30f;
  return gradient;
}

std::vector<float> DecodeOne(const Job& job, const std::vector<v1::Gradient>& messages) {
  BlockValues values;
  const auto& message = messages.front();
  const absl::Status status = DecodePayload(*job.plans[0].codec, job.Key(message.step(), 0),
                                            message.blocks(0).payload(), &values);
  EXPECT_TRUE(status.ok()) << status;
  MakeDense(kDimension, &values);
  return values.values;
}

TEST(RobustTrainingTest, AnUpdateIsTheMedianOfWhatTheWorkersSent) {
  for (const char* codec : {"identity", "random_k:0.1", "int8", "bf16"}) {
    for (const char* mode : {"", "consistency: QUORUM quorum { workers: 5 }"}) {
      SCOPED_TRACE(absl::StrCat(codec, " ", mode));
      RealCluster cluster(JobText(absl::StrCat(mode, " membership { workers: 5 } codec: '", codec,
                                               "' aggregator: 'coordinate_median' "
                                               "downlink: 'aggregate' optimizer: 'sgd:lr=0.5'")),
                          5);
      for (uint64_t step = 1; step <= 3; ++step) {
        const std::vector<float> before(cluster.replica().parameters().begin(),
                                        cluster.replica().parameters().end());
        std::vector<std::vector<float>> sent;
        for (size_t w = 5; w-- > 0;) {  // ranks arrive backwards
          sent.push_back(DecodeOne(cluster.job(), cluster.Push(w, Flipped)));
        }
        cluster.Follow();
        ASSERT_EQ(cluster.replica().version(), step);
        ASSERT_EQ(cluster.header().used_size(), 5);
        for (size_t i = 0; i < kDimension; ++i) {
          std::vector<float> column;
          for (const std::vector<float>& one : sent) column.push_back(one[i]);
          std::sort(column.begin(), column.end());
          const float want = before[i] - column[2];
          const float rounding = absl::string_view(codec) == "bf16" ? std::abs(column[2]) / 128 : 0;
          ASSERT_NEAR(cluster.replica().parameters()[i], want, rounding) << i;
        }
      }
    }
  }
}

// What is too large is lost: in the residual, or in the next payload, it would be too large again.
TEST(RobustTrainingTest, APayloadThatWasTooLargeDoesNotComeBack) {
  for (const char* codec : {"identity", "random_k:0.1", "one_bit"}) {
    SCOPED_TRACE(codec);
    RealCluster cluster(JobText(absl::StrCat("membership { workers: 4 } codec: '", codec,
                                             "' max_norm_factor: 10 optimizer: 'sgd:lr=1'")),
                        4);
    const auto spike = [](size_t worker, uint64_t step) {
      std::vector<float> gradient = Gradient(worker, step);
      if (worker == 2 && step == 3) {
        for (float& value : gradient) value *= 1000;
      }
      return gradient;
    };
    cluster.Steps(2, spike);
    const auto residual = [&] {
      const absl::Span<const float> now = cluster.workers[2].uplink->residual();
      return std::vector<float>(now.begin(), now.end());
    };
    cluster.Encode(2, spike);
    const std::vector<float> left = residual();  // p - C(p)
    cluster.Resend(2);
    for (const size_t other : {0, 1, 3}) cluster.Push(other, spike);
    cluster.Follow();
    ASSERT_EQ(cluster.replica().version(), 3u);
    ASSERT_EQ(cluster.header().too_large_size(), 1);
    EXPECT_EQ(cluster.header().too_large(0).rank(), 2u);
    EXPECT_EQ(cluster.header().used_size(), 3);
    EXPECT_EQ(residual(), left);
    const v1::GetStatusResponse status = cluster.cluster.Status();
    EXPECT_EQ(status.payloads_too_large(), 1u);
    EXPECT_EQ(cluster.cluster.StatusOf("w2").payloads_too_large(), 1u);
    EXPECT_EQ(cluster.cluster.StatusOf("w1").payloads_too_large(), 0u);
    if (absl::string_view(codec) != "identity") continue;
    cluster.Steps(3, spike);  // and takes part again
    EXPECT_EQ(cluster.header().used_size(), 4);
    EXPECT_EQ(cluster.cluster.Status().payloads_too_large(), 1u);
  }
}

CoordinatorOptions On(CrashingFileSystem* disk) {
  CoordinatorOptions options;
  options.history.files = disk;
  options.history.state_dir = "/state";
  return options;
}

void Greet(RealCluster* cluster, size_t worker) {
  RealWorker& w = cluster->workers[worker];
  v1::Hello hello = w.at.who();
  hello.set_session(w.at.session);
  hello.mutable_at()->set_version(w.replica->version());
  hello.mutable_at()->set_chain_hash(std::string(AsView(w.replica->chain_hash())));
  w.at.stream = std::make_shared<FakeStream>();
  ASSERT_TRUE(cluster->cluster.coordinator->Hello(hello, w.at.stream).ok());
  ASSERT_TRUE(cluster->cluster.coordinator->CaughtUp(w.at.who()).ok());
}

TEST(RobustTrainingTest, AServerThatIsKilledInEveryStepMakesTheSameHistory) {
  for (const char* choice :
       {"aggregator: 'trimmed_mean' codec: 'random_k:0.1' max_norm_factor: 50 "
        "perturbation: 'gaussian:std=0.1'",
        "aggregator: 'coordinate_median' codec: 'int8' clip: 'norm:1' snapshot_every: 2",
        "aggregator: 'norm_clip' codec: 'top_k:0.1' reset: 'flush:steps=3'"}) {
    SCOPED_TRACE(choice);
    const std::string job = JobText(absl::StrCat("membership { workers: 5 mode: FIXED } ", choice));
    RealCluster reference(job, 5);
    reference.Steps(8, Flipped);
    CrashingFileSystem disk;
    RealCluster cluster(job, 5, On(&disk));
    for (uint64_t step = 1; step <= 8; ++step) {
      for (size_t w = 0; w < 5; ++w) cluster.Encode(w, Flipped);
      cluster.Resend(4);  // what it kept is lost with it
      cluster.Resend(0);
      cluster.cluster.coordinator.reset();
      auto again = Coordinator::Create(On(&disk), cluster.cluster.job, &cluster.cluster.clock,
                                       &cluster.cluster.counters);
      ASSERT_TRUE(again.ok()) << again.status();
      cluster.cluster.coordinator = *std::move(again);
      for (size_t w = 0; w < 5; ++w) Greet(&cluster, w);
      for (size_t i = 0; i < 5; ++i) cluster.Resend((i + step) % 5);
      cluster.Follow();
      ASSERT_EQ(cluster.replica().version(), step);
    }
    EXPECT_EQ(cluster.replica().chain_hash(), reference.replica().chain_hash());
    EXPECT_EQ(cluster.replica().Hash(), reference.replica().Hash());
  }
}

// Payloads that are kept wait for all others': to read no more from their workers would be to wait
// for ever.
TEST(RobustTrainingTest, NoStreamIsPausedForPayloadsThatAreKept) {
  CoordinatorOptions options;
  options.max_waiting_bytes = 1;
  RealCluster cluster(JobText("membership { workers: 3 } aggregator: 'coordinate_median'"), 3,
                      std::move(options));
  cluster.Push(2, Gradient);
  EXPECT_TRUE(cluster.cluster.coordinator->MayRead(cluster.workers[2].at.who()));
  cluster.Push(0, Gradient);
  cluster.Push(1, Gradient);
  cluster.Follow();
  EXPECT_EQ(cluster.replica().version(), 1u);
}

TEST(RobustTrainingTest, AWorkerThatIsLostInAnOpenStepIsLeftOut) {
  RealCluster cluster(JobText("membership { workers: 3 } aggregator: 'trimmed_mean'"), 3);
  cluster.Steps(2, Gradient);
  cluster.Push(0, Gradient);
  cluster.Push(1, Gradient);
  EXPECT_EQ(cluster.cluster.version(), 2u);
  cluster.Leave(2);
  cluster.Follow();
  EXPECT_EQ(cluster.replica().version(), 3u);
  EXPECT_EQ(cluster.header().used_size(), 2);
}

}  // namespace
}  // namespace gradwire
