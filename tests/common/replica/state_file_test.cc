// SPDX-License-Identifier: Apache-2.0
// State files are byte for byte what the grammar says, come whole or not at all, and are refused
// with any bit changed.
#include "common/replica/state_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "absl/strings/escaping.h"
#include "common/base/hash.h"
#include "common/base/little_endian.h"
#include "common/replica/file.h"
#include "tests/common/replica/crashing_file_system.h"

namespace gradwire {
namespace {

using testing::HasSubstr;

// From storage_reference.py, which has an encoder of its own.
constexpr char kGolden[] =
    "475753544154453161000000000000004818f68d45cb3caf5bc2359e8bea547206000000776f726b65720200"
    "0000020000006964040000000000000077002d310700000076657273696f6e00000000000000000100000008"
    "000000726573696475616c02000000000000000000c03f00000080010000000000000001000000000000009a"
    "9999999999b93f";

StateFile GoldenState() {
  return {.kind = "worker",
          .texts = {{"version", ""}, {"id", std::string("w\0-1", 4)}},
          .floats = {{"residual", {1.5F, -0.0F}}},
          .doubles = {{"", {0.1}}}};
}

// Makes the checksum right again after a change.
std::string Resealed(std::string bytes) {
  ChainHasher hasher;
  hasher.Add(absl::string_view(bytes).substr(0, 16));
  hasher.Add(absl::string_view(bytes).substr(32));
  return bytes.replace(16, 16, std::string(AsView(hasher.Finish())));
}

TEST(StateFileTest, IsByteForByteWhatTheGrammarSays) {
  EXPECT_EQ(absl::BytesToHexString(EncodeStateFile(GoldenState())), kGolden);
}

TEST(StateFileTest, ReadsTheGoldenBytes) {
  const auto state = DecodeStateFile(absl::HexStringToBytes(kGolden), "worker");
  ASSERT_TRUE(state.ok()) << state.status();
  const StateFile want = GoldenState();
  EXPECT_EQ(state->kind, want.kind);
  EXPECT_EQ(state->texts, want.texts);
  EXPECT_EQ(state->floats, want.floats);
  EXPECT_EQ(state->doubles, want.doubles);
  EXPECT_TRUE(std::signbit(state->floats.at("residual")[1]));
}

TEST(StateFileTest, KeepsEveryBitOfValuesAndEmptyThings) {
  StateFile state = {.kind = "", .texts = {}, .floats = {}, .doubles = {}};
  EXPECT_TRUE(DecodeStateFile(EncodeStateFile(state), "").ok());
  state.floats["none"] = {};
  state.floats["odd"] = {std::numeric_limits<float>::quiet_NaN(), 0x1p-149F,
                         -std::numeric_limits<float>::infinity()};
  state.doubles["least"] = {0x1p-1074};
  const std::string bytes = EncodeStateFile(state);
  const auto read = DecodeStateFile(bytes, "");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(EncodeStateFile(*read), bytes);
  EXPECT_TRUE(read->floats.at("none").empty());
}

TEST(StateFileTest, RefusesEveryFlippedBitAndEveryLength) {
  const std::string bytes = EncodeStateFile(GoldenState());
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_TRUE(absl::IsDataLoss(DecodeStateFile(flipped, "worker").status())) << bit;
  }
  for (size_t size = 0; size < bytes.size(); ++size) {
    const absl::Status status = DecodeStateFile(bytes.substr(0, size), "worker").status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << size << " " << status;
  }
  EXPECT_TRUE(absl::IsDataLoss(DecodeStateFile(bytes + "x", "worker").status()));
}

TEST(StateFileTest, TakesOnlyItsOwnKind) {
  const std::string bytes = EncodeStateFile(GoldenState());
  const absl::Status status = DecodeStateFile(bytes, "server").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("kind \"worker\""));
}

// Somebody who can compute the checksum still gets no more than a refusal.
TEST(StateFileTest, BelievesNoLengthThatDoesNotFitEvenUnderARightChecksum) {
  const std::string bytes = EncodeStateFile(GoldenState());
  ASSERT_EQ(Resealed(bytes), bytes);
  for (size_t at = 32; at + 8 <= bytes.size(); ++at) {
    for (const uint64_t value : {~uint64_t{0}, uint64_t{1} << 62, uint64_t{0x4000000000000001}}) {
      std::string number;
      AppendLittleEndian(value, &number);
      std::string changed = bytes;
      const auto state = DecodeStateFile(Resealed(changed.replace(at, 8, number)), "worker");
      if (state.ok()) {
        EXPECT_EQ(EncodeStateFile(*state), Resealed(changed)) << at;
      }
    }
  }
  for (size_t size = 32; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodeStateFile(Resealed(bytes.substr(0, size)), "worker").ok()) << size;
  }
  EXPECT_FALSE(DecodeStateFile(Resealed(bytes + "x"), "worker").ok());
}

TEST(StateFileTest, HasOneEncodingOnly) {
  StateFile state = {.kind = "k", .texts = {{"a", "1"}, {"b", "2"}}, .floats = {}, .doubles = {}};
  std::string bytes = EncodeStateFile(state);
  const size_t a = bytes.find('a');
  const size_t b = bytes.find('b', a);
  std::swap(bytes[a], bytes[b]);
  EXPECT_FALSE(DecodeStateFile(Resealed(bytes), "k").ok());  // names descend
  bytes[a] = 'a';
  bytes[b] = 'a';
  EXPECT_FALSE(DecodeStateFile(Resealed(bytes), "k").ok());  // a name twice
}

// Whoever reads finds the old file or the new one, and after Ok only the new one.
TEST(WriteFileAtomicallyTest, LeavesOneOfTheTwoFilesWholeAfterEveryCrash) {
  int written = 0;
  const auto run = [&written](CrashingFileSystem* disk) {
    written = 0;
    if (!WriteFileAtomically("/a", "old bytes", disk).ok()) return;
    written = 1;
    if (WriteFileAtomically("/a", "new, longer bytes", disk).ok()) written = 2;
  };
  ForEveryCrash(run, [&written](const Crash& crash) {
    SCOPED_TRACE(crash.text);
    const auto bytes = ReadFile("/a", 100, crash.disk.get());
    const std::string got = bytes.ok() ? *bytes : "none";
    EXPECT_TRUE((written == 0 && got == "none") || (written <= 1 && got == "old bytes") ||
                (written >= 1 && got == "new, longer bytes"))
        << written << " written, found: " << got;
  });
}

TEST(WriteFileAtomicallyTest, LeavesNothingBesideWhenTheDiskIsFull) {
  CrashingFileSystem disk;
  ASSERT_TRUE(WriteFileAtomically("/a", "old", &disk).ok());
  disk.SetSpace(5);
  const absl::Status status = WriteFileAtomically("/a", "too much", &disk);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("8 bytes to /a"));
  EXPECT_EQ(*ReadFile("/a", 100, &disk), "old");
  EXPECT_EQ(disk.List("/")->size(), 1U);
}

TEST(StateFileTest, ViewsOfVectorsGiveTheBytesOfTheVectorsWithoutACopyOfLongOnes) {
  StateFile owns;
  owns.kind = "server";
  owns.texts["t"] = "text";
  owns.floats["long"] = std::vector<float>(100000, 1.5f);
  owns.floats["none"] = {};
  owns.floats["short"] = {1, 2, 3};
  owns.doubles["drawn"] = std::vector<double>(50000, -2.5);
  StateFile shows;
  shows.kind = "server";
  shows.texts = owns.texts;
  const absl::Span<const float> all = owns.floats["long"];
  shows.float_views["long"] = {all.first(30000), all.subspan(30000)};
  shows.float_views["none"] = {absl::Span<const float>()};
  shows.floats["short"] = owns.floats["short"];
  shows.double_views["drawn"] = owns.doubles["drawn"];
  EXPECT_EQ(EncodeStateFile(shows), EncodeStateFile(owns));
  const auto read = DecodeStateFile(EncodeStateFile(shows), "server");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->floats, owns.floats);
  EXPECT_EQ(read->doubles, owns.doubles);

  const StatePieces pieces(std::move(shows));
  std::string joined;
  size_t copied = 0;
  const char* const begin = reinterpret_cast<const char*>(all.data());
  for (const absl::string_view piece : pieces.pieces()) {
    joined.append(piece.data(), piece.size());
    const bool is_shown =
        piece.data() == begin || piece.data() == begin + 4 * 30000 || piece.size() == 8 * 50000;
    if (!is_shown) copied += piece.size();
  }
  EXPECT_EQ(joined, EncodeStateFile(owns));
  EXPECT_LT(copied, 200u);
}

}  // namespace
}  // namespace gradwire
