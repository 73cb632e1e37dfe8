// SPDX-License-Identifier: Apache-2.0
// The codec `qsgd`: codes worked out by hand, its variance and means over 10,000 draws, and what
// it refuses.
#include <cmath>
#include <limits>
#include <vector>

#include "common/random/counter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/codec/codec_cases.h"
#include "tests/common/codec/unbiased.h"

namespace gradwire {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr size_t kDraws = 10000;

std::string Bytes(const std::vector<float>& norms, const std::string& codes) {
  return std::string(reinterpret_cast<const char*>(norms.data()), 4 * norms.size()) + codes;
}

TEST(QsgdTest, WholeLevelsAreSentAsTheyAre) {
  // Norm 5, levels of 1: nothing is left to chance.
  const std::vector<float> x = {3, -4, 0, 0, 0, 0, 0, 0, 0, -7};
  const auto codec = Make("qsgd:levels=5,bucket=8");
  const std::string payload = Encoded(*codec, KeyOf(10), x);
  EXPECT_EQ(payload, Bytes({5, 7}, "\x18\x55\x55\x55\x05")) << "codes 8 1 5 5 5 5 5 5, 5 0";
  EXPECT_EQ(Decoded(*codec, KeyOf(10), payload), x);
}

TEST(QsgdTest, RoundsUpWhereTheWordOfTheWorkerAndCoordinateSaysSo) {
  BlockKey key = KeyOf(2000, 9);
  key.rank = 3;
  const std::vector<float> x = RandomValues(key.size, 6);
  std::vector<uint32_t> words(key.size);
  FillRandomWords({.seed = PrivateSeed(key.seed, 3),
                   .purpose = Purpose::kRounding,
                   .step = 9,
                   .block = key.block},
                  absl::MakeSpan(words));
  std::vector<float> want;
  float norm = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (i % 600 == 0) {
      norm = 0;
      for (size_t j = i; j < std::min(i + 600, x.size()); ++j)
        norm = std::max(norm, std::fabs(x[j]));
    }
    const double r = 3 * std::fabs(double{x[i]}) / norm;
    const double level = std::floor(r + words[i] * 0x1p-32);
    want.push_back(norm * std::copysign(static_cast<float>(level) / 3.0f, x[i]));
  }
  const auto codec = Make("qsgd:levels=3,bucket=600,norm=max");
  EXPECT_EQ(Decoded(*codec, key, Encoded(*codec, key, x)), want);
}

TEST(QsgdTest, WorkersAndStepsDrawDifferently) {
  const auto codec = Make("qsgd");
  const std::vector<float> x = RandomValues(512, 7);
  BlockKey key = KeyOf(512);
  const std::string first = Encoded(*codec, key, x);
  EXPECT_EQ(Encoded(*codec, key, x), first);
  key.rank = 0;
  EXPECT_NE(Encoded(*codec, key, x), first);
  EXPECT_NE(Encoded(*codec, KeyOf(512, 2), x), first);
}

struct Law {
  const char* spec;
  int levels;
  size_t bucket;
  bool max_norm;
};

constexpr Law kLaws[] = {{"qsgd:bucket=64", 7, 64, false},
                         {"qsgd:bucket=0", 7, 203, false},
                         {"qsgd:levels=1,bucket=64", 1, 64, false},
                         {"qsgd:levels=127,bucket=0", 127, 203, false},
                         {"qsgd:levels=4,bucket=8,norm=max", 4, 8, true},
                         {"qsgd:levels=1,bucket=0,norm=max", 1, 203, true}};

// How each coordinate is rounded.
std::vector<Rounding> RoundingOf(const Law& law, const std::vector<float>& x) {
  std::vector<Rounding> rounding;
  for (size_t begin = 0; begin < x.size(); begin += law.bucket) {
    const size_t end = std::min(begin + law.bucket, x.size());
    double norm = 0;
    for (size_t i = begin; i < end; ++i) {
      const double magnitude = std::fabs(double{x[i]});
      norm = law.max_norm ? std::max(norm, magnitude) : std::hypot(norm, magnitude);
    }
    for (size_t i = begin; i < end; ++i) {
      const double r = law.levels * std::fabs(double{x[i]}) / norm;
      rounding.push_back({.step = norm / law.levels, .chance = r - std::floor(r)});
    }
  }
  return rounding;
}

TEST(QsgdTest, VarianceIsTheClosedFormAndEveryCoordinateIsUnbiased) {
  const std::vector<float> x = RandomValues(203, 8);
  for (const Law& law : kLaws) {
    SCOPED_TRACE(law.spec);
    const std::vector<Rounding> rounding = RoundingOf(law, x);
    double variance = 0;
    for (const Rounding& one : rounding) variance += one.variance();
    const MeasuredError measured = MeasureError(*Make(law.spec), KeyOf(x.size()), x, kDraws);
    ExpectError(measured, variance / SquaredNorm(x));
    ExpectMeans(measured, std::vector<double>(x.begin(), x.end()), rounding, kDraws);
    if (law.max_norm) continue;
    const double m = static_cast<double>(law.bucket);
    const double omega = std::min(m / (law.levels * law.levels), std::sqrt(m) / law.levels);
    EXPECT_LE(variance / SquaredNorm(x), omega);
  }
}

TEST(QsgdTest, NormsBeyondTheGreatestFloatAreClampedAndStillUnbiased) {
  const float greatest = std::numeric_limits<float>::max();
  const std::vector<float> x(400, greatest);
  const auto codec = Make("qsgd:bucket=0");
  EXPECT_EQ(Decoded(*codec, KeyOf(400), Encoded(*codec, KeyOf(400), x)), x);
  std::vector<float> half(400, 1e38f);
  half[0] = -greatest;
  const MeasuredError measured = MeasureError(*codec, KeyOf(400), half, 1000);
  const double r = 7 * 1e38 / greatest;
  std::vector<Rounding> rounding(400, {.step = greatest / 7.0, .chance = r - std::floor(r)});
  rounding[0].chance = 0;
  ExpectMeans(measured, std::vector<double>(half.begin(), half.end()), rounding, 1000);
}

TEST(QsgdTest, ABucketOfZerosIsZero) {
  std::vector<float> x(20, 0.0f);
  x[17] = -0.0f;
  x[19] = 2;
  const auto codec = Make("qsgd:bucket=8");
  EXPECT_EQ(Decoded(*codec, KeyOf(20), Encoded(*codec, KeyOf(20), x)), x);
}

TEST(QsgdTest, BadNormsCodesAndBitsBeyondTheBlockAreRefused) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  struct Case {
    const char* name;
    const char* spec;
    std::string payload;  // of three coordinates
    const char* message;
  };
  const Case cases[] = {
      {"nan", "qsgd", Bytes({kNan}, {0, 0}), "qsgd: scale 0 is nan"},
      {"negative", "qsgd", Bytes({-1}, {0, 0}), "qsgd: scale 0 is -1"},
      {"code 15", "qsgd", Bytes({1}, {0, 0xF}),
       "qsgd: coordinate 2 has the code 15; with 7 levels the greatest is 14"},
      {"code 3", "qsgd:levels=1", Bytes({1}, {0xC}), "qsgd: coordinate 1 has the code 3"},
      {"bits behind", "qsgd", Bytes({1}, {0, 0x10}), "the last byte is 16; its upper 4 bits"},
      {"bits behind", "qsgd:levels=1", Bytes({1}, {0x40}), "its upper 2 bits"},
      {"too long", "qsgd", Bytes({1}, {0, 0, 0}), "7 bytes; 1 scales and 2 bytes"},
  };
  for (const Case& c : cases) {
    Accumulator sum;
    const absl::Status status = Make(c.spec)->Accumulate(KeyOf(3), c.payload, &sum);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.name;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
    EXPECT_EQ(sum.payloads, 0u);
  }
}

TEST(QsgdTest, CodesHaveTheBitsThatTheLevelsNeed) {
  struct Case {
    const char* spec;
    size_t bits;
  };
  for (const Case& c : {Case{"qsgd:levels=1,bucket=0", 2}, Case{"qsgd:levels=3,bucket=0", 3},
                        Case{"qsgd:levels=4,bucket=0", 4}, Case{"qsgd:bucket=0", 4},
                        Case{"qsgd:levels=8,bucket=0", 5}, Case{"qsgd:levels=127,bucket=0", 8}}) {
    EXPECT_EQ(Encoded(*Make(c.spec), KeyOf(800), RandomValues(800, 1)).size(), 4 + 100 * c.bits)
        << c.spec;
  }
  EXPECT_THAT(std::string(MakeCodec("qsgd:levels=2.5").status().message()),
              HasSubstr("levels: 2.5 is not a whole number"));
}

}  // namespace
}  // namespace gradwire
