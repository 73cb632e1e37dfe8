// SPDX-License-Identifier: Apache-2.0
// Bytes that are not a snapshot of the job are refused by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/little_endian.h"
#include "common/replica/snapshot.h"
#include "tests/common/replica/test_records.h"

namespace gradwire {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

constexpr char kJob[] =
    "model { tensors { tensor { name: 'a' shape: 2 shape: 3 } tensor { name: 'b' shape: 4 } } } "
    "steps: 9 optimizer: 'sgd:0.1,0.9'";

std::string Snapshot() { return EncodeSnapshot(TrainedReplica(MakeTestJob(kJob), 2), true); }

uint64_t HeaderSize(const std::string& bytes) { return LoadLittleEndian<uint64_t>(bytes.data()); }

std::string Assemble(const std::string& header, const std::string& data) {
  std::string bytes;
  AppendLittleEndian(uint64_t{header.size()}, &bytes);
  return bytes + header + data;
}

// The snapshot with one text in its header replaced.
std::string Edited(const char* from, const char* to) {
  const std::string bytes = Snapshot();
  const std::string header = bytes.substr(8, HeaderSize(bytes));
  const std::string edited = absl::StrReplaceAll(header, {{from, to}});
  EXPECT_NE(edited, header) << "\"" << from << "\" is not in " << header;
  return Assemble(edited, bytes.substr(8 + header.size()));
}

void ExpectRefused(const std::string& bytes, StatusCode code, const std::string& want) {
  const absl::Status status = DecodeSnapshot(*MakeTestJob(kJob), bytes).status();
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(want));
}

TEST(SnapshotRefusalTest, HeaderMustBeTheJobs) {
  const struct {
    const char* from;
    const char* to;
    const char* want;
  } cases[] = {
      {"{", "[", "its header is not a JSON object"},
      {"__metadata__", "metadata", "it has no metadata: not a snapshot of gradwire"},
      {"gradwire.version", "version", "metadata gradwire.version is missing or not a string"},
      {"\"gradwire.version\":\"2\"", "\"gradwire.version\":2", "missing or not a string"},
      {"\"gradwire.version\":\"2\"", "\"gradwire.version\":\"-2\"", "\"-2\" is not a number"},
      {"\"gradwire.version\":\"2\"", "\"gradwire.version\":\"99999999999999999999\"",
       "is not a number"},
      {"\"gradwire.version\":\"2\"", "\"gradwire.version\":\"1\"",
       "2 updates applied at version 1"},
      {"\"gradwire.apply_revision\":\"1\"", "\"gradwire.apply_revision\":\"2\"",
       "apply revision 2, this build has 1"},
      {"\"gradwire.schema_hash\":\"", "\"gradwire.schema_hash\":\"0", "is not the job's"},
      {"\"gradwire.chain_hash\":\"", "\"gradwire.chain_hash\":\"g", "not 32 hexadecimal digits"},
      {"\"gradwire.chain_hash\":\"", "\"gradwire.chain_hash\":\"00", "not 32 hexadecimal digits"},
      {"gradwire.job", "job", "metadata gradwire.job is missing"},
      {"\"a\":{\"dtype\":\"F32\"", "\"a\":{\"dtype\":\"F16\"", "tensor \"a\" is {"},
      {"\"shape\":[2,3]", "\"shape\":[3,2]", "not {"},
      {"\"shape\":[2,3]", "\"shape\":[6]", "tensor \"a\" is {"},
      {"\"shape\":[2,3]", "\"shape\":[2,-3]", "tensor \"a\" is {"},
      {"\"shape\":[2,3]", "\"shape\":[2.5,3]", "tensor \"a\" is {"},
      {"\"shape\":[2,3]", "\"shape\":\"[2,3]\"", "tensor \"a\" is {"},
      {"[24,40]", "[20,36]", "tensor \"b\" is {"},                    // overlaps a
      {"[24,40]", "[28,44]", "tensor \"b\" is {"},                    // leaves a gap
      {"[24,40]", "[40,24]", "tensor \"b\" is {"},                    // backwards
      {"[24,40]", "[24,18446744073709551615]", "tensor \"b\" is {"},  // and beyond
      {"\"b\":{", "\"c\":{", "tensor \"b\" is missing"},
      {"\"optimizer.momentum/b\"", "\"optimizer.other/b\"", "momentum/b\" is missing"},
      {"\"b\":{", "\"c\":{},\"b\":{", "it has 5 tensors, the job has 4"},
      {"\"a\":{", "\"a\":1,\"x\":{", "tensor \"a\" is missing"},
      {"\"steps\\\"", "\xff\xfe", "its header is not a JSON object"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(absl::StrCat(c.from, " -> ", c.to));
    ExpectRefused(Edited(c.from, c.to), StatusCode::kInvalidArgument, c.want);
  }
}

TEST(SnapshotRefusalTest, EveryCutIsSeen) {
  const std::string bytes = Snapshot();
  for (size_t size = 0; size < bytes.size(); ++size) {
    const absl::Status status = DecodeSnapshot(*MakeTestJob(kJob), bytes.substr(0, size)).status();
    ASSERT_EQ(status.code(), StatusCode::kDataLoss) << size << " " << status;
  }
  ExpectRefused(bytes.substr(0, 5), StatusCode::kDataLoss, "it has 5 bytes of at least 8");
  ExpectRefused(bytes + "x", StatusCode::kInvalidArgument, "81 bytes of data, its tensors have 80");
}

TEST(SnapshotRefusalTest, HeaderLengthIsNotBelieved) {
  std::string bytes = Snapshot();
  for (const uint64_t size : {uint64_t{100000001}, ~uint64_t{0}, uint64_t{1} << 63}) {
    std::string prefix;
    AppendLittleEndian(size, &prefix);
    ExpectRefused(prefix + bytes.substr(8), StatusCode::kInvalidArgument,
                  absl::StrCat("header of ", size, " bytes, the limit is 100000000"));
  }
  ExpectRefused(std::string(8, '\0') + bytes.substr(8), StatusCode::kInvalidArgument,
                "its header is not a JSON object");
}

TEST(SnapshotRefusalTest, DeepNestingIsOnlyRefused) {
  const std::string header(1000000, '[');
  ExpectRefused(Assemble(header, ""), StatusCode::kInvalidArgument, "is not a JSON object");
  ExpectRefused(Assemble(header + std::string(1000000, ']'), ""), StatusCode::kInvalidArgument,
                "is not a JSON object");
}

TEST(SnapshotRefusalTest, ParametersMustBeFiniteAndStateBeNumbers) {
  const struct {
    size_t place;
    float value;
    const char* want;
  } cases[] = {
      {4, std::numeric_limits<float>::quiet_NaN(), "snapshot: a[4] is nan, not finite"},
      {6, std::numeric_limits<float>::infinity(), "snapshot: b[0] is inf, not finite"},
      {19, std::numeric_limits<float>::quiet_NaN(), "optimizer.momentum/b[3] is nan, no number"},
  };
  for (const auto& c : cases) {
    std::string bytes = Snapshot();
    std::memcpy(&bytes[8 + HeaderSize(bytes) + c.place * sizeof(float)], &c.value, sizeof(float));
    ExpectRefused(bytes, StatusCode::kInvalidArgument, c.want);
  }
  // A sum of squares may have overflowed; the job goes on with it, and must after a restart.
  const float infinity = std::numeric_limits<float>::infinity();
  std::string bytes = Snapshot();
  std::memcpy(&bytes[8 + HeaderSize(bytes) + 19 * sizeof(float)], &infinity, sizeof(float));
  EXPECT_TRUE(DecodeSnapshot(*MakeTestJob(kJob), bytes).ok());
}

// Adam with EF21 and a basis: a double for each running product, the mean, and what is behind it.
constexpr char kWholeJob[] =
    "model { tensors { tensor { name: 'm' shape: 12 shape: 10 } } } steps: 9 "
    "codec: 'powersgd:1' error_feedback: 'ef21' optimizer: 'adam'";

TEST(SnapshotRefusalTest, DamageInScalarsMeanAndBasesIsNamed) {
  const auto job = MakeTestJob(kWholeJob);
  const Replica replica(job);
  const std::string whole = EncodeSnapshot(replica, true);
  ASSERT_EQ(replica.state().size(), 3U);
  ASSERT_GT(replica.scalars().size(), 0U);
  ASSERT_GT(replica.bases().size(), 0U);
  const size_t scalars_at = 8 + HeaderSize(whole) + 4 * 120 * 4;
  const size_t bases_at = scalars_at + 8 * replica.scalars().size();
  const struct {
    size_t at;
    bool is_double;
    const char* want;
  } values[] = {
      {8 + HeaderSize(whole) + 3 * 120 * 4 + 4 * 17, false, "feedback.mean/m[17] is nan"},
      {scalars_at, true, "optimizer.scalars[0] is nan"},
      {bases_at + 8, false, "codec.bases[2] is nan"},
  };
  for (const auto& c : values) {
    std::string bytes = whole;
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const double wide = std::numeric_limits<double>::quiet_NaN();
    if (c.is_double) std::memcpy(&bytes[c.at], &wide, sizeof(wide));
    if (!c.is_double) std::memcpy(&bytes[c.at], &nan, sizeof(nan));
    const absl::Status status = DecodeSnapshot(*job, bytes).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
  const struct {
    const char* from;
    const char* to;
    const char* want;
  } edits[] = {
      {"\"dtype\":\"F64\"", "\"dtype\":\"F32\"", "tensor \"optimizer.scalars\" is {"},
      {"\"codec.bases\"", "\"codec.base\"", "tensor \"codec.bases\" is missing"},
      {"\"feedback.mean/m\"", "\"feedback.men/m\"", "tensor \"feedback.mean/m\" is missing"},
      {"\"gradwire.reset_id\":\"0\"", "\"gradwire.reset_id\":\"x\"",
       "metadata gradwire.reset_id: \"x\" is not a number"},
      {"\"gradwire.reset_id\":\"0\"", "\"gradwire.reset_id\":0",
       "metadata gradwire.reset_id is missing or not a string"},
  };
  for (const auto& c : edits) {
    SCOPED_TRACE(c.to);
    const std::string header =
        absl::StrReplaceAll(whole.substr(8, HeaderSize(whole)), {{c.from, c.to}});
    const absl::Status status =
        DecodeSnapshot(*job, Assemble(header, whole.substr(8 + HeaderSize(whole)))).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

TEST(SnapshotRefusalTest, OneWithoutAResetIdIsOfTheFirstRelease) {
  const auto job = MakeTestJob(kJob);
  const auto contents = DecodeSnapshot(*job, Edited("\"gradwire.reset_id\":\"0\",", ""));
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(contents->reset_id, 0U);
}

TEST(SnapshotRefusalTest, AnotherJobsSnapshotIsRefused) {
  const auto other = MakeTestJob(absl::StrCat(kJob, " seed: 2"));
  const absl::Status status = DecodeSnapshot(*other, Snapshot()).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("other tensors, codec, optimizer or seed"));
}

}  // namespace
}  // namespace gradwire
