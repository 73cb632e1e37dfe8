// SPDX-License-Identifier: Apache-2.0
// The codec `count_sketch` against sums and medians by hand, the variance of its estimates, and
// what the server's table must conserve.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/codec/index_coding.h"
#include "common/codec/sketch.h"
#include "common/random/counter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/codec/codec_cases.h"
#include "tests/common/codec/unbiased.h"

namespace gradwire {
namespace {

using testing::HasSubstr;

struct Place {
  size_t bucket;
  double sign;
};

// As sketch.h says: a word of its own for every row and coordinate.
Place PlaceOf(const BlockKey& key, size_t row, size_t i, size_t columns) {
  const RandomKey random = {
      .seed = key.seed, .purpose = Purpose::kSketch, .step = row, .block = key.block};
  const uint32_t word = RandomWords(random, static_cast<uint32_t>(i / 4))[i % 4];
  return {.bucket = static_cast<size_t>(uint64_t{word / 2} * columns >> 31),
          .sign = word % 2 == 1 ? -1.0 : 1.0};
}

std::vector<double> TableOf(const BlockKey& key, const std::vector<float>& x, size_t rows,
                            size_t columns) {
  std::vector<double> table(rows * columns);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t i = 0; i < x.size(); ++i) {
      const Place place = PlaceOf(key, row, i, columns);
      table[row * columns + place.bucket] += place.sign * double{x[i]};
    }
  }
  return table;
}

std::vector<double> EstimatesOf(const BlockKey& key, const std::vector<double>& table, size_t rows,
                                size_t columns) {
  std::vector<double> estimates;
  for (size_t i = 0; i < key.size; ++i) {
    std::vector<double> by_row;
    for (size_t row = 0; row < rows; ++row) {
      const Place place = PlaceOf(key, row, i, columns);
      by_row.push_back(place.sign * table[row * columns + place.bucket]);
    }
    std::sort(by_row.begin(), by_row.end());
    estimates.push_back(by_row[rows / 2]);
  }
  return estimates;
}

std::vector<float> Floats(const std::string& bytes) {
  std::vector<float> values(bytes.size() / 4);
  std::copy_n(bytes.data(), 4 * values.size(), reinterpret_cast<char*>(values.data()));
  return values;
}

std::vector<float> Rounded(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

TEST(CountSketchTest, TheTableAndItsEstimatesAreAsDocumented) {
  struct Case {
    const char* spec;
    size_t n;
    size_t rows;
    size_t columns;
  };
  const Case cases[] = {
      {"count_sketch:rows=1,ratio=0.1", 1000, 1, 100},
      {"count_sketch:rows=5,ratio=0.2", 999, 5, 40},
      {"count_sketch:rows=3,ratio=1", 4, 3, 1},
      {"count_sketch:rows=15,ratio=0.01", 3, 15, 1},
      {"count_sketch:rows=7,ratio=0.5", 2048, 7, 146},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.spec);
    const auto codec = Make(c.spec);
    const BlockKey key = KeyOf(c.n);
    const std::vector<float> x = RandomValues(c.n, 1);
    const std::string payload = Encoded(*codec, key, x);
    const std::vector<double> table = TableOf(key, x, c.rows, c.columns);
    EXPECT_EQ(Floats(payload), Rounded(table));
    EXPECT_EQ(Decoded(*codec, key, payload), Rounded(EstimatesOf(key, table, c.rows, c.columns)));
  }
}

TEST(CountSketchTest, HashesAreTheSameInEveryStepAndAtEveryWorkerButNotInEveryBlock) {
  const auto codec = Make("count_sketch");
  const std::vector<float> x = RandomValues(500, 2);
  BlockKey key = KeyOf(500, 1);
  const std::string payload = Encoded(*codec, key, x);
  key.step = 2;
  key.rank = 7;
  EXPECT_EQ(Encoded(*codec, key, x), payload);
  key.block = 3;
  EXPECT_NE(Encoded(*codec, key, x), payload);
}

// A row is unbiased and has the variance (|x|^2 - x_i^2) / columns over the seeds.
TEST(CountSketchTest, ARowsEstimateIsUnbiasedWithTheDocumentedVariance) {
  const size_t n = 200;
  const size_t columns = 20;
  const size_t draws = 10000;
  const auto codec = Make("count_sketch:rows=1,ratio=0.1");
  std::vector<float> x = RandomValues(n, 3);
  x[10] = 12;
  std::vector<double> sums(n);
  double sum = 0;
  double squares = 0;
  for (size_t draw = 0; draw < draws; ++draw) {
    BlockKey key = KeyOf(n);
    key.seed = draw;
    const std::vector<float> decoded = Decoded(*codec, key, Encoded(*codec, key, x));
    double error = 0;
    for (size_t i = 0; i < n; ++i) {
      const double off = double{decoded[i]} - double{x[i]};
      sums[i] += off;
      error += off * off;
    }
    sum += error;
    squares += error * error;
  }
  const auto count = static_cast<double>(draws);
  const double norm = SquaredNorm(x);
  double want = 0;  // of |estimate - x|^2: the sum over coordinates
  for (size_t i = 0; i < n; ++i) {
    const double variance = (norm - double{x[i]} * double{x[i]}) / columns;
    want += variance;
    // 4.5 standard errors: of 200 coordinates one is beyond with probability 0.14 %.
    EXPECT_NEAR(sums[i] / count, 0, 4.5 * std::sqrt(variance / count)) << "coordinate " << i;
  }
  const double mean = sum / count;
  EXPECT_NEAR(mean, want, 3 * std::sqrt((squares / count - mean * mean) / count));
}

TEST(CountSketchTest, SketchesAreAddedAndTheirMeanIsTheSketchOfTheMean) {
  const size_t n = 3000;
  const auto codec = Make("count_sketch:rows=3,ratio=0.1");
  const BlockKey key = KeyOf(n);
  Accumulator sum;
  std::vector<float> average(n, 0.0f);
  for (uint32_t worker = 0; worker < 4; ++worker) {
    std::vector<float> x(n);  // whole numbers: sums of them are exact
    for (size_t i = 0; i < n; ++i) x[i] = static_cast<float>((i * 37 + worker * 4) % 101) - 50;
    for (size_t i = 0; i < n; ++i) average[i] += x[i] / 4;
    ASSERT_TRUE(codec->Accumulate(key, Encoded(*codec, key, x), &sum).ok());
  }
  BlockValues mean;
  codec->Mean(key, sum, &mean);
  EXPECT_EQ(Dense(mean, n), Decoded(*codec, key, Encoded(*codec, key, average)));
}

// One round of a server with one worker.
BlockValues Aggregated(const Codec& codec, const BlockKey& key, const std::vector<float>& x,
                       std::vector<float>* state) {
  Accumulator sum;
  EXPECT_TRUE(codec.Accumulate(key, Encoded(codec, key, x), &sum).ok());
  BlockValues mean;
  codec.Aggregate(key, sum, absl::MakeSpan(*state), &mean);
  return mean;
}

TEST(CountSketchTest, HeavyHittersAreFoundWithTheirValues) {
  const size_t n = 10000;
  const auto codec = Make("count_sketch:rows=5,ratio=0.2,k=0.0005");
  const BlockKey key = KeyOf(n);
  std::vector<float> x = RandomValues(n, 4, 0.01f);  // |x| = 1, columns 400: an error of 0.05
  const std::vector<uint32_t> heavy = {17, 500, 5001, 9998, 9999};
  for (const uint32_t i : heavy) x[i] = i % 2 == 0 ? 2.0f : -3.0f;
  std::vector<float> state(codec->server_state_size(key), 0.0f);
  const BlockValues update = Aggregated(*codec, key, x, &state);
  EXPECT_EQ(update.indices, heavy);
  for (size_t j = 0; j < heavy.size(); ++j) EXPECT_NEAR(update.values[j], x[heavy[j]], 0.3);
}

// left=subtract: what the server still has, and the sketch of all updates, are all sketches.
TEST(CountSketchTest, WithSubtractTheTableAndTheUpdatesAddUpToEverythingSent) {
  const size_t n = 2000;
  const auto codec = Make("count_sketch:rows=3,ratio=0.6,k=0.002,left=subtract");
  const BlockKey key = KeyOf(n);
  std::vector<float> state(codec->server_state_size(key), 0.0f);
  ASSERT_EQ(state.size(), 1200u);
  std::vector<double> gradients(state.size());
  std::vector<double> updates(state.size());
  double magnitude = 0;
  for (uint32_t step = 0; step < 50; ++step) {
    const std::vector<float> x = RandomValues(n, 20 + step);
    const std::vector<float> update = Dense(Aggregated(*codec, key, x, &state), n);
    const std::vector<double> of_gradient = TableOf(key, x, 3, 400);
    const std::vector<double> of_update = TableOf(key, update, 3, 400);
    for (size_t i = 0; i < state.size(); ++i) {
      gradients[i] += of_gradient[i];
      updates[i] += of_update[i];
      magnitude = std::max(magnitude, std::fabs(double{state[i]}));
    }
  }
  for (size_t i = 0; i < state.size(); ++i) {
    EXPECT_NEAR(state[i] + updates[i], gradients[i], 50 * 4 * magnitude * 0x1p-24);
  }
}

// left=zero: the buckets of what went down are empty, and no other has changed.
TEST(CountSketchTest, WithZeroTheBucketsOfTheUpdateAreEmptiedAndNoOther) {
  const size_t n = 2000;
  const size_t columns = 100;
  const auto codec = Make("count_sketch:rows=3,ratio=0.15,k=0.01,left=zero");
  const BlockKey key = KeyOf(n);
  const std::vector<float> x = RandomValues(n, 5);
  std::vector<float> state(codec->server_state_size(key), 0.0f);
  const BlockValues update = Aggregated(*codec, key, x, &state);
  ASSERT_EQ(update.indices.size(), 20u);
  std::vector<float> want = Floats(Encoded(*codec, key, x));
  for (const uint32_t i : update.indices) {
    for (size_t row = 0; row < 3; ++row) {
      want[row * columns + PlaceOf(key, row, i, columns).bucket] = 0;
    }
  }
  EXPECT_EQ(state, want);
}

// One bucket a coordinate would make it momentum SGD on the greatest; here with one coordinate.
TEST(CountSketchTest, MomentumIsThatOfTheTablesUntilTheCoordinateIsTaken) {
  const auto codec = Make("count_sketch:rows=1,ratio=1,k=0.1,momentum=0.5,left=subtract");
  const BlockKey key = KeyOf(10);
  std::vector<float> x(10, 0.0f);
  const Place first = PlaceOf(key, 0, 3, 10);
  size_t other = 0;  // a coordinate with a bucket of its own
  while (other == 3 || PlaceOf(key, 0, other, 10).bucket == first.bucket) ++other;
  std::vector<float> state(codec->server_state_size(key), 0.0f);
  ASSERT_EQ(state.size(), 20u);
  const size_t bucket = PlaceOf(key, 0, other, 10).bucket;
  const double sign = PlaceOf(key, 0, other, 10).sign;
  const double want[] = {1, 2.5, 4.25};  // E = sum of U; U = 1, 1.5, 1.75
  for (const double error : want) {
    x[3] = 100;
    x[other] = 1;
    (void)Aggregated(*codec, key, x, &state);
    EXPECT_EQ(sign * state[bucket], error);
    EXPECT_EQ(state[first.bucket], 0) << "it was taken, and its momentum is gone";
    EXPECT_EQ(state[10 + first.bucket], 0);
  }
}

TEST(CountSketchTest, AnUpdateOfMostCoordinatesIsDense) {
  const auto codec = Make("count_sketch:rows=1,ratio=1,k=0.6");
  const BlockKey key = KeyOf(50);
  std::vector<float> state(codec->server_state_size(key), 0.0f);
  const BlockValues update = Aggregated(*codec, key, RandomValues(50, 6), &state);
  EXPECT_TRUE(update.dense);
  std::string bytes;
  codec->EncodeUpdate(key, update, &bytes);
  EXPECT_EQ(bytes[0], static_cast<char>(IndexForm::kDense));
  BlockValues again;
  ASSERT_TRUE(codec->DecodeUpdate(key, bytes, &again).ok());
  EXPECT_EQ(again.values, update.values);
}

TEST(CountSketchTest, TheTableStaysFiniteWhateverComes) {
  const float greatest = std::numeric_limits<float>::max();
  for (const char* left : {"zero", "subtract"}) {
    const auto codec =
        Make(std::string("count_sketch:rows=3,ratio=0.3,k=0.01,momentum=0.9,left=") + left);
    const BlockKey key = KeyOf(1000);
    std::vector<float> state(codec->server_state_size(key), 0.0f);
    for (int step = 0; step < 20; ++step) {
      const BlockValues update = Aggregated(
          *codec, key, std::vector<float>(1000, step % 3 == 2 ? -greatest : greatest), &state);
      for (const float value : update.values) EXPECT_TRUE(std::isfinite(value));
      for (const float value : state) ASSERT_TRUE(std::isfinite(value));
    }
  }
}

TEST(CountSketchTest, BadOptionsAndTablesAreRefusedNamingWhatIsAllowed) {
  const std::pair<const char*, const char*> specs[] = {
      {"count_sketch:rows=2", "odd"},    {"count_sketch:rows=1.5", "odd"},
      {"count_sketch:rows=17", "15"},    {"count_sketch:ratio=0", "(0, 1]"},
      {"count_sketch:k=0", "(0, 1]"},    {"count_sketch:momentum=1", "momentum"},
      {"count_sketch:left=all", "zero"},
  };
  for (const auto& [spec, message] : specs) {
    EXPECT_THAT(std::string(MakeCodec(spec).status().message()), HasSubstr(message)) << spec;
  }
  const auto codec = Make("count_sketch:rows=1,ratio=0.1");
  std::string payload = Encoded(*codec, KeyOf(100), RandomValues(100, 7));
  payload.replace(4 * 3, 4, std::string("\x00\x00\x80\x7F", 4));
  Accumulator sum;
  EXPECT_THAT(std::string(codec->Accumulate(KeyOf(100), payload, &sum).message()),
              testing::AllOf(HasSubstr("table"), HasSubstr("coordinate 3"), HasSubstr("inf")));
  const absl::Status status = codec->Accumulate(KeyOf(100), payload.substr(4), &sum);
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(HasSubstr("36 bytes"), HasSubstr("has 40")));
}

}  // namespace
}  // namespace gradwire
