// SPDX-License-Identifier: Apache-2.0
// What a worker remembers, block by block, against the recursions written down once more.
#include "worker/client/error_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "common/codec/registry.h"

namespace gradwire {
namespace {

using testing::Each;

constexpr size_t kDimension = 120;

std::shared_ptr<const Job> MemoryJob(const std::string& rest) {
  auto config = ParseJobText(
      "steps: 100 model { tensors { tensor { name: 'w' shape: 12 shape: 10 } } } " + rest);
  EXPECT_TRUE(config.ok()) << config.status();
  auto job = MakeJob(*std::move(config));
  EXPECT_TRUE(job.ok()) << job.status();
  return *job;
}

std::vector<float> Gradient(uint64_t step) {
  std::mt19937_64 random(step);
  std::normal_distribution<float> normal;
  std::vector<float> gradient(kDimension);
  for (float& g : gradient) g = normal(random);
  return gradient;
}

std::vector<float> Remembered(const ErrorMemory& memory) {
  return {memory.residual().begin(), memory.residual().end()};
}

// One step of one block; what its payload stands for.
std::vector<float> Send(const Job& job, uint64_t step, float unit, bool flush,
                        std::vector<float> gradient, ErrorMemory* memory, std::string* payload) {
  memory->Prepare({}, absl::MakeSpan(gradient));
  BlockKey key = job.Key(step, 0);
  const std::vector<float> bases(job.basis_size(), 0.0f);
  key.basis = bases;
  key.unit = unit;
  key.rank = 1;
  memory->Encode(key, flush, absl::MakeSpan(gradient), payload);
  BlockValues decoded;
  const absl::Status status = DecodePayload(job.CodecOf(0, flush), key, *payload, &decoded);
  EXPECT_TRUE(status.ok()) << status;
  std::vector<float> values(kDimension, 0.0f);
  for (size_t i = 0; i < decoded.values.size(); ++i) {
    values[decoded.dense ? i : decoded.indices[i]] = decoded.values[i];
  }
  return values;
}

// Sent and residual are all gradients, each times the unit of its step: a rate that falls by ten
// leaves the residual in update units alone.
TEST(ErrorMemoryTest, ClassicLosesNothingWhateverTheCodecAndTheRate) {
  for (const char* codec : {"random_k:0.1", "top_k:0.1", "threshold:0.5", "sign", "one_bit", "int8",
                            "bf16", "fp16", "two_bit:0.5", "powersgd:1"}) {
    SCOPED_TRACE(codec);
    const auto job = MemoryJob(std::string("codec: '") + codec + "' optimizer: 'sgd:lr=0.5'");
    ErrorMemory memory(job);
    std::vector<double> given(kDimension, 0.0);
    std::vector<double> sent(kDimension, 0.0);
    for (uint64_t step = 1; step <= 30; ++step) {
      const float unit = step <= 15 ? 0.5f : 0.05f;
      const std::vector<float> gradient = Gradient(step);
      std::string payload;
      const auto decoded = Send(*job, step, unit, false, gradient, &memory, &payload);
      for (size_t i = 0; i < kDimension; ++i) {
        given[i] += double{unit} * double{gradient[i]};
        sent[i] += double{decoded[i]};
        ASSERT_NEAR(sent[i] + double{memory.residual()[i]}, given[i], 2e-5) << step << " " << i;
      }
    }
  }
}

TEST(ErrorMemoryTest, AFlushSendsTheWholeResidualAndLeavesNothing) {
  for (const char* codec : {"random_k:0.1", "sign", "powersgd:1", "dgc:0.1"}) {
    SCOPED_TRACE(codec);
    const auto job = MemoryJob(std::string("codec: '") + codec + "' optimizer: 'sgd:lr=0.5'");
    ErrorMemory memory(job);
    std::string payload;
    for (uint64_t step = 1; step <= 5; ++step) {
      Send(*job, step, 0.5f, false, Gradient(step), &memory, &payload);
    }
    const std::vector<float> before = Remembered(memory);
    const auto sent =
        Send(*job, 6, 0.5f, true, std::vector<float>(kDimension, 0.0f), &memory, &payload);
    EXPECT_EQ(payload.size(), 4 * kDimension);
    EXPECT_THAT(memory.residual(), Each(0.0f));
    if (job->plans[0].traits.momentum) continue;  // what is left of momentum goes, too
    EXPECT_EQ(sent, before);
  }
}

TEST(ErrorMemoryTest, AnUnusedPayloadComesBack) {
  struct Case {
    const char* job;
    double tolerance;
  };
  for (const Case& c : {Case{"codec: 'identity'", 0}, Case{"codec: 'random_k:0.1'", 0},
                        Case{"codec: 'sign'", 1e-5}, Case{"codec: 'powersgd:1'", 1e-5}}) {
    for (const bool flush : {false, true}) {
      SCOPED_TRACE(testing::Message() << c.job << " flush " << flush);
      const auto job = MemoryJob(c.job);
      ErrorMemory memory(job);
      std::string payload;
      const std::vector<float> gradient = Gradient(1);
      Send(*job, 1, 1.0f, flush, gradient, &memory, &payload);
      BlockKey key = job->Key(1, 0);
      const std::vector<float> bases(job->basis_size(), 0.0f);
      key.basis = bases;
      ASSERT_TRUE(memory.TakeBack(key, flush, payload).ok());
      for (size_t i = 0; i < kDimension; ++i) {
        ASSERT_NEAR(memory.residual()[i], gradient[i], c.tolerance) << i;
      }
    }
  }
}

// h += C(v - h), v = (1 - beta) v + beta g, and v = g at first; a payload that comes back is
// taken from h.
TEST(ErrorMemoryTest, Ef21IsItsRecursion) {
  for (const float beta : {1.0f, 0.25f}) {
    SCOPED_TRACE(beta);
    const auto job = MemoryJob(beta == 1 ? "codec: 'sign' error_feedback: 'ef21'"
                                         : "codec: 'sign' error_feedback: 'ef21_sgdm:0.25'");
    ErrorMemory memory(job);
    std::vector<float> h(kDimension, 0.0f);
    std::vector<float> v(kDimension, 0.0f);
    for (uint64_t step = 1; step <= 20; ++step) {
      if (step == 11) {
        memory.Reset();
        EXPECT_TRUE(memory.fresh());
        EXPECT_THAT(memory.residual(), Each(0.0f));
        h.assign(kDimension, 0.0f);
      }
      const std::vector<float> gradient = Gradient(step);
      const float weight = memory.fresh() ? 1.0f : beta;
      // The scaled sign: one magnitude, the mean of all, with the sign of each.
      double sum = 0;
      for (size_t i = 0; i < kDimension; ++i) {
        v[i] = (1 - weight) * v[i] + weight * gradient[i];
        sum += std::abs(double{v[i]} - double{h[i]});
      }
      const double scale = sum / kDimension;
      std::string payload;
      const auto sent = Send(*job, step, 1.0f, false, gradient, &memory, &payload);
      for (size_t i = 0; i < kDimension; ++i) {
        const double want = v[i] - h[i] < 0 ? -scale : scale;
        ASSERT_NEAR(sent[i], want, 1e-5) << step << " " << i;
        h[i] += sent[i];
      }
      ASSERT_THAT(memory.residual(), testing::ElementsAreArray(h)) << step;
      EXPECT_FALSE(memory.fresh());
    }
    std::string payload;
    const auto sent = Send(*job, 21, 1.0f, false, Gradient(21), &memory, &payload);
    ASSERT_TRUE(memory.TakeBack(job->Key(21, 0), false, payload).ok());
    for (size_t i = 0; i < kDimension; ++i) {
      EXPECT_EQ(memory.residual()[i], (h[i] + sent[i]) - sent[i]);
    }
  }
}

TEST(ErrorMemoryTest, WithoutFeedbackNothingIsRemembered) {
  const auto job = MemoryJob("codec: 'top_k:0.1' error_feedback: 'none'");
  ErrorMemory memory(job);
  std::string payload;
  const std::vector<float> gradient = Gradient(1);
  const auto sent = Send(*job, 1, 0.5f, false, gradient, &memory, &payload);
  EXPECT_TRUE(memory.residual().empty());
  size_t coordinates = 0;
  for (size_t i = 0; i < kDimension; ++i) {
    if (sent[i] == 0) continue;
    EXPECT_EQ(sent[i], 0.5f * gradient[i]);
    ++coordinates;
  }
  EXPECT_EQ(coordinates, 12U);
  EXPECT_TRUE(memory.TakeBack(job->Key(1, 0), false, payload).ok());
}

TEST(ErrorMemoryTest, FindsWhatWouldNotBeFiniteBeforeItIsSent) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  struct Case {
    const char* job;
    float rate;
    float value;
    bool bad;
  };
  const Case cases[] = {
      {"codec: 'top_k:0.1' error_feedback: 'none'", 1, 3e38f, false},
      {"codec: 'top_k:0.1' error_feedback: 'none'", 10, 3e38f, true},
      {"codec: 'top_k:0.1' error_feedback: 'none'", 10, 3e37f, false},
      {"codec: 'top_k:0.1' error_feedback: 'none'", 0.1f, kInf, true},
      {"codec: 'top_k:0.1' error_feedback: 'none'", 0, std::nanf(""), true},
      {"codec: 'qsgd' optimizer: 'sgd:0.1,0.9'", 10, 3e38f, false},  // gradient units
      {"codec: 'top_k:0.1'", 10, -3e38f, true},
      {"codec: 'top_k:0.1'", 0.5f, -3e38f, false},
      {"codec: 'sign_majority' optimizer: 'sgd:lr=1'", 10, 3e38f, false},
      {"codec: 'top_k:0.1' error_feedback: 'ef21'", 10, 3e38f, false},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(testing::Message() << c.job << " rate " << c.rate << " value " << c.value);
    const auto job = MemoryJob(c.job);
    ErrorMemory memory(job);
    std::vector<float> gradient(kDimension, 1.0f);
    gradient[77] = c.value;
    EXPECT_EQ(memory.FirstNonFinite(c.rate, gradient), c.bad ? 77U : kDimension);
  }
}

// EF21 sends a difference: it can overflow where neither part does.
TEST(ErrorMemoryTest, FindsADifferenceThatOverflows) {
  const auto job = MemoryJob("codec: 'top_k:1' error_feedback: 'ef21'");
  ErrorMemory memory(job);
  std::string payload;
  std::vector<float> gradient(kDimension, 0.0f);
  gradient[5] = 3e38f;
  Send(*job, 1, 1.0f, false, gradient, &memory, &payload);
  EXPECT_EQ(memory.FirstNonFinite(1, gradient), kDimension);
  gradient[5] = -3e38f;
  EXPECT_EQ(memory.FirstNonFinite(1, gradient), 5U);
}

// Magnitudes are followed by a bound, which must hold whatever a codec leaves.
TEST(ErrorMemoryTest, ASumThatOverflowsIsFoundAtAnyStep) {
  for (const char* codec : {"top_k:0.01", "random_k:0.01", "sign", "qsgd", "natural"}) {
    SCOPED_TRACE(codec);
    const auto job = MemoryJob(
        absl::StrCat("optimizer: 'sgd:lr=1' error_feedback: 'classic' codec: '", codec, "'"));
    ErrorMemory memory(job);
    bool found = false;
    for (uint64_t step = 1; step <= 61 && !found; ++step) {
      // Ever larger, so that what is remembered comes near the greatest float.
      std::vector<float> gradient(kDimension, std::ldexp(1.0f, static_cast<int>(2 * step) + 7));
      bool finite = true;
      for (size_t i = 0; i < gradient.size(); ++i) {
        finite = finite && std::isfinite(memory.residual()[i] + gradient[i]);
      }
      EXPECT_EQ(memory.FirstNonFinite(1, gradient) == gradient.size(), finite) << step;
      found = !finite;
      if (!finite) break;
      BlockKey key = job->Key(step, 0);
      std::string payload;
      memory.Encode(key, false, absl::MakeSpan(gradient), &payload);
    }
    EXPECT_TRUE(found);
  }
}

// What nobody used comes back whole with the next payload, and nothing is left behind then.
TEST(ErrorMemoryTest, WithoutCompressionOnlyAnUnusedPayloadIsRemembered) {
  const auto job = MemoryJob("codec: 'identity' optimizer: 'sgd:lr=0.5'");
  ErrorMemory memory(job);
  std::string payload;
  const std::vector<float> first = Send(*job, 1, 0.5f, false, Gradient(1), &memory, &payload);
  EXPECT_THAT(memory.residual(), Each(0.0f));
  ASSERT_TRUE(memory.TakeBack(job->Key(1, 0), false, payload).ok());
  EXPECT_EQ(Remembered(memory), first);
  const std::vector<float> gradient = Gradient(2);
  const std::vector<float> second = Send(*job, 2, 0.5f, false, gradient, &memory, &payload);
  for (size_t i = 0; i < kDimension; ++i) EXPECT_EQ(second[i], first[i] + 0.5f * gradient[i]);
  EXPECT_THAT(memory.residual(), Each(0.0f));
}

// A memory read back from a file is looked at again, though it is zero: the bits are the same.
TEST(ErrorMemoryTest, WithoutCompressionAZeroMemoryGivesTheBitsOfNone) {
  const auto job = MemoryJob("codec: 'identity' optimizer: 'sgd:lr=0.5'");
  std::vector<float> gradient = Gradient(1);
  gradient[0] = -0.0f;
  gradient[1] = -1e-45f;  // half of it rounds to zero
  ErrorMemory fresh(job);
  ErrorMemory loaded(job);
  ASSERT_TRUE(loaded.Load(fresh.contents()).ok());
  std::string of_fresh;
  std::string of_loaded;
  Send(*job, 1, 0.5f, false, gradient, &fresh, &of_fresh);
  Send(*job, 1, 0.5f, false, gradient, &loaded, &of_loaded);
  EXPECT_TRUE(of_fresh == of_loaded);
}

}  // namespace
}  // namespace gradwire
