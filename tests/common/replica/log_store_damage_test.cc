// SPDX-License-Identifier: Apache-2.0
// After any damage the log on disk has a prefix of its records, and says so, or it refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/replica/job.h"
#include "common/replica/log_segment.h"
#include "common/replica/log_store.h"
#include "tests/common/replica/log_store_fixture.h"

namespace gradwire {
namespace {

using testing::HasSubstr;

TEST_F(LogStoreTest, RefusesAnotherJobsLogAndAnotherRevisions) {
  WriteLog(MakeChain(3));
  const std::string path = SegmentPath(kFolder, 0);
  const std::string bytes = FileBytes(path);
  options_.schema_hash = kSchema + 1;
  absl::Status status = OpenError();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr(path + " is of another job"));
  options_.schema_hash = kSchema;
  SetFile(path,
          EncodeSegmentHeader(
              {.apply_revision = kApplyRevision + 1, .first_version = 0, .schema_hash = kSchema}) +
              bytes.substr(kSegmentHeaderBytes));
  status = OpenError();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr(path + " is of apply revision"));
}

TEST_F(LogStoreTest, AfterEveryFlippedBitRecoversAPrefixOrRefuses) {
  const Chain chain = MakeChain(7);
  WriteLog(chain, {2, 4});
  size_t recovered = 0;
  size_t refused = 0;
  for (const uint64_t segment : {0, 2, 4}) {
    const std::string path = SegmentPath(kFolder, segment);
    const std::string bytes = FileBytes(path);
    for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      SCOPED_TRACE(testing::Message() << path << " bit " << bit);
      const auto damaged = disk_.AfterKill();
      std::string flipped = bytes;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
      ASSERT_TRUE((*damaged->OpenToAppend(path))->WriteAt(0, flipped).ok());
      options_.files = damaged.get();
      const auto store = LogStore::Open(options_);
      if (!store.ok()) {
        ++refused;
        ASSERT_EQ(store.status().code(), absl::StatusCode::kDataLoss) << store.status();
        ASSERT_THAT(std::string(store.status().message()), HasSubstr(path + ": at offset "));
        ASSERT_THAT(std::string(store.status().message()), HasSubstr("restore the file"));
        ASSERT_EQ(*damaged->Read(path, bytes.size()), flipped);
        continue;
      }
      ++recovered;
      ASSERT_EQ(segment, 4U);
      ASSERT_TRUE((*store)->cut().has_value());
      ASSERT_EQ((*store)->cut()->file, path);
      ASSERT_EQ((*store)->cut()->version, 6U);
      ASSERT_TRUE((*store)->cut()->possibly_acknowledged);
      ExpectRecords(**store, chain, 0, 6);
      ASSERT_TRUE((*store)->Append(*chain[6]).ok());
      ExpectRecords(**store, chain, 0, 7);
    }
  }
  EXPECT_EQ(recovered, EncodeRecord(*chain[6]).size() * 8);
  EXPECT_GT(refused, recovered);
}

TEST_F(LogStoreTest, AtEveryLengthRecoversAPrefixOrRefuses) {
  const Chain chain = MakeChain(7);
  WriteLog(chain, {2, 4});
  for (const uint64_t segment : {0, 2, 4}) {
    const std::string path = SegmentPath(kFolder, segment);
    const size_t whole = FileBytes(path).size();
    const size_t first_end = kSegmentHeaderBytes + EncodeRecord(*chain[segment]).size();
    const size_t second_end = first_end + EncodeRecord(*chain[segment + 1]).size();
    for (size_t size = 0; size < whole; ++size) {
      SCOPED_TRACE(testing::Message() << path << " of " << size << " bytes");
      const auto cut = disk_.AfterKill();
      ASSERT_TRUE((*cut->OpenToAppend(path))->Truncate(size).ok());
      options_.files = cut.get();
      const auto store = LogStore::Open(options_);
      if (segment != 4) {
        ASSERT_EQ(store.status().code(), absl::StatusCode::kDataLoss) << store.status();
        continue;
      }
      ASSERT_TRUE(store.ok()) << store.status();
      ExpectRecords(**store, chain, 0, size < first_end ? 4 : size < second_end ? 5 : 6);
      // A record that is missing whole leaves no trace.
      ASSERT_EQ((*store)->cut().has_value(), size != first_end && size != second_end);
      ASSERT_TRUE((*store)->Append(*chain[(*store)->next_version()]).ok());
    }
  }
}

TEST_F(LogStoreTest, SaysWhatItCut) {
  const Chain chain = MakeChain(3);
  WriteLog(chain);
  const std::string path = SegmentPath(kFolder, 0);
  const uint64_t end = *disk_.Size(path);
  const uint64_t begin = end - EncodeRecord(*chain[2]).size();
  ASSERT_TRUE((*disk_.OpenToAppend(path))->Truncate(end - 1).ok());
  const auto store = MustOpen();
  ASSERT_TRUE(store->cut().has_value());
  EXPECT_EQ(store->cut()->version, 2U);
  EXPECT_EQ(store->cut()->file, path);
  EXPECT_EQ(store->cut()->offset, begin);
  EXPECT_THAT(store->cut()->reason, HasSubstr("bytes after its header"));
  EXPECT_EQ(*disk_.Size(path), begin);
  EXPECT_FALSE(MustOpen()->cut().has_value());  // said once
}

TEST_F(LogStoreTest, RefusesALogWithAHole) {
  WriteLog(MakeChain(6), {2, 4});
  const auto without_middle = disk_.AfterKill();
  ASSERT_TRUE(without_middle->Remove(SegmentPath(kFolder, 2)).ok());
  options_.files = without_middle.get();
  absl::Status status = OpenError();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("records 2 to 3 are missing"));
  // Segments of two histories.
  const auto mixed = disk_.AfterKill();
  {
    CrashingFileSystem other;
    options_.files = &other;
    WriteLog(MakeChain(6, 3, 'b'), {2, 4});
    const auto file = mixed->Create(SegmentPath(kFolder, 4));
    ASSERT_TRUE((*file)->Append(*other.Read(SegmentPath(kFolder, 4), 100000)).ok());
  }
  options_.files = mixed.get();
  status = OpenError();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("the segment does not follow the one before it"));
  // A segment under another's name.
  ASSERT_TRUE(disk_.Rename(SegmentPath(kFolder, 4), SegmentPath(kFolder, 5)).ok());
  options_.files = &disk_;
  status = OpenError();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("has another's name"));
}

TEST_F(LogStoreTest, RefusesARecordOfAnotherHistoryWhereverItStands) {
  const Chain chain = MakeChain(3);
  WriteLog(chain);
  ASSERT_TRUE((*disk_.OpenToAppend(SegmentPath(kFolder, 0)))
                  ->Append(EncodeRecord(*MakeChain(4, 3, 'b')[3]))
                  .ok());
  const absl::Status status = OpenError();  // whole, so not to be cut
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("record 3 does not follow"));
}

TEST_F(LogStoreTest, RemovesNewestSegmentsWithoutARecord) {
  const Chain chain = MakeChain(4);
  WriteLog(chain, {2});
  const std::string header = EncodeSegmentHeader({.apply_revision = kApplyRevision,
                                                  .first_version = 4,
                                                  .schema_hash = kSchema,
                                                  .previous_chain_hash = chain[3]->chain_hash});
  for (const std::string& left :
       {std::string(), header.substr(0, 20), header, header + "GWRC", std::string(300, '\0')}) {
    SetFile(SegmentPath(kFolder, 4), left);
    SetFile(PartialSegmentPath(SegmentPath(kFolder, 4)), header);
    const auto store = MustOpen();
    ExpectRecords(*store, chain, 0, 4);
    ASSERT_TRUE(store->cut().has_value());
    EXPECT_EQ(store->cut()->version, 4U);
    EXPECT_EQ(disk_.List(kFolder)->size(), 2U);
  }
}

TEST_F(LogStoreTest, ASegmentOverridesTheTailBeforeIt) {
  const Chain chain = MakeChain(6);
  Chain other(chain.begin(), chain.begin() + 3);
  other.push_back(MakeNextRecord(other.back().get(), 3, 'b'));
  other.push_back(MakeNextRecord(other.back().get(), 3, 'b'));
  const auto other_disk = disk_.AfterKill();
  WriteLog(Chain(chain.begin(), chain.begin() + 5));
  const std::string whole = FileBytes(SegmentPath(kFolder, 0));
  options_.files = other_disk.get();
  WriteLog(other, {3});
  const std::string tail = *other_disk->Read(SegmentPath(kFolder, 3), 100000);
  options_.files = &disk_;
  SetFile(SegmentPath(kFolder, 3), tail);
  ExpectRecords(*MustOpen(), other, 0, 5);
  const size_t kept = whole.size() - EncodeRecord(*chain[4]).size();
  SetFile(SegmentPath(kFolder, 0), whole.substr(0, kept) + "garbage");
  ExpectRecords(*MustOpen(), other, 0, 5);
}

}  // namespace
}  // namespace gradwire
