// SPDX-License-Identifier: Apache-2.0
// dgc against the recursion of the official code, written out here, and against full sorts.
#include <cmath>
#include <limits>
#include <numeric>

#include "common/codec/index_coding.h"
#include "common/random/index_set.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/codec/codec_cases.h"
#include "tests/common/codec/error_law.h"

namespace gradwire {
namespace {

// The `count` greatest magnitudes, ties to the lowest index; the others zero.
std::vector<float> Largest(const std::vector<float>& x, size_t count) {
  std::vector<size_t> order(x.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return std::fabs(x[a]) > std::fabs(x[b]); });
  std::vector<float> kept(x.size(), 0.0f);
  for (size_t i = 0; i < count; ++i) kept[order[i]] = x[order[i]];
  return kept;
}

size_t CountOf(const std::vector<float>& sent) {
  return static_cast<size_t>(
      std::count_if(sent.begin(), sent.end(), [](float v) { return v != 0; }));
}

// What a worker does around the codec: worker/client/error_memory.cc.
class Worker {
 public:
  Worker(const std::string& spec, size_t n) : codec_(Make(spec)), momentum_(n), residual_(n) {}

  std::vector<float> Step(uint64_t step, std::vector<float> gradient, const WorkerStep& at = {},
                          float unit = 1) {
    const size_t n = gradient.size();
    codec_->Prepare(KeyOf(n, 0), at, absl::MakeSpan(gradient), absl::MakeSpan(momentum_));
    for (size_t i = 0; i < n; ++i) residual_[i] += unit * gradient[i];
    BlockKey key = KeyOf(n, step);
    key.unit = unit;
    std::string payload;
    codec_->Encode(key, absl::MakeSpan(residual_), &payload);
    codec_->Sent(key, payload, absl::MakeSpan(momentum_));
    return Decoded(*codec_, key, payload);
  }

  const std::vector<float>& momentum() const { return momentum_; }
  const std::vector<float>& residual() const { return residual_; }

 private:
  const std::unique_ptr<Codec> codec_;
  std::vector<float> momentum_;
  std::vector<float> residual_;
};

// synxlin/deep-gradient-compression, dgc/memory.py: compensate() and update().  Up to 2 / ratio
// coordinates are looked at one by one, so that what is sent is an exact top-k.
TEST(DgcTest, IsTheRecursionOfTheOfficialCode) {
  const size_t n = 150;
  const double ratio = 0.013;
  const float beta = 0.9f;
  for (const bool nesterov : {false, true}) {
    Worker worker(nesterov ? "dgc:0.013,nesterov=yes" : "dgc:0.013", n);
    std::vector<float> mmt(n, 0.0f);
    std::vector<float> vec(n, 0.0f);
    for (uint32_t step = 1; step <= 100; ++step) {
      const std::vector<float> grad = RandomValues(n, step);
      for (size_t i = 0; i < n; ++i) {
        if (nesterov) {
          mmt[i] = (mmt[i] + grad[i]) * beta;
          vec[i] += mmt[i] + grad[i];
        } else {
          mmt[i] = mmt[i] * beta + grad[i];
          vec[i] += mmt[i];
        }
      }
      const std::vector<float> want = Largest(vec, IndexSetSize(ratio, n));
      for (size_t i = 0; i < n; ++i) {
        if (want[i] == 0) continue;
        mmt[i] = 0;
        vec[i] = 0;
      }
      ASSERT_EQ(worker.Step(step, grad), want) << step;
      ASSERT_EQ(worker.momentum(), mmt);
      ASSERT_EQ(worker.residual(), vec);
    }
  }
}

// With everything sent there is no momentum left: plain SGD, in update units.
TEST(DgcTest, RatioOneIsPlainSgd) {
  const size_t n = 1000;
  Worker worker("dgc:1", n);
  std::vector<double> sent(n);
  std::vector<double> want(n);
  for (uint32_t step = 1; step <= 30; ++step) {
    const std::vector<float> gradient = RandomValues(n, step);
    const std::vector<float> decoded = worker.Step(step, gradient, {}, 0.125f);
    for (size_t i = 0; i < n; ++i) {
      sent[i] += decoded[i];
      want[i] += 0.125 * gradient[i];
    }
    EXPECT_GE(CountOf(decoded), n * 8 / 10);
  }
  double off = 0;
  double norm = 0;
  for (size_t i = 0; i < n; ++i) {
    off += (sent[i] - want[i]) * (sent[i] - want[i]);
    norm += want[i] * want[i];
  }
  EXPECT_LT(std::sqrt(off / norm), 0.1);  // the smallest are a step or two late
}

TEST(DgcTest, MomentumIsMaskedWhereAValueIsSentInEveryForm) {
  const size_t n = 400;
  for (const char* spec : {"dgc:0.05", "dgc:0.45", "dgc:0.9", "dgc:0.9,values=fp16"}) {
    Worker worker(spec, n);
    const std::vector<float> gradient = RandomValues(n, 3);
    const std::vector<float> sent = worker.Step(1, gradient);
    for (size_t i = 0; i < n; ++i) {
      EXPECT_EQ(worker.momentum()[i], sent[i] != 0 ? 0.0f : gradient[i]) << spec;
    }
  }
}

// The local norm is at most clip / sqrt(members), so that the sum's is at most clip.
TEST(DgcTest, ClippingScalesTheGradientToItsShareOfTheNorm) {
  const auto codec = Make("dgc:0.1,clip=2");
  EXPECT_TRUE(codec->traits().needs_norm);
  EXPECT_FALSE(Make("dgc:0.1")->traits().needs_norm);
  struct Case {
    uint32_t members;
    double norm;
    float factor;
  };
  for (const Case& c : {Case{1, 2.0, 1.0f}, Case{1, 8.0, 0.25f}, Case{4, 8.0, 0.125f},
                        Case{4, 0.5, 1.0f}, Case{16, 0.0, 1.0f}, Case{16, 0x1p100, 0x1p-101f}}) {
    std::vector<float> gradient = {1, -2, 3, 1e-30f};
    std::vector<float> momentum(4, 0.0f);
    std::vector<float> want = gradient;
    for (float& value : want) value *= c.factor;
    codec->Prepare(KeyOf(4), {.members = c.members, .gradient_norm = c.norm},
                   absl::MakeSpan(gradient), absl::MakeSpan(momentum));
    EXPECT_EQ(gradient, want) << c.members << " " << c.norm;
  }
}

TEST(DgcTest, WhatIsFiniteStaysFinite) {
  const float greatest = std::numeric_limits<float>::max();
  for (const char* spec : {"dgc:0.1", "dgc:0.1,nesterov=yes"}) {
    const auto codec = Make(spec);
    std::vector<float> momentum(2, 0.0f);
    for (int step = 0; step < 50; ++step) {
      std::vector<float> gradient = {greatest, -greatest};
      codec->Prepare(KeyOf(2), {}, absl::MakeSpan(gradient), absl::MakeSpan(momentum));
      for (const float value : {gradient[0], gradient[1], momentum[0], momentum[1]}) {
        ASSERT_TRUE(std::isfinite(value));
      }
    }
  }
}

// 10,000 draws of the sample.  Whatever the threshold, the greatest are sent; their number is at
// most k, and hardly ever below 0.8 k.
TEST(DgcTest, SendsTheGreatestAndNearlyAsManyAsItMay) {
  const size_t n = 2000;  // the threshold is the second of 40 samples
  const double ratio = 0.05;
  const size_t k = 100;
  const auto codec = Make("dgc:0.05");
  const std::vector<float> x = RandomValues(n, 6);
  double norm = 0;
  for (const float value : x) norm += double{value} * double{value};
  std::vector<double> error_of_count;
  std::vector<std::vector<float>> largest;
  for (size_t count = 0; count <= k; ++count) {
    largest.push_back(Largest(x, count));
    double left = norm;
    for (const float value : largest.back()) left -= double{value} * double{value};
    error_of_count.push_back(left / norm);
  }
  double want = 0;
  const int draws = 10000;
  std::vector<int> counts(k + 1);
  for (uint64_t step = 1; step <= draws; ++step) {
    const std::vector<float> sent =
        Decoded(*codec, KeyOf(n, step), Encoded(*codec, KeyOf(n, step), x));
    const size_t count = CountOf(sent);
    ASSERT_LE(count, k);
    ASSERT_EQ(sent, largest[count]);
    want += error_of_count[count] / draws;
    ++counts[count];
  }
  const int enough = std::accumulate(counts.begin() + k * 8 / 10, counts.end(), 0);
  EXPECT_GT(enough, draws * 99 / 100);
  EXPECT_GT(std::count_if(counts.begin(), counts.end(), [](int c) { return c > 0; }), 1)
      << "the sample must change from step to step";
  const MeasuredError measured = MeasureError(*codec, KeyOf(n), x);
  EXPECT_NEAR(measured.mean, want, 1e-9);
  EXPECT_LE(measured.mean, 1 - 0.8 * ratio);
}

TEST(DgcTest, CountIsNearKForEveryRatioSizeAndShapeOfTheValues) {
  for (const double ratio : {0.001, 0.01, 0.1, 0.5, 0.9, 1.0}) {
    const auto codec = Make("dgc:" + std::to_string(ratio));
    for (const size_t n : {size_t{5}, size_t{999}, size_t{20011}, size_t{262144}}) {
      const size_t k = IndexSetSize(ratio, n);
      std::vector<float> heavy = RandomValues(n, 7);
      for (float& value : heavy) value = value * value * value;
      std::vector<float> clustered = RandomValues(n, 8);
      for (size_t i = 0; i < n / 7; ++i) clustered[i] *= 30;
      for (const auto& x : {RandomValues(n, 9), heavy, clustered, std::vector<float>(n, -3.0f)}) {
        const std::vector<float> sent = Decoded(*codec, KeyOf(n), Encoded(*codec, KeyOf(n), x));
        EXPECT_LE(CountOf(sent), k) << ratio << " " << n;
        EXPECT_GE(5 * CountOf(sent), 4 * k) << ratio << " " << n;
        EXPECT_EQ(sent, Largest(x, CountOf(sent)));
      }
    }
  }
}

TEST(DgcTest, ZerosAreNeverSent) {
  const auto codec = Make("dgc:0.01");
  for (const size_t n : {10, 100000}) {
    std::vector<float> x(n, 0.0f);
    EXPECT_EQ(Encoded(*codec, KeyOf(n), x), std::string(6, '\0'));
    x[3] = -1e-45f;
    x[9] = 2;
    const std::vector<float> sent = Decoded(*codec, KeyOf(n), Encoded(*codec, KeyOf(n), x));
    EXPECT_EQ(sent, Largest(x, n == 10 ? 1 : 2));
  }
}

// The official code's: 0.316, 0.1, 0.0316, 0.01, 0.00316 over five stages, and then 0.001.
TEST(DgcTest, RatioFallsInFiveStagesOverTheWarmUp) {
  const size_t n = 100000;
  const auto codec = Make("dgc:0.001,warmup=50");
  const std::vector<float> x = RandomValues(n, 10);
  const std::pair<uint64_t, size_t> stages[] = {{1, 31623}, {10, 31623},   {11, 10000}, {20, 10000},
                                                {21, 3162}, {31, 1000},    {41, 316},   {50, 316},
                                                {51, 100},  {1000000, 100}};
  for (const auto& [step, k] : stages) {
    const std::string payload = Encoded(*codec, KeyOf(n, step), x);
    const size_t count = CountOf(Decoded(*codec, KeyOf(n, step), payload));
    EXPECT_LE(count, k) << step;
    EXPECT_GE(5 * count, 4 * k) << step;
    // The limit is the server's too: k values are taken at this step, and one more is not.
    for (const size_t named : {k, k + 1}) {
      std::vector<float> ones(n, 0.0f);
      for (size_t i = 0; i < named; ++i) ones[3 * i] = 1;
      Accumulator sum;
      const absl::Status taken =
          codec->Accumulate(KeyOf(n, step), Encoded(*Make("threshold:1"), KeyOf(n), ones), &sum);
      EXPECT_EQ(taken.ok(), named == k) << step << " " << taken;
    }
  }
}

TEST(DgcTest, WorkersSampleOnTheirOwn) {
  const auto codec = Make("dgc:0.01");
  const std::vector<float> x = RandomValues(5000, 11);
  std::vector<size_t> counts;
  for (uint32_t rank = 0; rank < 20; ++rank) {
    BlockKey key = KeyOf(5000);
    key.rank = rank;
    const std::string payload = Encoded(*codec, key, x);
    EXPECT_EQ(payload, Encoded(*codec, key, x));
    counts.push_back(CountOf(Decoded(*codec, key, payload)));
  }
  EXPECT_NE(std::count(counts.begin(), counts.end(), counts[0]), 20);
}

TEST(DgcTest, BadParametersAreRefused) {
  for (const char* spec : {"dgc:0", "dgc:0.1,momentum=1", "dgc:0.1,nesterov=maybe",
                           "dgc:0.1,clip=-1", "dgc:0.1,warmup=2.5"}) {
    EXPECT_EQ(MakeCodec(spec).status().code(), absl::StatusCode::kInvalidArgument) << spec;
  }
}

}  // namespace
}  // namespace gradwire
