// SPDX-License-Identifier: Apache-2.0
// Codecs by name: what is accepted, and what is said of what is not.
#include "common/codec/registry.h"

#include <set>

#include "absl/strings/ascii.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/codec/codec_cases.h"

namespace gradwire {
namespace {

// The name with a value for every parameter that has no default.
std::string LeastSpec(const CodecEntry& entry) {
  std::string spec = entry.name;
  for (const SpecParameter& parameter : entry.parameters()) {
    if (parameter.default_value.empty()) {
      spec += (spec == entry.name ? ":" : ",") + parameter.name + "=0.5";
    }
  }
  return spec;
}

TEST(CodecRegistryTest, NamesAndIdsAreUniqueAndEveryCodecKnowsItsOwn) {
  std::set<std::string> names;
  std::set<v1::CodecId> ids;
  for (const CodecEntry& entry : CodecRegistry()) {
    EXPECT_TRUE(names.insert(entry.name).second);
    EXPECT_TRUE(ids.insert(entry.id).second);
    EXPECT_NE(entry.id, v1::CODEC_UNSPECIFIED);
    EXPECT_EQ(Make(LeastSpec(entry))->id(), entry.id);
    EXPECT_EQ(v1::CodecId_Name(entry.id), "CODEC_" + absl::AsciiStrToUpper(entry.name));
    for (const char* text : {entry.summary, entry.error, entry.up, entry.down, entry.linear}) {
      EXPECT_NE(std::string(text), "") << entry.name;
    }
    for (const SpecParameter& parameter : entry.parameters()) {
      EXPECT_FALSE(parameter.help.empty()) << entry.name << " " << parameter.name;
    }
  }
}

// Every codec of the registry is held to codec_test.cc, and the table says "linear" as traits do.
TEST(CodecRegistryTest, EveryCodecHasARowInTheTests) {
  for (const CodecEntry& entry : CodecRegistry()) {
    bool found = false;
    for (const CodecCase& c : CodecCases()) {
      if (SpecName(c.spec) != entry.name) continue;
      found = true;
      EXPECT_EQ(Make(c.spec)->traits().linear, std::string(entry.linear) == "yes") << c.spec;
    }
    EXPECT_TRUE(found) << entry.name;
  }
}

TEST(CodecRegistryTest, BadSpecsAreRefusedNamingWhatIsAllowed) {
  struct Case {
    const char* spec;
    const char* message;
  };
  const Case cases[] = {
      {"", "known: identity, random_k, "},
      {"topk:0.1", "known: identity, random_k, "},
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
