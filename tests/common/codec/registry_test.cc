// SPDX-License-Identifier: Apache-2.0
// Codecs by name: what is accepted, and what is said of what is not.
#include "common/codec/registry.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/codec/codec_cases.h"

namespace gradwire {
namespace {

TEST(CodecRegistryTest, NamesAndIdsAreUniqueAndEveryCodecKnowsItsOwn) {
  std::set<std::string> names;
  std::set<v1::CodecId> ids;
  for (const CodecEntry& entry : CodecRegistry()) {
    EXPECT_TRUE(names.insert(entry.name).second);
    EXPECT_TRUE(ids.insert(entry.id).second);
    EXPECT_NE(entry.id, v1::CODEC_UNSPECIFIED);
    const bool needs_ratio = !entry.parameters().empty();
    EXPECT_EQ(Make(std::string(entry.name) + (needs_ratio ? ":0.5" : ""))->id(), entry.id);
  }
  EXPECT_EQ(names, (std::set<std::string>{"identity", "random_k", "top_k"}));
}

TEST(CodecRegistryTest, OnlyTopKIsNotLinear) {
  EXPECT_TRUE(Make("identity")->linear());
  EXPECT_TRUE(Make("random_k:0.1")->linear());
  EXPECT_FALSE(Make("top_k:0.1")->linear());
}

TEST(CodecRegistryTest, BadSpecsAreRefusedNamingWhatIsAllowed) {
  struct Case {
    const char* spec;
    const char* message;
  };
  const Case cases[] = {
      {"", "known: identity, random_k, top_k"},
      {"topk:0.1", "known: identity, random_k, top_k"},
      {"identity:0.5", "it takes none"},
      {"random_k", "ratio is required"},
      {"random_k:0", "(0, 1]"},
      {"random_k:2", "(0, 1]"},
      {"random_k:-0.1", "(0, 1]"},
      {"random_k:nan", "not a number"},
      {"random_k:0.1,set=blocks", "stratified, uniform, strided"},
      {"random_k:0.1,values=fp8", "fp32, bf16, fp16"},
      {"top_k:0.1,set=uniform", "no parameter"},
      {"top_k:0", "(0, 1]"},
  };
  for (const Case& c : cases) {
    const auto codec = MakeCodec(c.spec);
    EXPECT_EQ(codec.status().code(), absl::StatusCode::kInvalidArgument) << c.spec;
    EXPECT_THAT(std::string(codec.status().message()), testing::HasSubstr(c.message));
  }
}

}  // namespace
}  // namespace gradwire
