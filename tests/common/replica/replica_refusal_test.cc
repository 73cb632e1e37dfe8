// SPDX-License-Identifier: Apache-2.0
// Records that a replica must not apply: each is named, and nothing has changed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/replica/replica.h"
#include "tests/common/replica/test_records.h"

namespace gradwire {
namespace {

using absl::StatusCode;
using Parts = std::vector<v1::UpdatePart>;
using testing::HasSubstr;

// Two blocks, the second of three coordinates.
std::shared_ptr<const Job> TwoBlocks() {
  return MakeTestJob(absl::StrCat("model { tensors { tensor { name: 'w' shape: ", kBlockSize + 3,
                                  " } } } steps: 9 optimizer: 'sgd:0.1,0.9'"));
}

void ExpectRefused(Replica* replica, const Record& record, StatusCode code,
                   const std::string& want) {
  const uint64_t hash = replica->Hash();
  const uint64_t version = replica->version();
  const uint64_t applied = replica->applied();
  const ChainHash chain_hash = replica->chain_hash();
  const std::string header = replica->header().SerializeAsString();
  const absl::Status status = replica->Apply(record);
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(want));
  EXPECT_EQ(replica->Hash(), hash);
  EXPECT_EQ(replica->version(), version);
  EXPECT_EQ(replica->applied(), applied);
  EXPECT_EQ(replica->chain_hash(), chain_hash);
  EXPECT_EQ(replica->header().SerializeAsString(), header);
}

TEST(ReplicaRefusalTest, DamagedRecordsChangeNothing) {
  constexpr auto kInvalid = StatusCode::kInvalidArgument;
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const struct {
    const char* name;
    std::function<void(Parts*)> damage;  // parts[0] has block 0, parts[1] block 1 and the header
    StatusCode code;
    const char* want;
  } cases[] = {
      {"no_parts", [](Parts* p) { p->clear(); }, kInvalid, "record 4: it has no parts"},
      {"no_header", [](Parts* p) { p->back().clear_header(); }, kInvalid,
       "part 1 of 2 has not the header"},
      {"header_early", [](Parts* p) { *(*p)[0].mutable_header() = (*p)[1].header(); }, kInvalid,
       "part 0 of 2 has the header"},
      {"part_of_another_version", [](Parts* p) { (*p)[0].set_version(3); }, kInvalid,
       "part 0 of 2 is of version 3"},
      {"another_history",
       [](Parts* p) { (*p->back().mutable_header()->mutable_previous_chain_hash())[0] ^= 1; },
       StatusCode::kFailedPrecondition, "record 4 is of another history"},
      {"no_history", [](Parts* p) { p->back().mutable_header()->clear_previous_chain_hash(); },
       StatusCode::kFailedPrecondition, "record 4 is of another history"},
      {"nan_rate", [](Parts* p) { p->back().mutable_header()->set_learning_rate(kNan); }, kInvalid,
       "learning rate nan is not finite"},
      {"inf_rate", [](Parts* p) { p->back().mutable_header()->set_next_learning_rate(kInf); },
       kInvalid, "learning rate inf is not finite"},
      {"wrong_codec", [](Parts* p) { (*p)[1].set_codec(v1::CODEC_TOP_K); }, kInvalid,
       "codec 3 is not the job's, 1"},
      {"no_codec", [](Parts* p) { (*p)[0].clear_codec(); }, kInvalid, "codec 0 is not the job's"},
      {"block_missing", [](Parts* p) { (*p)[1].clear_blocks(); }, kInvalid, "it has 1 blocks of 2"},
      {"all_missing", [](Parts* p) { p->erase(p->begin()), p->back().clear_blocks(); }, kInvalid,
       "it has 0 blocks of 2"},
      {"block_twice", [](Parts* p) { *(*p)[0].add_blocks() = (*p)[0].blocks(0); }, kInvalid,
       "block 0 stands in place 1 of 2"},
      {"blocks_swapped",
       [](Parts* p) { (*p)[0].mutable_blocks(0)->Swap((*p)[1].mutable_blocks(0)); }, kInvalid,
       "block 1 stands in place 0 of 2"},
      {"one_too_many", [](Parts* p) { (*p)[1].add_blocks()->set_block(2); }, kInvalid,
       "block 2 stands in place 2 of 2"},
      {"payload_short", [](Parts* p) { (*p)[1].mutable_blocks(0)->mutable_payload()->pop_back(); },
       kInvalid, "record 4: block 1: "},
      {"payload_nan",
       [](Parts* p) {
         // The last value's exponent, all ones.
         std::string* payload = (*p)[1].mutable_blocks(0)->mutable_payload();
         payload->back() = '\x7f';
         (*payload)[payload->size() - 2] = '\xff';
       },
       kInvalid, "record 4: block 1: "},
      {"blocks_of_nobody", [](Parts* p) { p->back().mutable_header()->clear_used(); }, kInvalid,
       "block 0 stands in place 0 of 0"},
  };
  Replica replica = TrainedReplica(TwoBlocks(), 3);
  const std::vector<float> gradient = TestGradient(*replica.job(), 4);
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    Parts parts = NextParts(replica, gradient);
    c.damage(&parts);
    ExpectRefused(&replica, *Seal(4, parts), c.code, c.want);
  }
  EXPECT_TRUE(replica.Apply(*NextRecord(replica, gradient)).ok());  // and it goes on
}

TEST(ReplicaRefusalTest, BytesThatAreNotTheRecordsChangeNothing) {
  Replica replica = TrainedReplica(TwoBlocks(), 3);
  const auto record = NextRecord(replica, TestGradient(*replica.job(), 4));
  ExpectRefused(&replica, *MakeRecord(4, {"\xff\xff\xff", record->parts[1]}),
                StatusCode::kInvalidArgument, "part 0 of 2 is not an UpdatePart");
  std::vector<std::string> cut = record->parts;
  cut[1].resize(cut[1].size() / 2);
  ExpectRefused(&replica, *MakeRecord(4, cut), StatusCode::kInvalidArgument, "record 4: ");
}

TEST(ReplicaRefusalTest, OnlyTheNextVersionFollows) {
  Replica replica = TrainedReplica(TwoBlocks(), 3);
  const Parts parts = NextParts(replica, TestGradient(*replica.job(), 4));
  for (const uint64_t version : {0, 3, 5}) {
    ExpectRefused(&replica, *Seal(version, parts), StatusCode::kFailedPrecondition,
                  absl::StrCat("record ", version, " does not follow: the replica's next is 4"));
  }
  Replica fresh(TwoBlocks());
  ExpectRefused(&fresh, *Seal(1, parts), StatusCode::kFailedPrecondition,
                "the replica's next is 0");
}

TEST(ReplicaRefusalTest, FirstRecordHasNoUpdateAndNoHistory) {
  const struct {
    const char* name;
    std::function<void(v1::UpdatePart*)> damage;
    StatusCode code;
    const char* want;
  } cases[] = {
      {"contributors", [](v1::UpdatePart* p) { p->mutable_header()->add_used(); },
       StatusCode::kInvalidArgument, "the first record has no update"},
      {"blocks", [](v1::UpdatePart* p) { p->set_codec(v1::CODEC_IDENTITY), p->add_blocks(); },
       StatusCode::kInvalidArgument, "block 0 stands in place 0 of 0"},
      {"history",
       [](v1::UpdatePart* p) {
         p->mutable_header()->set_previous_chain_hash(std::string(16, '\0'));
       },
       StatusCode::kFailedPrecondition, "record 0 is of another history"},
  };
  Replica replica(TwoBlocks());
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    v1::UpdatePart part;
    part.mutable_header()->set_next_learning_rate(0.1F);
    c.damage(&part);
    ExpectRefused(&replica, *Seal(0, {part}), c.code, c.want);
    EXPECT_FALSE(replica.started());
  }
}

}  // namespace
}  // namespace gradwire
