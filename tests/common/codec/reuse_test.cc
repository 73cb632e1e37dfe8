// SPDX-License-Identifier: Apache-2.0
// One accumulator serves all codecs in turn, as the server's do, and a learning rate of 0, with
// which a schedule may end, does no harm.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "common/codec/registry.h"
#include "tests/common/codec/codec_cases.h"

namespace gradwire {
namespace {

struct Made {
  std::string spec;
  std::unique_ptr<Codec> codec;
  BlockKey key;
  std::vector<float> basis;
};

// Every codec of the tests' table, on a matrix of some size.
std::vector<Made> AllCodecs(size_t rows, size_t columns) {
  std::vector<Made> made;
  for (const CodecCase& c : CodecCases()) {
    made.push_back({.spec = c.spec, .codec = *MakeCodec(c.spec), .key = {}, .basis = {}});
    made.back().key = {
        .seed = 3, .step = 5, .block = 1, .size = rows * columns, .columns = columns, .rank = 2};
  }
  for (Made& m : made) {
    m.basis.assign(m.codec->basis_size(m.key), 0.0f);
    m.key.basis = m.basis;
  }
  return made;
}

std::string PayloadOf(const Made& made, std::mt19937_64* random, float unit) {
  std::normal_distribution<float> normal;
  std::vector<float> values(made.key.size);
  for (float& value : values) value = unit * normal(*random);
  BlockKey key = made.key;
  key.unit = unit;
  std::string payload;
  made.codec->Encode(key, absl::MakeSpan(values), &payload);
  for (const float value : values) EXPECT_TRUE(std::isfinite(value)) << made.spec;
  return payload;
}

void Accumulate(const Made& made, absl::Span<const std::string> payloads, Accumulator* sum) {
  for (const std::string& payload : payloads) {
    const absl::Status status = made.codec->Accumulate(made.key, payload, sum);
    ASSERT_TRUE(status.ok()) << made.spec << ": " << status;
  }
}

TEST(AccumulatorReuseTest, TheFirstPayloadOverwritesWhateverAnotherCodecLeft) {
  std::mt19937_64 random(9);
  const std::vector<Made> small = AllCodecs(11, 9);
  const std::vector<Made> large = AllCodecs(40, 25);
  Accumulator used;
  for (int turn = 0; turn < 1000; ++turn) {
    const Made& made = (random() % 2 == 0 ? small : large)[random() % small.size()];
    SCOPED_TRACE(made.spec);
    std::vector<std::string> payloads;
    for (uint64_t i = 0; i < 1 + random() % 3; ++i) payloads.push_back(PayloadOf(made, &random, 1));
    Accumulator fresh;
    Accumulate(made, payloads, &fresh);
    used.Clear();
    Accumulate(made, payloads, &used);
    BlockValues want;
    BlockValues got;
    made.codec->Mean(made.key, fresh, &want);
    made.codec->Mean(made.key, used, &got);
    ASSERT_EQ(got.dense, want.dense);
    ASSERT_EQ(got.indices, want.indices);
    ASSERT_EQ(got.values, want.values);
  }
}

TEST(ZeroUnitTest, NothingIsEncodedAsFiniteNumbers) {
  std::mt19937_64 random(9);
  for (const Made& made : AllCodecs(40, 25)) {
    SCOPED_TRACE(made.spec);
    const std::string payload = PayloadOf(made, &random, 0);
    BlockValues values;
    ASSERT_TRUE(DecodePayload(*made.codec, made.key, payload, &values).ok());
    for (const float value : values.values) EXPECT_TRUE(std::isfinite(value));
  }
}

}  // namespace
}  // namespace gradwire
