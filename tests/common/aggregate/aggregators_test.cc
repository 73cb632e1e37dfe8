// SPDX-License-Identifier: Apache-2.0
// The aggregators against their formulas, computed in another way, in all small cases: every order
// of members, every place of hostile ones.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "absl/strings/str_cat.h"
#include "common/aggregate/middle.h"
#include "common/aggregate/registry.h"
#include "gtest/gtest.h"
#include "tests/common/kernels/targets.h"

namespace gradwire {
namespace {

constexpr float kMost = std::numeric_limits<float>::max();
using Rows = std::vector<std::vector<float>>;  // by member

std::unique_ptr<Aggregator> Make(const std::string& spec) {
  absl::StatusOr<std::unique_ptr<Aggregator>> made = MakeAggregator(spec);
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}

double NormOf(const std::vector<float>& row) {
  double sum = 0;
  for (const float value : row) sum += double{value} * double{value};
  return std::sqrt(sum);
}

std::vector<float> Combine(const std::string& spec, Rows rows) {
  std::vector<double> norms;
  std::vector<float*> pointers;
  for (std::vector<float>& row : rows) {
    norms.push_back(NormOf(row));
    pointers.push_back(row.data());
  }
  std::vector<float> out(rows.front().size());
  Make(spec)->Combine({.norms = norms, .rows = pointers, .size = out.size()}, absl::MakeSpan(out));
  return out;
}

// One coordinate a member: what is left in the middle, by a sorted list.
float MiddleOf(std::vector<float> values, size_t left_out) {
  std::sort(values.begin(), values.end());
  const auto begin = values.begin() + static_cast<ptrdiff_t>(left_out);
  const auto end = values.end() - static_cast<ptrdiff_t>(left_out);
  return static_cast<float>(std::accumulate(begin, end, 0.0L) / (end - begin));
}

// Column i is the i-th order of the values.
Rows AllOrders(std::vector<float> values) {
  Rows rows(values.size());
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  do {
    for (size_t m = 0; m < values.size(); ++m) rows[m].push_back(values[order[m]]);
  } while (std::next_permutation(order.begin(), order.end()));
  return rows;
}

struct Spec {
  std::string text;
  std::vector<size_t> left_out;  // at either end, of 1 to 9 members
};

std::vector<Spec> MiddleSpecs() {
  return {{"coordinate_median", {0, 0, 1, 1, 2, 2, 3, 3, 4}},
          {"trimmed_mean:trim=0", {0, 0, 0, 0, 0, 0, 0, 0, 0}},
          {"trimmed_mean", {0, 0, 0, 1, 1, 1, 1, 2, 2}},  // a quarter
          {"trimmed_mean:0.2", {0, 0, 0, 0, 1, 1, 1, 1, 1}},
          {"trimmed_mean:trim=0.34", {0, 0, 1, 1, 1, 2, 2, 2, 3}},
          {"trimmed_mean:trim=0.49999", {0, 0, 1, 1, 2, 2, 3, 3, 4}}};
}

TEST(AggregatorsTest, EveryOrderOfMembersGivesTheBitsOfTheFormula) {
  // Sums of these are exact in double; ties, both zeros, and sizes far apart.
  const std::vector<float> values = {3.5f, -2, 0.25f, -0.0f, 3.5f, 1024, -7, 0.0f, 0.125f};
  for (const Spec& spec : MiddleSpecs()) {
    for (size_t n = 1; n <= values.size(); ++n) {
      SCOPED_TRACE(absl::StrCat(spec.text, " of ", n));
      const std::vector<float> some(values.begin(), values.begin() + static_cast<ptrdiff_t>(n));
      const std::vector<float> out = Combine(spec.text, AllOrders(some));
      const float want = MiddleOf(some, spec.left_out[n - 1]);
      for (const float value : out) {
        ASSERT_EQ(value, want);
        ASSERT_EQ(std::signbit(value), std::signbit(out.front()));
      }
      EXPECT_EQ(Make(spec.text)->withstands(n), spec.left_out[n - 1]);
    }
  }
}

TEST(AggregatorsTest, TheMiddleOfManyMembersAndCoordinatesUnderEveryTarget) {
  for (const size_t n : {10, 33, 100}) {
    Rows rows;
    for (size_t m = 0; m < n; ++m) rows.push_back(HardValues(2500, static_cast<uint32_t>(m)));
    const size_t left_out = Make("trimmed_mean:trim=0.29")->withstands(n);
    EXPECT_EQ(left_out, n * 29 / 100);
    std::vector<uint32_t> first;
    ForEachTarget([&] {
      const std::vector<float> out = Combine("trimmed_mean:trim=0.29", rows);
      for (size_t i = 0; i < out.size(); ++i) {
        std::vector<float> column;
        for (const std::vector<float>& row : rows) column.push_back(row[i]);
        const float want = MiddleOf(column, left_out);
        // The formula in long double: a rounding apart at most, or what cancels.
        const float most =
            std::abs(*std::max_element(column.begin(), column.end(),
                                       [](float a, float b) { return std::abs(a) < std::abs(b); }));
        ASSERT_NEAR(out[i], want, std::abs(want) * 2e-7 + double{most} * 1e-14) << i;
      }
      if (first.empty()) first = BitsOf(out);
      ASSERT_EQ(BitsOf(out), first);
    });
  }
}

// Hostile ones anywhere, sending anything: the result stays among the honest values.
TEST(AggregatorsTest, AsManyAsItWithstandsCannotLeadAwayFromTheHonestValues) {
  const float anything[] = {kMost, -kMost, 1e38f, 0, -3};
  for (const Spec& spec : MiddleSpecs()) {
    for (size_t n = 3; n <= 9; ++n) {
      const size_t hostile = spec.left_out[n - 1];
      for (uint32_t who = 0; who < 1u << n; ++who) {
        if (static_cast<size_t>(__builtin_popcount(who)) != hostile) continue;
        for (const float sent : anything) {
          Rows rows(n);
          float honest = 1;
          for (size_t m = 0; m < n; ++m) rows[m] = {(who >> m & 1) != 0 ? sent : honest++};
          const float out = Combine(spec.text, rows)[0];
          ASSERT_GE(out, 1) << spec.text;
          ASSERT_LE(out, honest - 1) << spec.text;
        }
      }
    }
  }
}

TEST(AggregatorsTest, NothingOverflowsWhoeverSendsTheGreatestFloats) {
  for (const char* spec : {"trimmed_mean:trim=0", "trimmed_mean", "coordinate_median", "norm_clip",
                           "norm_clip:factor=1000000"}) {
    SCOPED_TRACE(spec);
    EXPECT_EQ(Combine(spec, Rows(8, {kMost, -kMost, 0}))[0], kMost);
    EXPECT_EQ(Combine(spec, Rows(8, {kMost, -kMost, 0}))[1], -kMost);
    for (const float value : Combine(spec, {{kMost}, {kMost}, {1}, {kMost}, {-kMost}})) {
      EXPECT_TRUE(std::isfinite(value));
    }
  }
}

TEST(NormClipTest, ScalesWhatIsLongerThanTheMedianToIt) {
  // Norms 5, 10, 50; the median is 10, so the third counts a fifth.
  const Rows rows = {{3, 4}, {6, -8}, {-30, 40}};
  EXPECT_EQ(Combine("norm_clip", rows), (std::vector<float>{1, 4.0f / 3}));
  // At most 5, 5, 5: halved, a tenth.
  EXPECT_EQ(Combine("norm_clip:factor=0.5", rows), (std::vector<float>{1, 4.0f / 3}));
  EXPECT_EQ(Combine("norm_clip:factor=5", rows), (std::vector<float>{-7, 12}));
  // Of two, the mean of both norms: 7.5, of which 10 is three quarters.
  EXPECT_EQ(Combine("norm_clip", {{3, 4}, {6, 8}}), (std::vector<float>{3.75f, 5}));
}

TEST(NormClipTest, TheNormsAreThoseItIsGivenNotThoseOfTheBlock) {
  std::vector<float> a = {1};
  std::vector<float> b = {8};
  std::vector<float> c = {2};
  float* const rows[] = {a.data(), b.data(), c.data()};
  const double norms[] = {4, 16, 2};
  float out = 0;
  Make("norm_clip")->Combine({.norms = norms, .rows = rows, .size = 1}, absl::MakeSpan(&out, 1));
  EXPECT_EQ(out, static_cast<float>((1.0 + 8.0 / 4 + 2.0) / 3));
}

TEST(NormClipTest, ZerosStayZerosAndAMajorityOfThemIsDecisive) {
  EXPECT_EQ(Combine("norm_clip", {{0}, {0}, {0}})[0], 0);
  EXPECT_EQ(Combine("norm_clip", {{0}, {0}, {9}})[0], 0);
}

TEST(NormClipTest, WithstandsFewerThanOutweighTheOthers) {
  const struct {
    const char* spec;
    size_t members;
    size_t want;
  } cases[] = {{"norm_clip", 1, 0},           {"norm_clip", 2, 0},
               {"norm_clip", 3, 1},           {"norm_clip", 5, 2},
               {"norm_clip", 6, 2},           {"norm_clip:factor=2", 9, 2},
               {"norm_clip:factor=2", 10, 3}, {"norm_clip:factor=0.1", 9, 4},
               {"norm_clip:factor=100", 9, 0}};
  for (const auto& c : cases) {
    EXPECT_EQ(Make(c.spec)->withstands(c.members), c.want) << c.spec << " of " << c.members;
  }
}

TEST(MedianTest, IsTheMiddleOneOrTheMeanOfTwo) {
  EXPECT_EQ(Median({}), 0);
  EXPECT_EQ(Median({4}), 4);
  EXPECT_EQ(Median({4, 1}), 2.5);
  EXPECT_EQ(Median({9, 1, 4}), 4);
  EXPECT_EQ(Median({9, 1, 4, 2}), 3);
}

TEST(RegistryTest, TheMeanIsTheCodecsOwn) { EXPECT_EQ(Make("mean"), nullptr); }

TEST(RegistryTest, EveryAggregatorCanBeMadeWithoutParametersAndSaysWhatItIs) {
  for (const AggregatorEntry& entry : AggregatorRegistry()) {
    EXPECT_TRUE(MakeAggregator(entry.name).ok()) << entry.name;
    EXPECT_STRNE(entry.summary, "");
    EXPECT_STRNE(entry.withstands, "");
    EXPECT_STRNE(entry.codecs, "");
  }
}

TEST(RegistryTest, RefusesByName) {
  const struct {
    const char* spec;
    const char* what;
  } cases[] = {
      {"krum", "known: mean, trimmed_mean, coordinate_median, norm_clip"},
      {"trimmed_mean:0.5", "trim: 0.5 leaves nobody; choose less, or coordinate_median"},
      {"trimmed_mean:trim=0.6", "trim: 0.6 is not in [0, 0.5]"},
      {"trimmed_mean:trim=-1", "trim: -1 is not in [0, 0.5]"},
      {"trimmed_mean:limit=1", "known: trim"},
      {"coordinate_median:1", "it takes none"},
      {"mean:1", "it takes none"},
      {"norm_clip:0", "factor: 0 is not in (0, 1e+06]"},
      {"norm_clip:factor=nan", "factor: \"nan\" is not a number"},
  };
  for (const auto& c : cases) {
    const absl::Status status = MakeAggregator(c.spec).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.spec;
    EXPECT_NE(status.message().find(c.what), std::string::npos) << status;
  }
}

}  // namespace
}  // namespace gradwire
