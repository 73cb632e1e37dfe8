// SPDX-License-Identifier: Apache-2.0
// What every codec keeps to: sent + residual = input, error feedback loses nothing,
// updates come back as rounded, bad bytes change nothing.
#include "common/codec/codec.h"

#include <cmath>
#include <limits>

#include "absl/algorithm/container.h"
#include "common/kernels/vector.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/codec/codec_cases.h"

namespace gradwire {
namespace {

template <class Check>
void ForEveryCodecAndSize(const Check& check) {
  for (const CodecCase& c : CodecCases()) {
    const auto codec = Make(c.spec);
    for (const size_t n : BlockSizes()) {
      SCOPED_TRACE(c.spec + " n=" + std::to_string(n));
      check(c, *codec, KeyFor(*codec, n));
    }
  }
}

// How many coordinates do not keep to `residual = input - sent` and to the bound on what is left.
size_t WrongResiduals(const CodecCase& c, const std::vector<float>& input,
                      const std::vector<float>& sent, const std::vector<float>& residual) {
  constexpr double kDenormalStep = 0x1p-24;  // fp16's
  size_t wrong = 0;
  for (size_t i = 0; i < input.size(); ++i) {
    const double bound =
        c.rounding == 0 ? 0 : std::fabs(double{input[i]}) * c.rounding + kDenormalStep;
    const bool exact = residual[i] == input[i] - sent[i];
    if (!exact || (sent[i] != 0 && std::fabs(double{residual[i]}) > bound)) ++wrong;
  }
  return wrong;
}

TEST(CodecTest, ResidualIsExactlyInputLessDecodedAndZeroWhereFp32WasSent) {
  ForEveryCodecAndSize([](const CodecCase& c, const Codec& codec, const BlockKey& key) {
    const std::vector<float> input = RandomValues(key.size, 1);
    std::vector<float> residual = input;
    std::string payload;
    codec.Encode(key, absl::MakeSpan(residual), &payload);
    EXPECT_LE(payload.size(), codec.MaxPayloadBytes(key.size));
    const std::vector<float> sent = Decoded(codec, key, payload);
    ASSERT_EQ(sent.size(), key.size);
    if (LeavesResidual(codec)) {
      EXPECT_EQ(WrongResiduals(c, input, sent, residual), 0u);
    }
  });
}

TEST(CodecTest, AddAndEncodeIsAddingAndThenEncoding) {
  ForEveryCodecAndSize([](const CodecCase&, const Codec& codec, const BlockKey& at) {
    BlockKey key = at;
    key.unit = 0.25f;
    const std::vector<float> gradient = RandomValues(key.size, 3);
    std::vector<float> once = RandomValues(key.size, 4);
    std::vector<float> twice = once;
    AddScaled(key.unit, gradient.data(), twice.data(), key.size);
    std::string fused;
    std::string apart;
    codec.AddAndEncode(key, gradient, absl::MakeSpan(once), &fused);
    codec.Encode(key, absl::MakeSpan(twice), &apart);
    EXPECT_TRUE(fused == apart);
    if (LeavesResidual(codec)) {
      EXPECT_TRUE(once == twice);
    }
  });
}

TEST(CodecTest, SentAndResidualAddUpToAllGradientsOverAHundredSteps) {
  for (const CodecCase& c : CodecCases()) {
    SCOPED_TRACE(c.spec);
    const auto codec = Make(c.spec);
    if (!LeavesResidual(*codec)) continue;
    const size_t n = 517;
    std::vector<float> residual(n, 0.0f);
    std::vector<double> sent(n);
    std::vector<double> gradients(n);
    std::vector<double> magnitudes(n);
    for (uint64_t step = 1; step <= 100; ++step) {
      const std::vector<float> gradient = RandomValues(n, static_cast<uint32_t>(step));
      for (size_t i = 0; i < n; ++i) {
        residual[i] += gradient[i];
        gradients[i] += gradient[i];
        magnitudes[i] += std::fabs(residual[i]);
      }
      std::string payload;
      const BlockKey key = KeyFor(*codec, n, step);
      codec->Encode(key, absl::MakeSpan(residual), &payload);
      const std::vector<float> decoded = Decoded(*codec, key, payload);
      for (size_t i = 0; i < n; ++i) {
        sent[i] += decoded[i];
        magnitudes[i] += std::fabs(residual[i]);
      }
    }
    for (size_t i = 0; i < n; ++i) {
      // A float addition and a subtraction a step, each off by half a unit in the last place.
      EXPECT_NEAR(sent[i] + residual[i], gradients[i], magnitudes[i] * 0x1p-24 + 1e-12);
    }
  }
}

// Inputs at the edges.  What is left and what is sent stay finite, and nothing comes of nothing.
TEST(CodecTest, EdgeInputsAreEncodedWithoutLossOfMeaning) {
  struct Edge {
    const char* name;
    std::vector<float> values;
  };
  std::vector<float> one_huge(1001, 1e-3f);
  one_huge[500] = -3e38f;
  std::vector<float> mixed(999, 1e38f);
  for (size_t i = 0; i < mixed.size(); i += 2) mixed[i] = -1e-40f;
  const float greatest = std::numeric_limits<float>::max();
  const Edge edges[] = {
      {"all zero", std::vector<float>(1000, 0.0f)},
      {"all minus zero", std::vector<float>(33, -0.0f)},
      {"all negative", std::vector<float>(777, -2.5f)},
      {"one element", {0.75f}},
      {"one zero", {0.0f}},
      {"one least denormal", {-1e-45f}},
      {"one of the greatest", {greatest}},
      {"denormals", std::vector<float>(1000, 1e-40f)},
      {"least denormals", std::vector<float>(65, -1e-45f)},
      {"1e38", std::vector<float>(1000, 1e38f)},
      {"-1e38", std::vector<float>(5, -1e38f)},
      {"greatest", std::vector<float>(513, greatest)},
      {"one huge", one_huge},
      {"huge and denormal", mixed},
      {"odd size", RandomValues(12347, 70)},
  };
  for (const CodecCase& c : CodecCases()) {
    const auto codec = Make(c.spec);
    for (const Edge& edge : edges) {
      SCOPED_TRACE(c.spec + ": " + edge.name);
      const BlockKey key = KeyFor(*codec, edge.values.size());
      std::vector<float> residual = edge.values;
      std::string payload;
      codec->Encode(key, absl::MakeSpan(residual), &payload);
      EXPECT_LE(payload.size(), codec->MaxPayloadBytes(key.size));
      const std::vector<float> sent = Decoded(*codec, key, payload);
      size_t wrong = 0;
      for (size_t i = 0; i < key.size; ++i) {
        if (!std::isfinite(sent[i])) ++wrong;
        if (!LeavesResidual(*codec)) continue;
        if (!std::isfinite(residual[i]) || residual[i] != edge.values[i] - sent[i]) ++wrong;
      }
      EXPECT_EQ(wrong, 0u);
      const bool zero = absl::c_all_of(edge.values, [](float value) { return value == 0; });
      if (zero && LeavesResidual(*codec)) {
        EXPECT_TRUE(absl::c_all_of(sent, [](float value) { return value == 0; }));
      }
    }
  }
}

TEST(CodecTest, CheckingAndLoadingAnUpdateIsDecodingIt) {
  ForEveryCodecAndSize([](const CodecCase&, const Codec& codec, const BlockKey& key) {
    std::string payload;
    codec.EncodeUpdate(key, MeanOf(codec, key, 2, 7), &payload);
    BlockValues decoded;
    ASSERT_TRUE(codec.DecodeUpdate(key, payload, &decoded).ok());
    BlockValues loaded;
    ASSERT_TRUE(codec.CheckUpdate(key, payload, &loaded).ok());
    codec.LoadUpdate(key, payload, &loaded);
    EXPECT_EQ(loaded.dense, decoded.dense);
    EXPECT_TRUE(loaded.indices == decoded.indices);
    EXPECT_TRUE(loaded.values == decoded.values);
    payload.push_back('x');
    EXPECT_EQ(codec.CheckUpdate(key, payload, &loaded).ok(),
              codec.DecodeUpdate(key, payload, &decoded).ok());
  });
}

TEST(CodecTest, MeanIsTheSumInOrderDividedOnce) {
  ForEveryCodecAndSize([](const CodecCase& c, const Codec& codec, const BlockKey& key) {
    std::vector<float> want(key.size, 0.0f);
    Accumulator sum;
    sum.sums.assign(3, 99.0f);  // what is there before the first payload must not matter
    sum.bits.assign(3, 99);
    for (uint32_t worker = 0; worker < 3; ++worker) {
      const std::string payload = Encoded(codec, key, RandomValues(key.size, 10 + worker));
      const std::vector<float> decoded = Decoded(codec, key, payload);
      for (size_t i = 0; i < key.size; ++i) want[i] = want[i] + decoded[i];
      ASSERT_TRUE(codec.Accumulate(key, payload, &sum).ok());
    }
    EXPECT_EQ(sum.payloads, 3u);
    for (float& value : want) value = value / 3.0f;
    BlockValues mean;
    codec.Mean(key, sum, &mean);
    if (c.sums_decoded) {
      EXPECT_EQ(Dense(mean, key.size), want);
    }
    sum.Clear();
    const std::string payload = Encoded(codec, key, RandomValues(key.size, 20));
    ASSERT_TRUE(codec.Accumulate(key, payload, &sum).ok());
    codec.Mean(key, sum, &mean);
    EXPECT_EQ(Dense(mean, key.size), Decoded(codec, key, payload)) << "after Clear()";
  });
}

TEST(CodecTest, UpdateComesBackAsItWasRoundedAndFitsTheLimit) {
  ForEveryCodecAndSize([](const CodecCase& c, const Codec& codec, const BlockKey& key) {
    const BlockValues mean = MeanOf(codec, key, 5, 30);
    std::string payload = "to be replaced";
    codec.EncodeUpdate(key, mean, &payload);
    EXPECT_LE(payload.size(), 4 * key.size + 64);
    BlockValues update;
    ASSERT_TRUE(codec.DecodeUpdate(key, payload, &update).ok());
    EXPECT_EQ(update.dense, mean.dense);
    EXPECT_EQ(update.indices, mean.indices);
    const std::vector<float> got = Dense(update, key.size);
    const std::vector<float> want = Dense(mean, key.size);
    size_t wrong = 0;
    for (size_t i = 0; i < key.size; ++i) {
      const double tolerance =
          c.update_rounding == 0 ? 0 : std::fabs(want[i]) * c.update_rounding + 0x1p-24;
      if (std::fabs(got[i] - want[i]) > tolerance) ++wrong;
    }
    EXPECT_EQ(wrong, 0u);
    if (c.update_rounding == CodecCase::kAny) return;
    // What is rounded once stays: an update encoded again is the same bytes.
    std::string again;
    codec.EncodeUpdate(key, update, &again);
    EXPECT_EQ(again, payload);
  });
}

// fp16 ends at 65504: the rest stays in the residual, and goes out later.
TEST(CodecTest, ValuesBeyondTheFormatAreSentInParts) {
  for (const char* spec : {"random_k:1,values=fp16", "top_k:1,values=fp16"}) {
    const auto codec = Make(spec);
    std::vector<float> values = {100000.0f, -70000.0f, 1.0f, 3e38f};
    const std::string payload = Encoded(*codec, KeyOf(4), values);
    EXPECT_EQ(Decoded(*codec, KeyOf(4), payload),
              (std::vector<float>{65504.0f, -65504.0f, 1.0f, 65504.0f}));
    std::string ignored;
    codec->Encode(KeyOf(4), absl::MakeSpan(values), &ignored);
    EXPECT_EQ(values, (std::vector<float>{34496.0f, -4496.0f, 0.0f, 3e38f}));
  }
  const auto bf16 = Make("random_k:1,values=bf16");
  const float greatest = std::numeric_limits<float>::max();
  const std::vector<float> all = Decoded(*bf16, KeyOf(1), Encoded(*bf16, KeyOf(1), {greatest}));
  EXPECT_EQ(all[0], 0x1.FEp127f) << "not infinity";
}

// Every refusal: InvalidArgument, a message, and nothing changed.
void ExpectRefusedUp(const Codec& codec, const BlockKey& key, const std::string& payload,
                     const std::string& what) {
  const std::string valid = Encoded(codec, key, RandomValues(key.size, 40));
  for (const bool first : {true, false}) {
    Accumulator sum;
    if (!first) {
      ASSERT_TRUE(codec.Accumulate(key, valid, &sum).ok());
    }
    const Accumulator before = sum;
    const absl::Status status = codec.Accumulate(key, payload, &sum);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << what;
    EXPECT_FALSE(status.message().empty());
    EXPECT_EQ(sum.payloads, before.payloads);
    EXPECT_EQ(sum.sums, before.sums);
    EXPECT_EQ(sum.bits, before.bits);
  }
}

void ExpectRefusedDown(const Codec& codec, const BlockKey& key, const std::string& payload,
                       const std::string& what) {
  BlockValues update = {.dense = true, .indices = {4}, .values = {5.0f}};
  EXPECT_EQ(codec.DecodeUpdate(key, payload, &update).code(), absl::StatusCode::kInvalidArgument)
      << what;
  EXPECT_TRUE(update.dense);
  EXPECT_THAT(update.indices, testing::ElementsAre(4u));
  EXPECT_THAT(update.values, testing::ElementsAre(5.0f));
}

// Calls refuse(bytes, what) with everything that a valid payload may not become.
template <class Refuse>
void ForEveryWrongLength(const std::string& payload, const Refuse& refuse) {
  refuse("", "empty");
  for (size_t cut = 1; cut < payload.size(); cut += 1 + payload.size() / 20) {
    refuse(payload.substr(0, cut), "cut");
  }
  refuse(payload.substr(0, payload.size() - 1), "one short");
  refuse(payload + '\0', "one long");
  refuse(payload + payload, "twice");
  refuse(payload + std::string(size_t{1} << 20, 'x'), "very long");
}

TEST(CodecTest, WrongLengthsAreRefusedAndChangeNothing) {
  for (const CodecCase& c : CodecCases()) {
    for (const size_t n : {1, 2, 17, 1000}) {
      SCOPED_TRACE(c.spec + " n=" + std::to_string(n));
      const auto codec = Make(c.spec);
      const BlockKey key = KeyFor(*codec, n);
      ForEveryWrongLength(Encoded(*codec, key, RandomValues(n, 50)),
                          [&](const std::string& bytes, const char* what) {
                            ExpectRefusedUp(*codec, key, bytes, what);
                          });
      std::string update;
      codec->EncodeUpdate(key, MeanOf(*codec, key, 2, 51), &update);
      ForEveryWrongLength(update, [&](const std::string& bytes, const char* what) {
        ExpectRefusedDown(*codec, key, bytes, what);
      });
    }
  }
}

TEST(CodecTest, NanAndInfinityAreRefusedNamingTheCoordinate) {
  struct Case {
    const char* spec;
    std::string bytes;  // of the last value of the payload
  };
  const std::string inf16("\x00\x7C", 2);
  const std::string nan16("\x01\xFC", 2);
  const std::string inf_bf16("\x80\x7F", 2);
  const std::string inf32("\x00\x00\x80\xFF", 4);
  const std::string nan32("\x01\x00\x80\x7F", 4);
  const Case cases[] = {
      {"identity", inf32},
      {"identity", nan32},
      {"random_k:0.2", inf32},
      {"random_k:0.2", nan32},
      {"random_k:0.2,values=fp16", inf16},
      {"random_k:0.2,values=fp16", nan16},
      {"random_k:0.2,values=bf16", inf_bf16},
      {"top_k:0.2", inf32},
      {"top_k:0.2", nan32},
      {"top_k:0.4", nan32},
      {"top_k:0.8", inf32},
      {"top_k:0.2,values=fp16", nan16},
      {"top_k:0.2,values=bf16", inf_bf16},
      {"bf16", inf_bf16},
      {"fp16", nan16},
      {"threshold:0.1", nan32},
      {"threshold:0.5,values=fp16", inf16},
      {"threshold:1.5", inf32},
      {"dgc:0.1", nan32},
      {"dgc:0.3,values=bf16", inf_bf16},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.spec);
    const auto codec = Make(c.spec);
    const BlockKey key = KeyOf(100);
    std::string payload = Encoded(*codec, key, RandomValues(100, 60));
    payload.replace(payload.size() - c.bytes.size(), c.bytes.size(), c.bytes);
    ExpectRefusedUp(*codec, key, payload, "not finite");
    ExpectRefusedDown(*codec, key, payload, "not finite");
    Accumulator sum;
    EXPECT_THAT(std::string(codec->Accumulate(key, payload, &sum).message()),
                testing::AllOf(testing::HasSubstr("coordinate "), testing::HasSubstr("finite")));
  }
}

TEST(CodecTest, ASumBeyondTheFloatLimitIsRefusedAndChangesNothing) {
  for (const char* spec : {"identity", "random_k:0.2", "top_k:0.2", "top_k:0.4", "top_k:0.8",
                           "random_k:0.2,values=bf16", "top_k:0.2,values=bf16", "bf16", "int8",
                           "threshold:1", "dgc:0.2", "dgc:1"}) {
    SCOPED_TRACE(spec);
    const auto codec = Make(spec);
    const BlockKey key = KeyOf(50);
    const std::string payload = Encoded(*codec, key, std::vector<float>(50, 3e38f));
    Accumulator sum;
    ASSERT_TRUE(codec->Accumulate(key, payload, &sum).ok());
    const Accumulator before = sum;
    const absl::Status status = codec->Accumulate(key, payload, &sum);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr("limit"));
    EXPECT_EQ(sum.payloads, 1u);
    EXPECT_EQ(sum.sums, before.sums);
    EXPECT_EQ(sum.bits, before.bits);
  }
}

}  // namespace
}  // namespace gradwire
