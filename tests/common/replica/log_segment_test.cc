// SPDX-License-Identifier: Apache-2.0
// Segments are byte for byte what the grammar says, and nothing damaged is taken for a record.
#include "common/replica/log_segment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "common/base/little_endian.h"
#include "tests/common/replica/crashing_file_system.h"
#include "tests/common/replica/log_records.h"

namespace gradwire {
namespace {

using testing::HasSubstr;
using Kind = SegmentScanner::Found::Kind;

constexpr SegmentHeader kHeader = {.apply_revision = 1, .schema_hash = 0x1122334455667788};

// From storage_reference.py, which has an encoder of its own.
constexpr char kGolden[] =
    "47575345474d4e54010000000100000000000000000000008877665544332211000000000000000000000000"
    "00000000f71646cf6d170ae5475752430100000000000000000000003b2d6c016cc4093e7c4af187e743bfa6"
    "02000000000000000000000000000000f3fa4c3ba72e36ffc5b15e333008fb6e020000002200475752430200"
    "0000010000000000000063f41ba7822f6fa4c3360faa1e6f5d1c1f0000000000000003000000000000006819"
    "90d6018393779387e5cab4851d24090000001600000008011a051203010203080122120a103b2d6c016cc409"
    "3e7c4af187e743bfa6737276";

Chain GoldenChain() {
  v1::UpdatePart first;
  first.mutable_header();
  v1::UpdatePart blocks;
  blocks.set_version(1);
  blocks.add_blocks()->set_payload("\1\2\3");
  v1::UpdatePart commit;
  commit.set_version(1);
  Chain chain = {MakeRecord(0, {first.SerializeAsString()})};
  commit.mutable_header()->set_previous_chain_hash(std::string(AsView(chain[0]->chain_hash)));
  chain.push_back(
      MakeRecord(1, {blocks.SerializeAsString(), commit.SerializeAsString()}, 0, "srv"));
  return chain;
}

std::string Encode(const Chain& chain) {
  std::string bytes = EncodeSegmentHeader(kHeader);
  for (const auto& record : chain) bytes += EncodeRecord(*record);
  return bytes;
}

// A scanner of these bytes as a file of a disk in memory.
class Scanned {
 public:
  explicit Scanned(const std::string& bytes)
      : scanner_((Put(&disk_, bytes), &disk_), "/segment", bytes.size()) {}

  SegmentScanner* operator->() { return &scanner_; }

 private:
  static void Put(CrashingFileSystem* disk, const std::string& bytes) {
    EXPECT_TRUE((*disk->Create("/segment"))->Append(bytes).ok());
  }

  CrashingFileSystem disk_;
  SegmentScanner scanner_;
};

// Changes a record's header, and makes its hash right again.
template <typename T>
std::string WithHeaderField(std::string record, size_t offset, T value) {
  std::string bytes;
  AppendLittleEndian(value, &bytes);
  record.replace(offset, bytes.size(), bytes);
  bytes.clear();
  AppendLittleEndian(Hash64(absl::string_view(record).substr(0, kRecordHeaderBytes - 8)), &bytes);
  return record.replace(kRecordHeaderBytes - 8, 8, bytes);
}

TEST(LogSegmentTest, IsByteForByteWhatTheGrammarSays) {
  EXPECT_EQ(absl::BytesToHexString(Encode(GoldenChain())), kGolden);
}

TEST(LogSegmentTest, ReadsTheGoldenBytes) {
  Scanned scanner(absl::HexStringToBytes(kGolden));
  const auto header = scanner->ReadHeader();
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->apply_revision, kHeader.apply_revision);
  EXPECT_EQ(header->first_version, 0U);
  EXPECT_EQ(header->schema_hash, kHeader.schema_hash);
  EXPECT_EQ(header->previous_chain_hash, ChainHash{});
  uint64_t offset = kSegmentHeaderBytes;
  for (const auto& record : GoldenChain()) {
    const auto found = scanner->ReadRecord(offset);
    ASSERT_TRUE(found.ok()) << found.status();
    ASSERT_EQ(found->kind, Kind::kRecord) << found->reason;
    EXPECT_TRUE(Same(*CopyOf(found->record), *record));
    offset += found->size;
  }
  EXPECT_EQ(scanner->ReadRecord(offset)->kind, Kind::kEnd);
}

TEST(LogSegmentTest, RefusesEveryFlippedBitAndEveryLengthOfAHeader) {
  const std::string bytes =
      EncodeSegmentHeader({.apply_revision = 7, .first_version = 5, .schema_hash = 9});
  ASSERT_EQ(bytes.size(), kSegmentHeaderBytes);
  ASSERT_TRUE(DecodeSegmentHeader(bytes).ok());
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_TRUE(absl::IsDataLoss(DecodeSegmentHeader(flipped).status())) << bit;
  }
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_TRUE(absl::IsDataLoss(DecodeSegmentHeader(bytes.substr(0, size)).status())) << size;
  }
}

TEST(LogSegmentTest, RefusesEveryFlippedBitAndEveryLengthOfARecord) {
  const std::string bytes = EncodeRecord(*GoldenChain()[1]);
  ASSERT_TRUE(DecodeRecord(bytes).ok());
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_TRUE(absl::IsDataLoss(DecodeRecord(flipped).status())) << bit;
  }
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_TRUE(absl::IsDataLoss(DecodeRecord(bytes.substr(0, size)).status())) << size;
  }
  EXPECT_TRUE(absl::IsDataLoss(DecodeRecord(bytes + "x").status()));
}

TEST(LogSegmentTest, TellsTheFormatThatItCannotRead) {
  std::string bytes = EncodeSegmentHeader(kHeader);
  bytes[8] = 2;
  std::string hash;
  AppendLittleEndian(Hash64(absl::string_view(bytes).substr(0, kSegmentHeaderBytes - 8)), &hash);
  bytes.replace(kSegmentHeaderBytes - 8, 8, hash);
  const absl::Status status = DecodeSegmentHeader(bytes).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("of format 2, this build reads format 1"));
}

TEST(LogSegmentTest, BelievesNoLengthThatDoesNotFitEvenUnderARightHash) {
  const std::string bytes = EncodeRecord(*GoldenChain()[1]);
  ASSERT_EQ(WithHeaderField(bytes, 4, uint32_t{2}), bytes);
  for (const uint32_t parts : {0U, 1U, 3U, 0x40000000U, 0xFFFFFFFFU}) {
    EXPECT_TRUE(absl::IsDataLoss(DecodeRecord(WithHeaderField(bytes, 4, parts)).status())) << parts;
  }
  EXPECT_TRUE(absl::IsDataLoss(DecodeRecord(WithHeaderField(bytes, 16, uint64_t{7})).status()))
      << "a chain hash of other parts";
  for (const size_t field : {size_t{32}, size_t{40}}) {
    for (const uint64_t size : {~uint64_t{0}, ~uint64_t{0} - 7, uint64_t{1} << 63,
                                uint64_t{1} << 40, uint64_t{0}, uint64_t{4}}) {
      EXPECT_TRUE(absl::IsDataLoss(DecodeRecord(WithHeaderField(bytes, field, size)).status()))
          << field << " " << size;
    }
  }
}

TEST(LogSegmentTest, FollowsOnlyTheRecordThatItNames) {
  const Chain chain = MakeChain(4);
  const Chain other = MakeChain(4, 3, 'b');
  EXPECT_TRUE(CheckFollows(ViewOf(*chain[0]), 0, ChainHash{}).ok());
  for (size_t version = 1; version < chain.size(); ++version) {
    const RecordView record = ViewOf(*chain[version]);
    EXPECT_TRUE(CheckFollows(record, version, chain[version - 1]->chain_hash).ok());
    EXPECT_FALSE(CheckFollows(record, version, other[version - 1]->chain_hash).ok());
    EXPECT_FALSE(CheckFollows(record, version + 1, chain[version - 1]->chain_hash).ok());
    EXPECT_FALSE(CheckFollows(record, version, ChainHash{}).ok());
  }
  const auto nonsense = MakeRecord(0, {"nonsense"});
  const absl::Status status = CheckFollows(ViewOf(*nonsense), 0, ChainHash{});
  EXPECT_THAT(std::string(status.message()), HasSubstr("record 0 is not made of UpdateParts"));
  EXPECT_FALSE(CheckFollows(ViewOf(*MakeRecord(0, {})), 0, ChainHash{}).ok());
}

TEST(LogSegmentTest, ReadsSegmentsLongerThanItsBuffer) {
  const Chain chain = MakeChain(7, 2'000'003);  // up to 6 MB a record
  Scanned scanner(Encode(chain));
  uint64_t offset = kSegmentHeaderBytes;
  for (const auto& record : chain) {
    const auto found = scanner->ReadRecord(offset);
    ASSERT_TRUE(found.ok()) << found.status();
    ASSERT_EQ(found->kind, Kind::kRecord) << found->reason;
    EXPECT_TRUE(Same(*CopyOf(found->record), *record));
    offset += found->size;
  }
  EXPECT_EQ(scanner->ReadRecord(offset)->kind, Kind::kEnd);
}

TEST(LogSegmentTest, FindsARecordBehindAnyGarbage) {
  const std::string record = EncodeRecord(*MakeChain(1)[0]);
  std::string garbage(size_t{4} << 20, 'x');  // as much as is read ahead
  for (const size_t size : {0, 1, 63, 64, 4097, (4 << 20) - 3, (4 << 20) - 1, 4 << 20}) {
    // Magics without records, and a header whose body is another.
    std::string bytes = garbage.substr(0, static_cast<size_t>(size));
    if (size > 300) bytes.replace(10, 8, "GWRCGWRC").replace(50, 64, record, 0, 64);
    Scanned scanner(bytes + record + "end");
    const auto found = scanner->FindRecord(0);
    ASSERT_TRUE(found.ok()) << found.status();
    ASSERT_EQ(found->kind, Kind::kRecord) << size;
    EXPECT_EQ(found->offset, bytes.size());
    EXPECT_EQ(scanner->FindRecord(found->offset + 1)->kind, Kind::kEnd);
  }
}

TEST(LogSegmentTest, SaysWhatIsWrongWithARecord) {
  const std::string bytes = Encode(MakeChain(1));
  const struct {
    size_t size;
    const char* reason;
  } cases[] = {{kSegmentHeaderBytes + 1, "header is cut: 1 of 64 bytes"},
               {kSegmentHeaderBytes + 64, "bytes after its header, but 0 are there"},
               {bytes.size() - 1, "bytes are there"}};
  for (const auto& c : cases) {
    Scanned scanner(bytes.substr(0, c.size));
    const auto found = scanner->ReadRecord(kSegmentHeaderBytes);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(found->kind, Kind::kDamaged) << c.size;
    if (c.size == bytes.size() - 1) continue;
    EXPECT_THAT(found->reason, HasSubstr(c.reason));
  }
}

}  // namespace
}  // namespace gradwire
