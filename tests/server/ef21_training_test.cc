// SPDX-License-Identifier: Apache-2.0
// EF21 from the workers' memories through the server to every replica follows its recursion, and
// begins anew whenever the workers are not those that it knew.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "tests/server/real_cluster.h"

namespace gradwire {
namespace {

using testing::Each;

constexpr size_t kDimension = 200;

std::string JobOf(const std::string& rest, size_t workers = 3) {
  return absl::StrCat("model { tensors { tensor { name: 'w' shape: ", kDimension,
                      " } } } membership { workers: ", workers, " } steps: 1000 ", rest);
}

std::vector<float> Gradient(size_t worker, uint64_t step) {
  return NormalGradient(kDimension, worker, step);
}

// EF21, written down once more: h_i += TopK(v_i - h_i); x -= rate * mean(h).
class Ef21Reference {
 public:
  Ef21Reference(size_t workers, size_t k, float beta)
      : k_(k), beta_(beta), h_(workers, std::vector<float>(kDimension, 0.0f)), v_(h_) {}

  void Forget() {
    for (auto* vectors : {&h_, &v_}) {
      for (auto& vector : *vectors) std::fill(vector.begin(), vector.end(), 0.0f);
    }
    fresh_ = true;
  }

  void Step(uint64_t step, double rate) {
    const float beta = fresh_ ? 1.0f : beta_;
    for (size_t w = 0; w < h_.size(); ++w) {
      const std::vector<float> gradient = Gradient(w, step);
      std::vector<float> difference(kDimension);
      for (size_t i = 0; i < kDimension; ++i) {
        v_[w][i] = (1 - beta) * v_[w][i] + beta * gradient[i];
        difference[i] = v_[w][i] - h_[w][i];
      }
      std::vector<size_t> order(kDimension);
      std::iota(order.begin(), order.end(), size_t{0});
      std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
        return std::abs(difference[a]) > std::abs(difference[b]);
      });
      for (size_t j = 0; j < k_; ++j) h_[w][order[j]] += difference[order[j]];
    }
    for (size_t i = 0; i < kDimension; ++i) x[i] -= rate * MeanAt(i);
    fresh_ = false;
  }

  double MeanAt(size_t i) const {
    double sum = 0;
    for (const auto& h : h_) sum += h[i];
    return sum / static_cast<double>(h_.size());
  }
  const std::vector<float>& h(size_t worker) const { return h_[worker]; }

  std::vector<double> x = std::vector<double>(kDimension, 0.0);

 private:
  const size_t k_;
  const float beta_;
  bool fresh_ = true;
  std::vector<std::vector<float>> h_;
  std::vector<std::vector<float>> v_;
};

TEST(Ef21Test, WorkersServerAndReplicasFollowTheRecursion) {
  struct Case {
    const char* feedback;
    float beta;
    const char* reset;
    uint64_t forgets_every;  // 0: never
  };
  const Case cases[] = {{"ef21", 1.0f, "none", 0},
                        {"ef21_sgdm:beta=0.25", 0.25f, "none", 0},
                        {"ef21_sgdm:beta=0.25", 0.25f, "reset:steps=7", 7}};
  for (const Case& c : cases) {
    SCOPED_TRACE(absl::StrCat(c.feedback, " ", c.reset));
    RealCluster cluster(
        JobOf(absl::StrCat("codec: 'top_k:0.1' optimizer: 'sgd:lr=0.5' ", "error_feedback: '",
                           c.feedback, "' reset: '", c.reset, "'")),
        3);
    Ef21Reference reference(3, 20, c.beta);
    for (uint64_t step = 1; step <= 20; ++step) {
      SCOPED_TRACE(step);
      cluster.Step(Gradient);
      reference.Step(step, 0.5);
      for (size_t i = 0; i < kDimension; ++i) {
        ASSERT_NEAR(cluster.replica().parameters()[i], reference.x[i], 2e-5) << i;
      }
      if (c.forgets_every > 0 && step % c.forgets_every == 0) reference.Forget();
      for (size_t w = 0; w < 3; ++w) {
        ASSERT_THAT(cluster.workers[w].uplink->residual(),
                    testing::ElementsAreArray(reference.h(w)));
      }
      for (size_t i = 0; i < kDimension; ++i) {
        ASSERT_NEAR(cluster.replica().state().back()[i], reference.MeanAt(i), 2e-5) << i;
      }
    }
  }
}

// After one more step everything is as at the job's start: the mean is that of C(g).
void ExpectBeganAnew(RealCluster* cluster, uint64_t old_reset_id) {
  EXPECT_NE(cluster->header().reset_id(), old_reset_id);
  EXPECT_THAT(cluster->replica().state().back(), Each(0.0f));
  std::vector<size_t> here;
  for (size_t w = 0; w < cluster->workers.size(); ++w) {
    if (cluster->workers[w].gone) continue;
    here.push_back(w);
    EXPECT_THAT(cluster->workers[w].uplink->residual(), Each(0.0f)) << w;
  }
  const uint64_t reset_id = cluster->header().reset_id();
  cluster->Step(Gradient);
  ASSERT_EQ(static_cast<size_t>(cluster->header().used_size()), here.size());
  EXPECT_EQ(cluster->header().reset_id(), reset_id) << "one reset is enough";
  std::vector<double> mean(kDimension, 0.0);
  for (const size_t w : here) {
    for (size_t i = 0; i < kDimension; ++i) {
      mean[i] +=
          double{cluster->workers[w].uplink->residual()[i]} / static_cast<double>(here.size());
    }
  }
  for (size_t i = 0; i < kDimension; ++i) {
    ASSERT_NEAR(cluster->replica().state().back()[i], mean[i], 1e-6) << i;
  }
}

constexpr char kEf21[] = "codec: 'top_k:0.1' optimizer: 'sgd:lr=0.5' error_feedback: 'ef21'";

TEST(Ef21Test, AMemberThatLeavesAfterItsPayloadMakesAllBeginAnew) {
  RealCluster cluster(JobOf(kEf21), 3);
  cluster.Steps(5, Gradient);
  const uint64_t before = cluster.header().reset_id();
  cluster.Push(2, Gradient);
  cluster.Leave(2);
  cluster.Push(0, Gradient);
  cluster.Push(1, Gradient);
  cluster.Follow();
  EXPECT_EQ(cluster.header().used_size(), 3);
  ExpectBeganAnew(&cluster, before);
}

TEST(Ef21Test, AMemberThatLeavesBeforeItsPayloadMakesAllBeginAnew) {
  RealCluster cluster(JobOf(kEf21), 3);
  cluster.Steps(5, Gradient);
  const uint64_t before = cluster.header().reset_id();
  cluster.Push(0, Gradient);
  cluster.Leave(2);
  cluster.Push(1, Gradient);
  cluster.Follow();
  EXPECT_EQ(cluster.header().used_size(), 2);
  ExpectBeganAnew(&cluster, before);
}

TEST(Ef21Test, ANewcomerMakesAllBeginAnew) {
  RealCluster cluster(JobOf(kEf21, 2), 2);
  cluster.Steps(5, Gradient);
  const uint64_t before = cluster.header().reset_id();
  cluster.Enter("late");
  cluster.Step(Gradient);
  EXPECT_EQ(cluster.header().members_size(), 3);
  ExpectBeganAnew(&cluster, before);
}

TEST(Ef21Test, AMemberThatAbstainsMakesAllBeginAnew) {
  RealCluster cluster(JobOf(kEf21), 3);
  cluster.Steps(5, Gradient);
  const uint64_t before = cluster.header().reset_id();
  cluster.Step([](size_t worker, uint64_t step) {
    std::vector<float> gradient = Gradient(worker, step);
    if (worker == 1) gradient[7] = std::nanf("");
    return gradient;
  });
  EXPECT_EQ(cluster.header().used_size(), 2);
  ExpectBeganAnew(&cluster, before);
}

TEST(Ef21Test, AMemberWithFreshMemoryMakesAllBeginAnew) {
  RealCluster cluster(JobOf(kEf21), 3);
  cluster.Steps(5, Gradient);
  const uint64_t before = cluster.header().reset_id();
  // As after a snapshot and the record that follows it.
  cluster.workers[1].uplink->Reset();
  ASSERT_TRUE(cluster.workers[1].uplink->Resolve(5, cluster.header()).ok());
  cluster.Step(Gradient);
  EXPECT_EQ(cluster.header().used_size(), 3);
  ExpectBeganAnew(&cluster, before);
}

TEST(Ef21Test, ASteadyJobNeverBeginsAnew) {
  RealCluster cluster(JobOf(kEf21), 3);
  cluster.Steps(30, Gradient);
  EXPECT_EQ(cluster.header().reset_id(), 0U);
}

}  // namespace
}  // namespace gradwire
