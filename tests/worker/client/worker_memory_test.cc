// SPDX-License-Identifier: Apache-2.0
// A worker's need, term by term, against counting by hand.
#include "worker/client/worker_memory.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace gradwire {
namespace {

constexpr uint64_t kDimension = 1'000'000;
constexpr uint64_t kVector = 4 * kDimension;

MemoryNeed NeedOf(const std::string& rest) {
  auto config = ParseJobText(absl::StrCat(
      "model { tensors { tensor { name: 'w' shape: ", kDimension, " } } } steps: 1 ", rest));
  auto job = MakeJob(*std::move(config));
  EXPECT_TRUE(job.ok()) << job.status();
  return WorkerMemoryNeed(**job);
}

TEST(WorkerMemoryTest, CountsTheVectorsThatAWorkerHas) {
  const struct {
    const char* rest;
    uint64_t residual;
    uint64_t momentum;
    uint64_t state;
  } cases[] = {
      {"codec: 'random_k:0.01'", 1, 0, 0},
      {"codec: 'random_k:0.01' error_feedback: 'none'", 0, 0, 0},
      {"codec: 'dgc:0.01'", 1, 1, 0},
      {"codec: 'top_k:0.01' error_feedback: 'ef21'", 1, 0, 1},
      {"codec: 'top_k:0.01' error_feedback: 'ef21_sgdm:beta=0.1'", 1, 1, 1},
      {"codec: 'top_k:0.01' optimizer: 'adam:lr=0.1'", 1, 0, 2},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.rest);
    const MemoryNeed need = NeedOf(c.rest);
    EXPECT_EQ(need["parameters"], kVector);
    EXPECT_EQ(need["gradient"], kVector);
    EXPECT_EQ(need["residual"], c.residual * kVector);
    EXPECT_EQ(need["momentum"], c.momentum * kVector);
    EXPECT_EQ(need["optimizer state"], c.state * kVector);
  }
  EXPECT_EQ(NeedOf("codec: 'identity'")["payload"], kVector);
}

}  // namespace
}  // namespace gradwire
