// SPDX-License-Identifier: Apache-2.0
// Our hashes are XXH3: the vectors are those of xxHash's own self-test
// (cli/xsum_sanity_check.c), over its generated buffer, seed 0.
#include "common/base/hash.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"

namespace gradwire {
namespace {

std::string TestBuffer(size_t size) {
  std::string bytes(size, '\0');
  uint64_t generator = 2654435761U;
  for (char& byte : bytes) {
    byte = static_cast<char>(generator >> 56);
    generator *= 11400714785074694797U;
  }
  return bytes;
}

struct Vector {
  size_t size;
  uint64_t hash64;
  uint64_t high, low;  // of the 128-bit hash
};

constexpr Vector kVectors[] = {
    {0, 0x2D06800538D394C2, 0x99AA06D3014798D8, 0x6001C324468D497F},
    {1, 0xC44BDFF4074EECDB, 0xA6CD5E9392000F6A, 0xC44BDFF4074EECDB},
    {6, 0x27B56A84CD2D7325, 0x082AFE0B8162D12A, 0x3E7039BDDA43CFC6},
    {403, 0xCDEB804D65C6DEA4, 0x1B6DE21E332DD73D, 0xCDEB804D65C6DEA4},
    {512, 0x617E49599013CB6B, 0x18D2D110DCC9BCA1, 0x617E49599013CB6B},
    {2048, 0xDD59E2C3A5F038E0, 0xF736557FD47073A5, 0xDD59E2C3A5F038E0},
    {2367, 0xCB37AEB9E5D361ED, 0xE89C0F6FF369B427, 0xCB37AEB9E5D361ED},
};

TEST(HashTest, MatchesThePublishedVectors) {
  for (const Vector& v : kVectors) {
    SCOPED_TRACE(v.size);
    EXPECT_EQ(Hash64(absl::string_view(TestBuffer(v.size))), v.hash64);
  }
}

TEST(ChainHasherTest, MatchesThePublishedVectorsInCanonicalOrder) {
  for (const Vector& v : kVectors) {
    SCOPED_TRACE(v.size);
    ChainHasher hasher;
    hasher.Add(TestBuffer(v.size));
    EXPECT_EQ(HashText(hasher.Finish()), absl::StrCat(absl::Hex(v.high, absl::kZeroPad16),
                                                      absl::Hex(v.low, absl::kZeroPad16)));
  }
}

TEST(ChainHasherTest, CutsDoNotMatter) {
  const std::string bytes = TestBuffer(2367);
  for (const size_t cut : {size_t{0}, size_t{1}, size_t{240}, size_t{1024}, bytes.size()}) {
    SCOPED_TRACE(cut);
    ChainHasher hasher;
    hasher.Add(absl::string_view(bytes).substr(0, cut));
    hasher.Add(absl::string_view(bytes).substr(cut));
    EXPECT_EQ(HashText(hasher.Finish()), "e89c0f6ff369b427cb37aeb9e5d361ed");
  }
}

TEST(HashTest, OfNumbersIsOfTheirLittleEndianBytes) {
  const std::vector<float> floats = {1.0F, -0.0F, 0x1p-149F};
  const char float_bytes[] = "\x00\x00\x80\x3f\x00\x00\x00\x80\x01\x00\x00\x00";
  EXPECT_EQ(Hash64(absl::MakeConstSpan(floats)), Hash64(absl::string_view(float_bytes, 12)));
  const std::vector<uint64_t> words = {0x0123456789ABCDEF};
  EXPECT_EQ(Hash64(absl::MakeConstSpan(words)),
            Hash64(absl::string_view("\xef\xcd\xab\x89\x67\x45\x23\x01", 8)));
}

TEST(HashTest, PiecesHaveTheHashOfTheWhole) {
  const std::string whole = TestBuffer(2243);
  for (const size_t cut : {0, 1, 240, 1024, 2243}) {
    const absl::string_view bytes(whole);
    const absl::string_view pieces[] = {bytes.substr(0, cut), "", bytes.substr(cut)};
    EXPECT_EQ(Hash64(absl::MakeConstSpan(pieces)), Hash64(bytes)) << cut;
  }
}

TEST(HashTest, TextHasAllSixteenDigits) {
  EXPECT_EQ(HashText(uint64_t{0x0123456789ABCDEF}), "xxh3:0123456789abcdef");
  EXPECT_EQ(HashText(uint64_t{0xF}), "xxh3:000000000000000f");
}

}  // namespace
}  // namespace gradwire
