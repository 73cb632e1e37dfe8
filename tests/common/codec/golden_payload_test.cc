// SPDX-License-Identifier: Apache-2.0
// Payloads that were written once and are read for ever: tests/golden/payloads.
//
// A file holds a codec, a block, a worker's payload and what it stands for, and the
// update of two workers and what it stands for.  They are never written again; for a new
// codec add a row to Cases() and write its file, which leaves those that exist alone, with
//   common_codec_test --gtest_also_run_disabled_tests --gtest_filter='*DISABLED_WriteNewFiles'
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "tests/common/codec/codec_cases.h"

namespace gradwire {
namespace {

struct GoldenCase {
  const char* file;
  const char* spec;
};

const std::vector<GoldenCase>& Cases() {
  static const auto* const cases = new std::vector<GoldenCase>{
      {"identity", "identity"},
      {"random_k_stratified", "random_k:0.25"},
      {"random_k_uniform_bf16", "random_k:0.25,set=uniform,values=bf16"},
      {"random_k_strided_fp16", "random_k:0.25,set=strided,values=fp16"},
      {"top_k_gaps", "top_k:0.1"},
      {"top_k_gaps_bf16", "top_k:0.05,values=bf16"},
      {"top_k_bitmap_fp16", "top_k:0.4,values=fp16"},
      {"top_k_dense", "top_k:0.6"},
      {"bf16", "bf16"},
      {"fp16", "fp16"},
      {"int8", "int8:block=16"},
      {"threshold", "threshold:5"},
      {"threshold_none_fp16", "threshold:100,values=fp16"},
      {"top_k_gaps_thirds", "top_k:0.075"},
      {"dgc", "dgc:0.2"},
      {"dgc_dense_bf16", "dgc:0.9,values=bf16"},
      {"sign", "sign:block=16"},
      {"sign_majority", "sign_majority"},
      {"one_bit", "one_bit:block=16"},
      {"qsgd", "qsgd:bucket=16"},
      {"qsgd_max", "qsgd:levels=3,bucket=0,norm=max"},
      {"terngrad", "terngrad:clip=1.5,block=16"},
      {"two_bit", "two_bit:tau=2"},
      {"count_sketch", "count_sketch:rows=3,ratio=0.3,k=0.1"},
      {"powersgd", "powersgd:1"},
      {"natural", "natural"},
  };
  return *cases;
}

constexpr BlockKey kKey = {.seed = 7, .step = 3, .block = 1, .size = 40};

// For a codec that works on matrices: five rows of eight, at the job's start.
BlockKey GoldenKey(const Codec& codec) {
  static const auto* const zeros = new std::vector<float>(64, 0.0f);
  BlockKey key = kKey;
  if (codec.traits().matrix) key.columns = 8;
  key.basis = absl::MakeConstSpan(*zeros).first(codec.basis_size(key));
  return key;
}

// Exact in binary, so that any language can make them.
std::vector<float> Input(int worker) {
  std::vector<float> values;
  for (int i = 0; i < static_cast<int>(kKey.size); ++i) {
    const int numerator = (i * 37 + worker * 11) % 101 - 50;
    values.push_back(static_cast<float>(numerator) / 8.0f + static_cast<float>(i) / 4096.0f);
  }
  return values;
}

using Fields = std::map<std::string, std::string>;

std::string Text(const std::vector<float>& values) {
  std::string text;
  for (const float value : values) absl::StrAppendFormat(&text, "%.9g ", value);
  return text.substr(0, text.size() - 1);
}

std::vector<float> Values(const std::string& text) {
  std::vector<float> values;
  for (absl::string_view word : absl::StrSplit(text, ' ')) {
    float value = 0;
    EXPECT_TRUE(absl::SimpleAtof(word, &value)) << word;
    values.push_back(value);
  }
  return values;
}

// What the code of today makes of the inputs.
Fields Computed(const std::string& spec) {
  const auto codec = Make(spec);
  const BlockKey key = GoldenKey(*codec);
  const std::string up = Encoded(*codec, key, Input(0));
  Accumulator sum;
  EXPECT_TRUE(codec->Accumulate(key, up, &sum).ok());
  EXPECT_TRUE(codec->Accumulate(key, Encoded(*codec, key, Input(1)), &sum).ok());
  std::vector<float> state(codec->server_state_size(key), 0.0f);
  BlockValues mean;
  codec->Aggregate(key, sum, absl::MakeSpan(state), &mean);
  std::string down;
  codec->EncodeUpdate(key, mean, &down);
  BlockValues update;
  EXPECT_TRUE(codec->DecodeUpdate(key, down, &update).ok());
  return {{"codec", spec},
          {"block", absl::StrCat("seed 7 step 3 block 1 size 40",
                                 key.columns > 0 ? absl::StrCat(" columns ", key.columns) : "")},
          {"up", absl::BytesToHexString(up)},
          {"up_values", Text(Decoded(*codec, key, up))},
          {"down", absl::BytesToHexString(down)},
          {"down_values", Text(Dense(update, kKey.size))}};
}

std::string PathOf(const GoldenCase& golden) {
  return absl::StrCat(GRADWIRE_TEST_DATA, "/golden/payloads/", golden.file, ".txt");
}

Fields Read(const std::string& path) {
  Fields fields;
  std::ifstream in(path);
  EXPECT_TRUE(in.good()) << path;
  for (std::string line; std::getline(in, line);) {
    std::pair<std::string, std::string> field = absl::StrSplit(line, absl::MaxSplits(": ", 1));
    fields.insert(std::move(field));
  }
  return fields;
}

TEST(GoldenPayloadTest, OldPayloadsAreReadAsTheyWereMeant) {
  for (const GoldenCase& golden : Cases()) {
    SCOPED_TRACE(golden.file);
    Fields fields = Read(PathOf(golden));
    const auto codec = Make(fields["codec"]);
    const BlockKey key = GoldenKey(*codec);
    EXPECT_EQ(Decoded(*codec, key, absl::HexStringToBytes(fields["up"])),
              Values(fields["up_values"]));
    BlockValues update;
    ASSERT_TRUE(codec->DecodeUpdate(key, absl::HexStringToBytes(fields["down"]), &update).ok());
    EXPECT_EQ(Dense(update, kKey.size), Values(fields["down_values"]));
  }
}

TEST(GoldenPayloadTest, TodaysBytesAreTheOldOnes) {
  for (const GoldenCase& golden : Cases()) {
    SCOPED_TRACE(golden.file);
    EXPECT_EQ(Read(PathOf(golden)), Computed(golden.spec));
  }
}

TEST(GoldenPayloadTest, DISABLED_WriteNewFiles) {
  for (const GoldenCase& golden : Cases()) {
    if (std::filesystem::exists(PathOf(golden))) continue;
    std::ofstream out(PathOf(golden));
    Fields fields = Computed(golden.spec);
    for (const char* name : {"codec", "block", "up", "up_values", "down", "down_values"}) {
      out << name << ": " << fields[name] << "\n";
    }
  }
}

}  // namespace
}  // namespace gradwire
