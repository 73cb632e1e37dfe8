// SPDX-License-Identifier: Apache-2.0
// How models are cut into tensors and blocks, and what is said of those that cannot be.
#include "common/replica/layout.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/hash.h"

namespace gradwire {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

v1::ModelConfig Model(const std::string& text) {
  v1::ModelConfig model;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &model)) << text;
  return model;
}

TEST(LayoutTest, MlpHasItsLayersInOrder) {
  const auto layout =
      Layout::FromModel(Model("mlp { inputs: 784 hidden: 256 hidden: 128 classes: 10 }"));
  ASSERT_TRUE(layout.ok()) << layout.status();
  const struct {
    const char* name;
    std::vector<uint64_t> shape;
    const char* init;
    size_t offset;
    size_t size;
  } want[] = {
      {"layer1.weight", {256, 784}, "he_normal", 0, 200704},
      {"layer1.bias", {256}, "zeros", 200704, 256},
      {"layer2.weight", {128, 256}, "he_normal", 200960, 32768},
      {"layer2.bias", {128}, "zeros", 233728, 128},
      {"layer3.weight", {10, 128}, "he_normal", 233856, 1280},
      {"layer3.bias", {10}, "zeros", 235136, 10},
  };
  ASSERT_EQ(layout->tensors().size(), std::size(want));
  for (size_t i = 0; i < std::size(want); ++i) {
    const TensorSpec& tensor = layout->tensors()[i];
    EXPECT_EQ(tensor.name, want[i].name);
    EXPECT_EQ(tensor.shape, want[i].shape);
    EXPECT_EQ(tensor.init, want[i].init);
    EXPECT_EQ(tensor.offset, want[i].offset);
    EXPECT_EQ(tensor.size, want[i].size);
  }
  EXPECT_EQ(layout->dimension(), 235146U);
}

TEST(LayoutTest, OtherModelsHaveTheirs) {
  const struct {
    const char* model;
    std::vector<std::string> names;
    size_t dimension;
  } cases[] = {
      {"logistic { inputs: 5 classes: 3 }", {"layer1.weight", "layer1.bias"}, 18},
      {"mlp { inputs: 5 classes: 3 }", {"layer1.weight", "layer1.bias"}, 18},
      {"quadratic_saddle { dimension: 7 }", {"x"}, 7},
      {"tensors { tensor { name: 'a/b:0' shape: 2 shape: 3 } tensor { name: 'scalar' } }",
       {"a/b:0", "scalar"},
       7},
      {"tensors { tensor { name: 'all' shape: 2147483648 } }", {"all"}, kMaxDimension},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.model);
    const auto layout = Layout::FromModel(Model(c.model));
    ASSERT_TRUE(layout.ok()) << layout.status();
    std::vector<std::string> names;
    for (const TensorSpec& tensor : layout->tensors()) names.push_back(tensor.name);
    EXPECT_EQ(names, c.names);
    EXPECT_EQ(layout->dimension(), c.dimension);
  }
}

TEST(LayoutTest, BlocksCoverTheParameters) {
  const struct {
    uint64_t dimension;
    size_t blocks;
    size_t last;
  } cases[] = {{1, 1, 1},
               {kBlockSize, 1, kBlockSize},
               {kBlockSize + 1, 2, 1},
               {kMaxDimension, 8192, kBlockSize}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.dimension);
    const auto layout =
        Layout::FromModel(Model(absl::StrCat("quadratic_saddle { dimension: ", c.dimension, " }")));
    ASSERT_TRUE(layout.ok()) << layout.status();
    EXPECT_EQ(layout->blocks(), c.blocks);
    EXPECT_EQ(layout->block_size(c.blocks - 1), c.last);
    EXPECT_EQ(layout->block_offset(c.blocks - 1) + c.last, c.dimension);
    EXPECT_EQ(layout->block_size(0), c.blocks > 1 ? kBlockSize : c.last);
  }
}

TEST(LayoutTest, SegmentsAreCutIntoBlocksByThemselves) {
  auto layout = Layout::FromModel(
      Model("tensors { tensor { name: 'a' shape: 1000 shape: 700 } tensor { name: 'b' shape: 3 } "
            "tensor { name: 'c' shape: 300000 } tensor { name: 'd' shape: 2 shape: 300000 } "
            "tensor { name: 'e' shape: 2 shape: 3 shape: 5 } }"));
  ASSERT_TRUE(layout.ok()) << layout.status();
  layout->Cut({{.first = 0, .end = 1, .whole_rows = true},
               {.first = 1, .end = 3},
               {.first = 3, .end = 4, .whole_rows = true},
               {.first = 4, .end = 5, .whole_rows = true}});
  // 374 rows of 700 are the most in 262144 coordinates; a row of 300000 is cut like a vector.
  constexpr size_t kRows = 374 * 700;
  const Block want[] = {
      {0, kRows, 700},
      {kRows, kRows, 700},
      {2 * kRows, 700000 - 2 * kRows, 700},
      {700000, kBlockSize, 0},
      {700000 + kBlockSize, 300003 - kBlockSize, 0},
      {1000003, kBlockSize, 0},
      {1000003 + kBlockSize, kBlockSize, 0},
      {1000003 + 2 * kBlockSize, 600000 - 2 * kBlockSize, 0},
      {1600003, 30, 15},
  };
  ASSERT_EQ(layout->blocks(), std::size(want));
  for (size_t b = 0; b < layout->blocks(); ++b) {
    SCOPED_TRACE(b);
    EXPECT_EQ(layout->block(b).offset, want[b].offset);
    EXPECT_EQ(layout->block(b).size, want[b].size);
    EXPECT_EQ(layout->block(b).columns, want[b].columns);
  }
}

TEST(LayoutTest, CoordinatesHaveNames) {
  const auto layout = Layout::FromModel(Model("logistic { inputs: 5 classes: 3 }"));
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(layout->CoordinateName(0), "layer1.weight[0]");
  EXPECT_EQ(layout->CoordinateName(14), "layer1.weight[14]");
  EXPECT_EQ(layout->CoordinateName(15), "layer1.bias[0]");
  EXPECT_EQ(layout->CoordinateName(17), "layer1.bias[2]");
}

TEST(LayoutTest, RefusesWithFieldValueAndLimit) {
  const struct {
    std::string model;
    const char* want;
  } cases[] = {
      {"", "model: missing; give logistic, mlp"},
      {"tensors {}", "model: 0 tensors are not in [1, 100000]"},
      {"logistic { classes: 3 }", "model.logistic.inputs: 0 is not in [1, 2147483648]"},
      {"logistic { inputs: 5 classes: 1 }", "model.logistic.classes: 1 is not in [2, "},
      {"mlp { inputs: 5 hidden: 4 hidden: 0 classes: 3 }", "model.mlp.hidden[1]: 0 is not in [1, "},
      {"mlp { inputs: 65536 hidden: 65536 classes: 3 }",
       "model.mlp: with tensor \"layer1.weight\" the model has more than 2147483648"},
      {"mlp { inputs: 4294967295 hidden: 4294967295 classes: 3 }", "model.mlp.inputs: 4294967295"},
      {"mlp { inputs: 5 classes: 3 init: 'he' }", "model.mlp.init: \"he\": no initialisation"},
      {"quadratic_saddle {}", "model.quadratic_saddle.dimension: 0 is not in [1, "},
      {"quadratic_saddle { dimension: 2147483649 }", "is not in [1, 2147483648]"},
      {"quadratic_saddle { dimension: 3 negative: 4 }", ".negative: 4 is not in [1, 3]"},
      {"quadratic_saddle { dimension: 3 gamma: -1 }", ".gamma: -1 is not in [0, "},
      {"quadratic_saddle { dimension: 3 curvature: nan }", ".curvature: nan is not in [0, "},
      {"quadratic_saddle { dimension: 3 wall: inf }", ".wall: inf is not in [0, "},
      {"quadratic_saddle { dimension: 3 start: nan }", ".start: nan is not in ["},
      {"tensors { tensor { shape: 2 } }", "model.tensors.tensor[0].name: empty"},
      {"tensors { tensor { name: 'a' shape: 2 } tensor { name: 'a' shape: 2 } }",
       "model.tensors.tensor[1].name: \"a\" is there already"},
      {"tensors { tensor { name: 'a b' shape: 2 } }", "tensor[0].name: only printable ASCII"},
      {"tensors { tensor { name: 'a\\303\\251' shape: 2 } }", "only printable ASCII"},
      {"tensors { tensor { name: '__metadata__' shape: 2 } }", "is kept for snapshots"},
      {"tensors { tensor { name: 'optimizer.m/x' shape: 2 } }", "is kept for snapshots"},
      {"tensors { tensor { name: 'feedback.mean/x' shape: 2 } }", "is kept for snapshots"},
      {"tensors { tensor { name: 'codec.bases' shape: 2 } }", "is kept for snapshots"},
      {"tensors { tensor { name: 'a' shape: 2 shape: 0 } }", "model.tensors.tensor[0].shape[1]: 0"},
      {"tensors { tensor { name: 'a' shape: 4294967296 shape: 4294967296 } }",
       "model.tensors.tensor[0]: with tensor \"a\""},
      {"tensors { tensor { name: 'a' shape: 2147483648 } tensor { name: 'b' } }",
       "model.tensors.tensor[1]: "},
      {"tensors { tensor { name: 'a' shape: 2 init: 'normal' } }",
       "model.tensors.tensor[0].init: \"normal\": std is required"},
      {absl::StrCat("tensors { tensor { name: '", std::string(201, 'x'), "' shape: 1 } }"),
       "tensor[0].name: 201 bytes are more than 200"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.model);
    const absl::Status status = Layout::FromModel(Model(c.model)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

TEST(LayoutTest, InitialisesTensorByTensor) {
  const auto layout = Layout::FromModel(
      Model("tensors { tensor { name: 'c' shape: 3 init: 'constant:0.1' }"
            "          tensor { name: 'z' shape: 2 } tensor { name: 'n' init: 'constant:-2' } }"));
  ASSERT_TRUE(layout.ok()) << layout.status();
  std::vector<float> parameters(layout->dimension(), 99);
  layout->Initialize(1, absl::MakeSpan(parameters));
  EXPECT_THAT(parameters, ElementsAre(0.1F, 0.1F, 0.1F, 0, 0, -2));
}

TEST(LayoutTest, SaddleStartsExactlyWhereItIsTold) {
  for (const double start : {0.0, 0.1, -1.0 / 3.0}) {
    v1::ModelConfig model;
    model.mutable_quadratic_saddle()->set_dimension(4);
    model.mutable_quadratic_saddle()->set_start(start);
    const auto layout = Layout::FromModel(model);
    ASSERT_TRUE(layout.ok()) << layout.status();
    std::vector<float> parameters(4, 99);
    layout->Initialize(1, absl::MakeSpan(parameters));
    EXPECT_THAT(parameters, Each(static_cast<float>(start)));
  }
}

// Version 0 is never sent: this hash may change only together with kApplyRevision.
TEST(LayoutTest, InitialParametersAreTheSameForEver) {
  const auto layout =
      Layout::FromModel(Model("mlp { inputs: 784 hidden: 256 hidden: 128 classes: 10 }"));
  ASSERT_TRUE(layout.ok());
  std::vector<float> parameters(layout->dimension());
  layout->Initialize(1, absl::MakeSpan(parameters));
  EXPECT_EQ(HashText(Hash64(absl::MakeConstSpan(parameters))), "xxh3:17fd773ca9b78a1c");
  layout->Initialize(2, absl::MakeSpan(parameters));
  EXPECT_NE(HashText(Hash64(absl::MakeConstSpan(parameters))), "xxh3:17fd773ca9b78a1c");
}

}  // namespace
}  // namespace gradwire
