// SPDX-License-Identifier: Apache-2.0
// GetModel over real connections: the file's bytes, while others train, whatever the caller does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/replica/snapshot.h"
#include "tests/common/replica/test_records.h"
#include "tests/server/fake_cluster.h"
#include "tests/server/grpc_worker.h"

namespace gradwire {
namespace {

using ::testing::HasSubstr;

// With momentum: the snapshot has twice as many values as the model, 32 MB.
constexpr char kBigJob[] =
    "model { tensors { tensor { name: 'w' shape: 4000000 } } } steps: 1000 snapshot_every: 1 "
    "codec: 'random_k:0.00001' optimizer: 'sgd:lr=1,momentum=0.5' membership { lease_seconds: 60 }";

// random_k takes 3 values of each of its 15 full blocks, and 1 of the last.
constexpr ptrdiff_t kChosen = 15 * 3 + 1;

// A server, and a worker that trains when it is told.
class GetModelTest : public testing::Test {
 protected:
  void Start(const std::string& job, ServerOptions options = {}) {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    server_ = StartServer(job, absl::StrCat("get_model_", test->name()), std::move(options));
    worker_ = std::make_unique<GrpcWorker>(server_->address(), "a");
    ASSERT_TRUE(worker_->Enter());
    ASSERT_TRUE(worker_->ReadRecord(0, &parts_));
  }

  // One step, every value of whose gradient is 2.
  void Step() {
    const uint64_t step = ++version_;
    const Job& job = *server_->coordinator().job();
    for (const auto& message :
         MakePayload(job, step, ChainHash(), std::vector<float>(job.layout.dimension(), 2.0f))) {
      ASSERT_TRUE(worker_->Send(message));
    }
    parts_.clear();
    ASSERT_TRUE(worker_->ReadRecord(step, &parts_));
  }

  std::string ChainHash() const { return std::string(AsView(ChainHashOf(parts_))); }
  const Snapshots& snapshots() { return server_->coordinator().snapshots(); }

  using Reader = grpc::ClientReader<v1::GetModelResponse>;
  std::unique_ptr<Reader> Call(const v1::GetModelRequest& request, grpc::ClientContext* context) {
    SetDeadline(context);
    return worker_->stub().GetModel(context, request);
  }
  // The whole file, and the first message.
  grpc::Status Fetch(const v1::GetModelRequest& request, v1::GetModelResponse* first,
                     std::string* file) {
    grpc::ClientContext context;
    const auto reader = Call(request, &context);
    file->clear();
    return ReadOn(reader.get(), first, file);
  }
  static grpc::Status ReadOn(Reader* reader, v1::GetModelResponse* first, std::string* file) {
    v1::GetModelResponse response;
    for (bool begun = !file->empty(); reader->Read(&response); begun = true) {
      if (!begun) *first = response;
      EXPECT_LE(response.chunk().size(), size_t{1} << 20);
      file->append(response.chunk());
    }
    return reader->Finish();
  }

  std::unique_ptr<Server> server_;
  std::unique_ptr<GrpcWorker> worker_;
  uint64_t version_ = 0;
  std::vector<std::string> parts_;  // of the newest record
};

v1::GetModelRequest WithState() {
  v1::GetModelRequest request;
  request.set_with_state(true);
  return request;
}

TEST_F(GetModelTest, TheNewestSnapshotIsSentWithAndWithoutState) {
  Start(kBigJob);
  v1::GetModelResponse first;
  std::string file;
  EXPECT_EQ(Fetch({}, &first, &file).error_code(), grpc::StatusCode::NOT_FOUND);
  Step();
  WaitForSnapshot(snapshots(), 1);
  ASSERT_TRUE(Fetch(WithState(), &first, &file).ok());
  EXPECT_EQ(first.point().version(), 1u);
  EXPECT_EQ(first.point().chain_hash(), ChainHash());
  EXPECT_EQ(first.total_bytes(), file.size());
  const auto on_disk = ReadFile(snapshots().Newest(1)->path, size_t{1} << 26);
  ASSERT_TRUE(on_disk.ok());
  EXPECT_TRUE(file == *on_disk);
  // Without state: as a replica of these contents would be written.
  const auto& job = server_->coordinator().job();
  auto contents = DecodeSnapshot(*job, file);
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(std::count(contents->parameters.begin(), contents->parameters.end(), -2.0f), kChosen);
  Replica replica(job);
  ASSERT_TRUE(replica.Load(*std::move(contents)).ok());
  ASSERT_TRUE(Fetch({}, &first, &file).ok());
  EXPECT_EQ(first.point().chain_hash(), ChainHash());
  EXPECT_EQ(first.total_bytes(), file.size());
  EXPECT_TRUE(file == EncodeSnapshot(replica, false));
}

TEST_F(GetModelTest, NothingNewIsSaidWithoutAFile) {
  Start(kBigJob);
  Step();
  WaitForSnapshot(snapshots(), 1);
  v1::GetModelRequest request;
  request.set_not_newer_than(1);
  v1::GetModelResponse first;
  std::string file;
  ASSERT_TRUE(Fetch(request, &first, &file).ok());
  EXPECT_TRUE(first.not_modified());
  EXPECT_FALSE(first.has_point());
  EXPECT_TRUE(file.empty());
}

// The training goes on while a newcomer takes its snapshot slowly, which is removed meanwhile.
TEST_F(GetModelTest, ALateJoinerHoldsNobodyUpAndKeepsItsFile) {
  ServerOptions options;
  options.history.snapshots_kept = 1;
  Start(kBigJob, options);
  Step();
  WaitForSnapshot(snapshots(), 1);
  const std::string path = snapshots().Newest(1)->path;
  const auto on_disk = ReadFile(path, size_t{1} << 26);
  ASSERT_TRUE(on_disk.ok());
  grpc::ClientContext context;
  const auto reader = Call(WithState(), &context);
  v1::GetModelResponse first;
  ASSERT_TRUE(reader->Read(&first));
  std::string file = first.chunk();
  while (std::filesystem::exists(path)) Step();  // until the clock's tick has removed it
  EXPECT_GT(version_, 1u);
  ASSERT_TRUE(ReadOn(reader.get(), &first, &file).ok());
  EXPECT_EQ(first.point().version(), 1u);
  EXPECT_TRUE(file == *on_disk);
}

TEST_F(GetModelTest, TheRateIsKept) {
  constexpr double kRate = 64 << 20;
  ServerOptions options;
  options.models.bytes_per_second = kRate;
  Start(kBigJob, options);
  Step();
  WaitForSnapshot(snapshots(), 1);
  v1::GetModelResponse first;
  std::string file;
  const absl::Time begin = absl::Now();
  ASSERT_TRUE(Fetch(WithState(), &first, &file).ok());
  constexpr size_t kAtOnce = size_t{2} << 20;
  EXPECT_GE(absl::Now() - begin, absl::Seconds(static_cast<double>(file.size() - kAtOnce) / kRate));
}

TEST_F(GetModelTest, WhoNeverReadsIsCutOffAndMakesRoomForOthers) {
  ServerOptions options;
  options.models = {.bytes_per_second = 0, .max_receivers = 2, .patience = absl::Milliseconds(200)};
  Start(kBigJob, options);
  Step();
  WaitForSnapshot(snapshots(), 1);
  grpc::ClientContext idle_contexts[2];
  std::unique_ptr<Reader> idle[2];
  v1::GetModelResponse first;
  for (int i = 0; i < 2; ++i) {
    idle[i] = Call(WithState(), &idle_contexts[i]);
    ASSERT_TRUE(idle[i]->Read(&first));  // and nothing more
  }
  std::string file;
  grpc::Status status = Fetch(WithState(), &first, &file);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("try again"));
  for (int tries = 0; tries < 1000 && !status.ok(); ++tries) {
    Step();  // nobody waits for them
    status = Fetch(WithState(), &first, &file);
  }
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(file.size(), first.total_bytes());
  for (int i = 0; i < 2; ++i) {
    std::string rest;
    EXPECT_FALSE(ReadOn(idle[i].get(), &first, &rest).ok());
    EXPECT_LT(rest.size(), file.size());
  }
}

TEST_F(GetModelTest, CallsThatEndEarlyDoNoHarm) {
  Start(kBigJob);
  Step();
  WaitForSnapshot(snapshots(), 1);
  for (int i = 0; i < 40; ++i) {
    grpc::ClientContext context;
    const auto reader = Call(WithState(), &context);
    v1::GetModelResponse response;
    for (int reads = i % 4; reads > 0; --reads) ASSERT_TRUE(reader->Read(&response));
    context.TryCancel();
    reader->Finish();
  }
  v1::GetModelResponse first;
  std::string file;
  grpc::Status status = Fetch(WithState(), &first, &file);
  for (int tries = 0; tries < 1000 && !status.ok(); ++tries) {  // until the last have gone
    ASSERT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    status = Fetch(WithState(), &first, &file);
  }
  EXPECT_EQ(file.size(), first.total_bytes());
  // Shutdown does not wait for one that is under way.
  grpc::ClientContext context;
  const auto reader = Call(WithState(), &context);
  v1::GetModelResponse response;
  ASSERT_TRUE(reader->Read(&response));
  const absl::Time begin = absl::Now();
  server_->Shutdown(absl::Seconds(1));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(4));
  EXPECT_FALSE(ReadOn(reader.get(), &response, &file).ok());
}

}  // namespace
}  // namespace gradwire
