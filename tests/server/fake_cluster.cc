// SPDX-License-Identifier: Apache-2.0
// Implementation of fake_cluster.h.
#include "tests/server/fake_cluster.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/replica/replica.h"
#include "tests/common/replica/test_records.h"

namespace gradwire {

void FakeStream::Wake() {
  MutexLock lock(&mu_);
  ++wakes_;
}

void FakeStream::Send(v1::Control control) {
  MutexLock lock(&mu_);
  controls_.push_back(std::move(control));
}

void FakeStream::Close(absl::Status status) {
  MutexLock lock(&mu_);
  if (!closed_.has_value()) closed_ = std::move(status);  // as a stream does: the first counts
}

int FakeStream::wakes() const {
  MutexLock lock(&mu_);
  return wakes_;
}

std::vector<v1::Control> FakeStream::controls() const {
  MutexLock lock(&mu_);
  return controls_;
}

size_t FakeStream::resends() const {
  size_t count = 0;
  for (const v1::Control& control : controls()) count += control.has_resend() ? 1 : 0;
  return count;
}

size_t FakeStream::resyncs() const {
  size_t count = 0;
  for (const v1::Control& control : controls()) count += control.has_resync() ? 1 : 0;
  return count;
}

size_t FakeStream::stops() const {
  size_t count = 0;
  for (const v1::Control& control : controls()) count += control.has_stop() ? 1 : 0;
  return count;
}

std::optional<absl::Status> FakeStream::closed() const {
  MutexLock lock(&mu_);
  return closed_;
}

std::string TestFolder() {
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  const std::string folder = absl::StrCat(testing::TempDir(), "/gradwire_server_",
                                          test->test_suite_name(), "_", test->name());
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

void WaitForSnapshot(const Snapshots& snapshots, uint64_t version) {
  for (int i = 0; i < 1000; ++i) {
    const auto newest = snapshots.Newest(UINT64_MAX);
    if (newest.has_value() && newest->version >= version) return;
    absl::SleepFor(absl::Milliseconds(10));
  }
  FAIL() << "no snapshot of version " << version;
}

std::vector<v1::Gradient> MakePayload(const Job& job, uint64_t step, absl::string_view chain_hash,
                                      std::vector<float> values, size_t blocks_per_message) {
  std::vector<v1::Gradient> messages;
  for (size_t block = 0; block < job.layout.blocks(); ++block) {
    if (block % blocks_per_message == 0) {
      v1::Gradient& message = messages.emplace_back();
      message.set_step(step);
      message.set_base_chain_hash(std::string(chain_hash));
      message.set_codec(job.plans[0].codec->id());
    }
    const BlockKey key = job.Key(step, block);
    v1::BlockPayload* added = messages.back().add_blocks();
    added->set_block(key.block);
    job.plans[0].codec->Encode(
        key, absl::MakeSpan(values).subspan(job.layout.block_offset(block), key.size),
        added->mutable_payload());
  }
  v1::GradientEnd* end = messages.back().mutable_end();
  end->set_samples(1);
  return messages;
}

v1::Gradient MakeAbstention(const Job& job, uint64_t step, absl::string_view chain_hash) {
  v1::Gradient message;
  message.set_step(step);
  message.set_base_chain_hash(std::string(chain_hash));
  message.set_codec(job.plans[0].codec->id());
  message.mutable_end()->set_abstained(true);
  message.mutable_end()->set_abstain_reason("w[3] is nan");
  return message;
}

std::vector<float> PayloadValues(absl::string_view payload) {
  std::vector<float> values(payload.size() / sizeof(float));
  std::memcpy(values.data(), payload.data(), values.size() * sizeof(float));
  return values;
}

std::vector<std::string> RecordPayloads(const Record& record) {
  std::vector<std::string> payloads;
  for (const std::string& bytes : record.parts) {
    v1::UpdatePart part;
    EXPECT_TRUE(part.ParseFromString(bytes));
    for (const v1::BlockPayload& block : part.blocks()) {
      EXPECT_EQ(block.block(), payloads.size());
      payloads.push_back(block.payload());
    }
  }
  return payloads;
}

v1::Header RecordHeader(const Record& record) {
  v1::UpdatePart part;
  EXPECT_TRUE(part.ParseFromString(record.parts.back()));
  EXPECT_TRUE(part.has_header());
  return part.header();
}

v1::Hello FakeWorker::who() const {
  v1::Hello hello;
  hello.set_worker_id(id);
  hello.set_incarnation(lease.incarnation());
  return hello;
}

FakeCluster::FakeCluster(const std::string& job_text, CoordinatorOptions options, Shard shard)
    : job(shard.alone() ? MakeTestJob(job_text) : *MakeJob(MakeTestJob(job_text)->config, shard)) {
  if (options.history.state_dir.empty()) options.history.state_dir = TestFolder();
  options.history.fsync.kind = FsyncPolicy::Kind::kNever;  // no power cut here
  auto made = Coordinator::Create(std::move(options), job, &clock, &counters);
  EXPECT_TRUE(made.ok()) << made.status();
  coordinator = *std::move(made);
}

absl::StatusOr<v1::JoinResponse> FakeCluster::Join(const std::string& id, uint64_t session) {
  v1::JoinRequest request;
  request.set_worker_id(id);
  request.set_session(session);
  request.set_apply_revision(kApplyRevision);
  return coordinator->Join(request, absl::StrCat("peer-of-", id));
}

FakeWorker FakeCluster::Enter(const std::string& id, uint64_t session) {
  FakeWorker worker = {
      .id = id, .session = session, .lease = {}, .stream = std::make_shared<FakeStream>()};
  const auto lease = Join(id, session);
  EXPECT_TRUE(lease.ok()) << lease.status();
  if (!lease.ok()) return worker;
  worker.lease = *lease;
  const auto next = coordinator->Hello(worker.who(), worker.stream);
  EXPECT_TRUE(next.ok()) << next.status();
  const absl::Status caught_up = coordinator->CaughtUp(worker.who());
  EXPECT_TRUE(caught_up.ok()) << caught_up;
  return worker;
}

std::vector<FakeWorker> FakeCluster::EnterAll(size_t count) {
  std::vector<FakeWorker> workers;
  for (size_t i = 0; i < count; ++i) workers.push_back(Enter(absl::StrCat("w", i)));
  return workers;
}

void FakeCluster::Heartbeat(const FakeWorker& worker) {
  v1::HeartbeatRequest request;
  request.set_worker_id(worker.id);
  request.set_incarnation(worker.lease.incarnation());
  const absl::Status status = coordinator->Heartbeat(request).status();
  EXPECT_TRUE(status.ok()) << status;
}

std::vector<v1::Gradient> FakeCluster::Payload(const std::vector<float>& values,
                                               size_t blocks_per_message) const {
  return MakePayload(*job, version() + 1, chain_hash(), values, blocks_per_message);
}

absl::Status FakeCluster::Push(const FakeWorker& worker, const std::vector<float>& values) {
  for (const v1::Gradient& message : Payload(values)) {
    if (absl::Status status = Send(worker, message); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status FakeCluster::Send(const FakeWorker& worker, const v1::Gradient& message) {
  return coordinator->Gradient(worker.who(), message);
}

void FakeCluster::BreakStream(const FakeWorker& worker) {
  coordinator->StreamEnded(worker.who(), worker.stream.get());
}

absl::Status FakeCluster::Leave(const FakeWorker& worker, absl::string_view reason) {
  v1::LeaveRequest request;
  request.set_worker_id(worker.id);
  request.set_incarnation(worker.lease.incarnation());
  request.set_reason(std::string(reason));
  return coordinator->Leave(request).status();
}

std::shared_ptr<const Record> FakeCluster::newest() const {
  return coordinator->log().Find(version());
}

std::string FakeCluster::chain_hash() const { return std::string(AsView(newest()->chain_hash)); }

v1::WorkerStatus FakeCluster::StatusOf(const std::string& id) {
  const v1::GetStatusResponse status = Status();
  for (const v1::WorkerStatus& row : status.workers()) {
    if (row.id() == id) return row;
  }
  ADD_FAILURE() << "no worker " << id;
  return {};
}

std::vector<float> FakeCluster::Parameters() const {
  Replica replica(job);
  for (uint64_t v = 0; v <= version(); ++v) {
    const absl::Status status = replica.Apply(*coordinator->log().Find(v));
    EXPECT_TRUE(status.ok()) << status;
  }
  return {replica.parameters().begin(), replica.parameters().end()};
}

}  // namespace gradwire
