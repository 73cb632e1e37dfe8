// SPDX-License-Identifier: Apache-2.0
// Random words: Random123's published vectors, and where each field of a key goes.
#include "common/random/counter.h"

#include <Random123/philox.h>

#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace gradwire {
namespace {

using Words = std::array<uint32_t, 4>;

// The lines "philox4x32 10" of Random123's kat_vectors.  Each counter and key is spelled as
// the RandomKey that packs into it, which pins the packing, too.
TEST(RandomWordsTest, GivesThePublishedVectors) {
  struct Case {
    RandomKey key;
    uint32_t index;
    Words want;
  };
  const Case cases[] = {
      {{.seed = 0, .purpose = Purpose{0}, .step = 0, .block = 0},
       0,
       {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{.seed = ~uint64_t{0},
        .purpose = Purpose{0xFF},
        .step = 0x00FFFFFFFFFFFFFF,
        .block = 0xFFFFFFFF},
       0xFFFFFFFF,
       {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      // counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0
      {{.seed = 0x299f31d0a4093822,
        .purpose = Purpose{0x03},
        .step = 0x0070734413198a2e,
        .block = 0x85a308d3},
       0x243f6a88,
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (const Case& c : cases) EXPECT_EQ(RandomWords(c.key, c.index), c.want);
}

TEST(RandomWordsTest, PacksSeedPurposeStepAndBlockAsTheHeaderSays) {
  const RandomKey key = {.seed = 0x1111111122222222,
                         .purpose = Purpose::kPerturbation,
                         .step = 0x00ABCDEF01234567,
                         .block = 0x33333333};
  const philox4x32_ctr_t counter = {{0x44444444, 0x33333333, 0x01234567, 0x03ABCDEF}};
  const philox4x32_key_t philox_key = {{0x22222222, 0x11111111}};
  const philox4x32_ctr_t want = philox4x32(counter, philox_key);
  EXPECT_EQ(RandomWords(key, 0x44444444), (Words{want.v[0], want.v[1], want.v[2], want.v[3]}));
}

TEST(RandomWordsTest, PurposeNumbersNeverChange) {
  EXPECT_EQ(static_cast<int>(Purpose::kInit), 1);
  EXPECT_EQ(static_cast<int>(Purpose::kIndexSet), 2);
  EXPECT_EQ(static_cast<int>(Purpose::kPerturbation), 3);
  EXPECT_EQ(static_cast<int>(Purpose::kBatch), 4);
  EXPECT_EQ(static_cast<int>(Purpose::kLangevin), 5);
  EXPECT_EQ(static_cast<int>(Purpose::kOnDemand), 6);
  EXPECT_EQ(static_cast<int>(Purpose::kRounding), 7);
  EXPECT_EQ(static_cast<int>(Purpose::kTie), 8);
  EXPECT_EQ(static_cast<int>(Purpose::kSketch), 9);
  EXPECT_EQ(static_cast<int>(Purpose::kBasis), 10);
  EXPECT_EQ(static_cast<int>(Purpose::kSample), 11);
}

TEST(FillRandomWordsTest, WordIIsLaneIMod4OfCounterIDiv4AtEveryLength) {
  const RandomKey key = {.seed = 7, .purpose = Purpose::kBatch, .step = 5, .block = 2};
  for (size_t n = 0; n <= 13; ++n) {
    std::vector<uint32_t> words(n + 1, 42);
    FillRandomWords(key, absl::MakeSpan(words.data(), n));
    for (size_t i = 0; i < n; ++i) {
      EXPECT_EQ(words[i], RandomWords(key, static_cast<uint32_t>(i / 4))[i % 4]);
    }
    EXPECT_EQ(words[n], 42u) << "nothing beyond the end";
  }
}

// xxh3-64 of seed and rank, 8 bytes each, by its specification
// (XXH3 of 9 to 16 bytes) written down once more.
TEST(PrivateSeedTest, IsTheHashOfSeedAndRank) {
  const struct {
    uint64_t seed;
    uint32_t rank;
    uint64_t want;
  } cases[] = {
      {0x0, 0x0, 0xd0a66a65c7528968},
      {0x1, 0x0, 0x26f2a1148cf52011},
      {0x1, 0x1, 0x6ca7f978e15828a6},
      {0x123456789abcdef, 0x7, 0x6cebe513db1dbf73},
      {0xffffffffffffffff, 0xffffffff, 0xca49db0749ee1b69},
  };
  for (const auto& c : cases) EXPECT_EQ(PrivateSeed(c.seed, c.rank), c.want);
}

TEST(PrivateSeedTest, NoTwoOfManyRanksShareOne) {
  std::set<uint64_t> seeds;
  for (uint32_t rank = 0; rank < 10000; ++rank) seeds.insert(PrivateSeed(7, rank));
  seeds.insert(PrivateSeed(7, 0xFFFFFFFF));
  seeds.insert(PrivateSeed(8, 0));
  EXPECT_EQ(seeds.size(), 10002U);
}

}  // namespace
}  // namespace gradwire
