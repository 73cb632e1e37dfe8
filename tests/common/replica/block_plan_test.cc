// SPDX-License-Identifier: Apache-2.0
// Which codec a tensor has, how blocks are cut for it, and which choices do not go together.
#include "common/replica/block_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/common/replica/test_records.h"

namespace gradwire {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

absl::StatusOr<std::shared_ptr<const Job>> Make(const std::string& text) {
  auto config = ParseJobText(text);
  if (!config.ok()) return config.status();
  return MakeJob(*std::move(config));
}

// Tensors "a", "b", ... of these shapes.
std::string Model(const std::vector<std::vector<size_t>>& shapes) {
  std::string text = "steps: 9 model { tensors { ";
  char name = 'a';
  for (const auto& shape : shapes) {
    absl::StrAppend(&text, "tensor { name: '", std::string(1, name++), "' ");
    for (const size_t side : shape) absl::StrAppend(&text, "shape: ", side, " ");
    absl::StrAppend(&text, "} ");
  }
  return text + "} } ";
}

std::string Rule(absl::string_view pattern, absl::string_view codec) {
  return absl::StrCat("tensors { name: '", pattern, "' codec: '", codec, "' } ");
}

struct Cut {
  size_t offset;
  size_t size;
  size_t columns;
  v1::CodecId codec;

  friend bool operator==(const Cut& x, const Cut& y) {
    return x.offset == y.offset && x.size == y.size && x.columns == y.columns && x.codec == y.codec;
  }
  friend void PrintTo(const Cut& cut, std::ostream* out) {
    *out << cut.offset << "+" << cut.size << "/" << cut.columns << " codec " << cut.codec;
  }
};

std::vector<Cut> Cuts(const Job& job) {
  std::vector<Cut> cuts;
  for (size_t b = 0; b < job.layout.blocks(); ++b) {
    const Block& block = job.layout.block(b);
    cuts.push_back({block.offset, block.size, block.columns, job.plans[b].codec->id()});
  }
  return cuts;
}

TEST(BlockPlanTest, ASegmentIsALongestRunOfTensorsWithOneCodec) {
  constexpr auto kDense = v1::CODEC_IDENTITY;
  constexpr auto kTop = v1::CODEC_TOP_K;
  struct Case {
    const char* name;
    std::string job;
    std::vector<Cut> want;
  };
  const std::string four = Model({{10}, {20}, {30}, {40}});
  const Case cases[] = {
      {"one codec: one segment", four, {{0, 100, 0, kDense}}},
      {"the same codec by another text is the same",
       four + "codec: 'top_k:0.5' " + Rule("b", "top_k:ratio=5e-1,values=fp32"),
       {{0, 100, 0, kTop}}},
      {"runs",
       four + Rule("b", "top_k:0.5") + Rule("c", "top_k:0.5"),
       {{0, 10, 0, kDense}, {10, 50, 0, kTop}, {60, 40, 0, kDense}}},
      {"one codec with two parameters is two",
       four + "codec: 'top_k:0.5' " + Rule("b", "top_k:0.25"),
       {{0, 10, 0, kTop}, {10, 20, 0, kTop}, {30, 70, 0, kTop}}},
      {"in turns",
       four + Rule("a", "top_k:0.5") + Rule("c", "top_k:0.5"),
       {{0, 10, 0, kTop}, {10, 20, 0, kDense}, {30, 30, 0, kTop}, {60, 40, 0, kDense}}},
      {"each segment has its own short last block",
       Model({{kBlockSize}, {5}, {kBlockSize + 7}}) + Rule("c", "top_k:0.5"),
       {{0, kBlockSize, 0, kDense},
        {kBlockSize, 5, 0, kDense},
        {kBlockSize + 5, kBlockSize, 0, kTop},
        {2 * kBlockSize + 5, 7, 0, kTop}}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const auto job = Make(c.job);
    ASSERT_TRUE(job.ok()) << job.status();
    EXPECT_EQ(Cuts(**job), c.want);
  }
}

TEST(BlockPlanTest, TheFirstRuleThatFitsCounts) {
  struct Case {
    const char* pattern;
    const char* fits;  // letters of tensors that it must take
  };
  const std::vector<std::string> names = {"layer1.weight", "layer1.bias", "layer2.weight",
                                          "layer2.bias", "bias"};
  std::string model = "steps: 9 codec: 'top_k:0.5' model { tensors { ";
  for (const std::string& name : names) {
    absl::StrAppend(&model, "tensor { name: '", name, "' shape: 2 } ");
  }
  model += "} } ";
  const Case cases[] = {
      {"*.bias", "01010"},
      {"*bias", "01011"},
      {"layer1.*", "11000"},
      {"layer2.weight", "00100"},
      {"*", "11111"},
      {"**", "11111"},
      {"layer*.weight", "10100"},
      {"*a*r*.*i*", "11110"},
      {"*1*", "11000"},
      {"bias*", "00001"},
      {"*layer1.weight*", "10000"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.pattern);
    const auto job = Make(model + Rule(c.pattern, "identity") + Rule("*", "sign"));
    ASSERT_TRUE(job.ok()) << job.status();
    for (size_t t = 0; t < names.size(); ++t) {
      const auto& chosen = (*job)->codecs.codecs[(*job)->codecs.of_tensor[t]];
      EXPECT_EQ(chosen->id(), c.fits[t] == '1' ? v1::CODEC_IDENTITY : v1::CODEC_SIGN) << names[t];
    }
  }
}

TEST(BlockPlanTest, RefusesRulesByField) {
  const std::string model = Model({{10}, {20}});
  std::string many = model;
  for (int i = 0; i < 1001; ++i) many += Rule("a", "identity");
  const struct {
    const char* name;
    std::string job;
    const char* want;
  } cases[] = {
      {"fits nothing", model + Rule("a", "sign") + Rule("*.bias", "sign"),
       "tensors[1].name: no tensor fits \"*.bias\"; the first is \"a\""},
      {"empty", model + Rule("", "sign"), "tensors[0].name: no tensor fits \"\""},
      {"longer than any name", model + Rule(std::string(201, '*'), "sign"),
       "tensors[0].name: 201 bytes are more than 200"},
      {"overlapping ends", model + Rule("a*a", "sign"), "no tensor fits \"a*a\""},
      {"codec", model + Rule("a", "top_k:2"),
       "tensors[0].codec: \"top_k:2\": ratio: 2 is not in (0, 1]"},
      {"no codec", model + "tensors { name: 'a' } ", "tensors[0].codec: \"\": no codec"},
      {"too many", many, "tensors: 1001 rules are more than 1000"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const absl::Status status = Make(c.job).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

struct Choice {
  const char* job;
  Feedback feedback;
  Units units;
  bool noise_at_server;
  bool compress_down;
};

TEST(BlockPlanTest, WhatFollowsFromACodecAndTheOptions) {
  constexpr auto kUpdate = Units::kUpdate;
  constexpr auto kGradient = Units::kGradient;
  const Choice cases[] = {
      {"codec: 'identity'", Feedback::kClassic, kUpdate, false, false},
      {"codec: 'identity' downlink: 'compressed'", Feedback::kClassic, kUpdate, false, false},
      {"codec: 'identity' error_feedback: 'ef21'", Feedback::kClassic, kUpdate, false, false},
      {"codec: 'random_k:0.1'", Feedback::kClassic, kUpdate, false, false},
      {"codec: 'random_k:0.1' perturbation: 'gaussian:1'", Feedback::kClassic, kUpdate, true,
       false},
      {"codec: 'random_k:0.1' perturbation: 'sphere:1'", Feedback::kClassic, kUpdate, false, false},
      {"codec: 'random_k:0.1' perturbation: 'gaussian:1' error_feedback: 'none'", Feedback::kNone,
       kUpdate, false, false},
      {"codec: 'random_k:0.1' perturbation: 'gaussian:1' error_feedback: 'ef21'", Feedback::kEf21,
       kGradient, false, false},
      {"codec: 'identity' perturbation: 'gaussian:1'", Feedback::kClassic, kUpdate, true, false},
      {"codec: 'top_k:0.1' perturbation: 'gaussian:1'", Feedback::kClassic, kUpdate, false, true},
      {"codec: 'top_k:0.1' downlink: 'aggregate'", Feedback::kClassic, kUpdate, false, false},
      {"codec: 'top_k:0.1' optimizer: 'sgd:0.1,0.9'", Feedback::kClassic, kGradient, false, true},
      {"codec: 'top_k:0.1' error_feedback: 'ef21'", Feedback::kEf21, kGradient, false, false},
      {"codec: 'top_k:0.1' error_feedback: 'ef21_sgdm'", Feedback::kEf21Sgdm, kGradient, false,
       false},
      {"codec: 'qsgd'", Feedback::kNone, kUpdate, false, true},
      {"codec: 'qsgd' error_feedback: 'classic'", Feedback::kClassic, kUpdate, false, true},
      {"codec: 'sign_majority'", Feedback::kNone, kGradient, false, false},
      {"codec: 'sign_majority' downlink: 'compressed'", Feedback::kNone, kGradient, false, false},
  };
  for (const Choice& c : cases) {
    SCOPED_TRACE(c.job);
    const auto job = Make(Model({{50}}) + c.job);
    ASSERT_TRUE(job.ok()) << job.status();
    const BlockPlan& plan = (*job)->plans[0];
    EXPECT_EQ(plan.feedback, c.feedback);
    EXPECT_EQ(plan.units, c.units);
    EXPECT_EQ(plan.noise_at_server, c.noise_at_server);
    EXPECT_EQ(plan.compress_down, c.compress_down);
    EXPECT_EQ((*job)->keeps_mean, plan.keeps_mean());
  }
}

TEST(BlockPlanTest, EachBlockHasTheUnitsOfItsOwnCodec) {
  const auto job = Make(Model({{10}, {20}, {30}}) + Rule("b", "sign_majority"));
  ASSERT_TRUE(job.ok()) << job.status();
  std::vector<Units> units;
  for (const BlockPlan& plan : (*job)->plans) units.push_back(plan.units);
  EXPECT_THAT(units, ElementsAre(Units::kUpdate, Units::kGradient, Units::kUpdate));
}

TEST(BlockPlanTest, RefusesChoicesThatDoNotGoTogether) {
  const struct {
    const char* job;
    const char* want;
  } cases[] = {
      {"codec: 'top_k:0.1' error_feedback: 'ef21' downlink: 'compressed'",
       "downlink: compressed does not go with error_feedback ef21 (codec top_k,ratio=0.1"},
      {"codec: 'top_k:0.1' error_feedback: 'ef21_sgdm' clip: 'norm:1'",
       "clip: the aggregate of codec top_k,ratio=0.1"},
      {"codec: 'sign_majority' clip: 'value:1'", "clip: the aggregate of codec sign_majority"},
      {"tensors { name: 'b' codec: 'sign_majority' } clip: 'value:1'", "clip: the aggregate of"},
      {"codec: 'top_k:0.1' error_feedback: 'ef21' perturbation: 'on_demand:1,1'",
       "perturbation: the aggregate of codec top_k,ratio=0.1"},
      {"codec: 'sign_majority' perturbation: 'on_demand:1,1'", "its norm says nothing"},
      {"codec: 'sign_majority' error_feedback: 'classic'", "error_feedback: codec sign_majority"},
      {"codec: 'sign_majority' error_feedback: 'ef21'", "takes only none; choose that, or auto"},
      {"codec: 'dgc:0.1' error_feedback: 'none'", "takes only classic; choose that, or auto"},
      {"error_feedback: 'ef20'",
       "error_feedback: \"ef20\": not known; there are: auto, none, classic, ef21, ef21_sgdm"},
      {"downlink: 'squeeze'",
       "downlink: \"squeeze\": not known; there are: auto, aggregate, compressed"},
      {"reset: 'reset'", "reset: \"reset\": it would never happen"},
      {"clip: 'norm'", "clip: \"norm\": limit is required"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.job);
    const absl::Status status = Make(Model({{10}, {20}}) + c.job).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

}  // namespace
}  // namespace gradwire
