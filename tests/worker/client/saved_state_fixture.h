// SPDX-License-Identifier: Apache-2.0
// A session that comes back to a job with a history, and a state directory.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tests/worker/client/history.h"
#include "tests/worker/client/session_fixture.h"
#include "tests/worker/data/files.h"

namespace gradwire {

inline constexpr uint64_t kVersions = 18;

class SavedStateTest : public testing::Test {
 protected:
  SavedStateTest() : folder_(MakeFolder("session_saved_state")) {}

  // The history of a job, and a server at its end which gives out incarnation 2.
  void Prepare(const TestJob& options) {
    job_ = MakeTestJob(options);
    history_ = std::make_unique<History>(job_, kWorker, kVersions);
    server_ = std::make_unique<FakeServer>(job_);
    server_->join.set_incarnation(2);
    *server_->join.mutable_newest() = history_->PointAt(kVersions);
    server_->on_join = [this](size_t, const v1::JoinRequest& request, v1::JoinResponse* response) {
      if (saved_on_log_) FindSaved(request, response);
    };
    server_->trains = {[this](TrainStreamPair* stream) { return Serve(stream); }};
    server_->Start();
    last_ = LastUpdate(2);
    MutexLock lock(&mu_);
    sent_.clear();
  }
  void SaveState(uint64_t version) {
    auto store = WorkerStateStore::Open({.state_dir = folder_, .worker_id = kWorker});
    ASSERT_TRUE(store.ok()) << store.status();
    const absl::Status saved = (*store)->Save(job_->schema_hash, history_->StateAt(version));
    ASSERT_TRUE(saved.ok()) << saved;
  }
  // As a server does: the newest point that is on its log.
  void FindSaved(const v1::JoinRequest& request, v1::JoinResponse* response) const {
    for (const v1::Point& point : request.saved()) {
      const uint64_t version = point.version();
      if (version > kVersions) continue;
      if (point.chain_hash() != AsView(history_->chain_hash(version))) continue;
      if (response->has_recover_at() && response->recover_at().version() >= version) continue;
      *response->mutable_recover_at() = point;
    }
  }
  // The records after the worker's point, and what it sends: until the record that answers it.
  grpc::Status Serve(TrainStreamPair* stream) {
    v1::TrainRequest hello, request;
    if (!ReadUntil(v1::TrainRequest::kHello, stream, &hello)) return grpc::Status::OK;
    const bool fresh = hello.hello().at().chain_hash().empty();
    const uint64_t first = fresh ? 0 : hello.hello().at().version() + 1;
    for (uint64_t v = first; v <= kVersions; ++v) SendParts(history_->record(v), stream);
    while (stream->Read(&request)) {
      MutexLock lock(&mu_);
      if (request.has_caught_up()) caught_up_.push_back(request.caught_up().at().version());
      if (request.has_gradient()) sent_.push_back(request);
      const bool answers =
          last_on_caught_up_ ? request.has_caught_up() : request.gradient().has_end();
      if (answers) SendParts(last_, stream);
    }
    return grpc::Status::OK;
  }
  // The record after the history: of the step that is open at its end.
  std::vector<std::string> LastUpdate(uint64_t used_incarnation, bool finished = true) const {
    v1::UpdatePart part;
    part.set_version(kVersions + 1);
    part.set_codec(job_->plans[0].codec->id());
    for (const std::string& message : history_->open_payload()) {
      v1::TrainRequest request;
      EXPECT_TRUE(request.ParseFromString(message));
      for (const v1::BlockPayload& block : request.gradient().blocks()) *part.add_blocks() = block;
    }
    *part.mutable_header() = finished ? LastHeader() : HeaderFor(2);
    part.mutable_header()->clear_used();
    part.mutable_header()->add_used()->set_incarnation(used_incarnation);
    part.mutable_header()->set_reset_id(7);
    part.mutable_header()->set_previous_chain_hash(
        std::string(AsView(history_->chain_hash(kVersions))));
    return {part.SerializeAsString()};
  }

  absl::StatusOr<std::unique_ptr<Session>> Connect(bool with_state_dir = true,
                                                   FileSystem* files = PosixFileSystem()) {
    const SessionOptions options = {.server = server_->address(),
                                    .worker_id = kWorker,
                                    .give_up_after = absl::Seconds(30),
                                    .stop = &stop_,
                                    .state_dir = with_state_dir ? folder_ : "",
                                    .state_every = 5,
                                    .files = files};
    return Session::Connect(options);
  }
  // Computes turns up to one that is not a replay; the steps of the replays.
  std::vector<uint64_t> Replay(Session* session, absl::StatusOr<Turn>* turn) {
    std::vector<uint64_t> steps;
    for (*turn = session->NextTurn(); turn->ok() && (*turn)->replay; *turn = session->NextTurn()) {
      EXPECT_FALSE((*turn)->evaluate);
      steps.push_back((*turn)->step);
      const absl::Status pushed = Push(session, **turn);
      EXPECT_TRUE(pushed.ok()) << pushed;
    }
    EXPECT_TRUE(turn->ok()) << turn->status();
    return steps;
  }
  static absl::Status Push(Session* session, const Turn& turn) {
    std::vector<float> gradient = GradientAt(turn.step, session->parameters());
    return session->Push(absl::MakeSpan(gradient), {.loss = 1, .samples = 1});
  }
  std::vector<std::string> Sent() {
    MutexLock lock(&mu_);
    std::vector<std::string> sent;
    for (const v1::TrainRequest& request : sent_) sent.push_back(request.SerializeAsString());
    return sent;
  }
  std::vector<uint64_t> SavedVersions() {
    const auto store = WorkerStateStore::Open({.state_dir = folder_, .worker_id = kWorker});
    EXPECT_TRUE(store.ok()) << store.status();
    std::vector<uint64_t> versions;
    for (const auto& point : (*store)->points()) versions.push_back(point.version);
    return versions;
  }
  WorkerState Saved(uint64_t version) {
    const auto store = WorkerStateStore::Open({.state_dir = folder_, .worker_id = kWorker});
    const auto state = (*store)->Load(version);
    EXPECT_TRUE(state.ok()) << state.status();
    return state.ok() ? *state : WorkerState();
  }
  // What the worker that never died remembers after its payload of the open step was used.
  Uplink::Contents NeverDied() const {
    Uplink uplink(job_);
    EXPECT_TRUE(uplink.Load(history_->StateAt(kVersions).memory).ok());
    std::vector<float> gradient = GradientAt(kVersions + 1, history_->replica().parameters());
    EXPECT_TRUE(
        uplink.Encode(History::Open(history_->replica()), absl::MakeSpan(gradient), {}).ok());
    uplink.Messages({.rank = 0, .incarnation = 1});
    v1::Header header = HeaderFor(2, {1});
    header.set_reset_id(7);
    EXPECT_TRUE(uplink.Resolve(kVersions + 1, header).ok());
    return *uplink.contents();
  }
  void Finish(Session* session, const Turn& turn) {
    EXPECT_EQ(Push(session, turn), absl::OkStatus());
    const auto end = session->NextTurn();
    ASSERT_TRUE(end.ok()) << end.status();
    EXPECT_EQ(end->kind, Turn::Kind::kFinished);
  }
  static std::vector<uint64_t> Steps(uint64_t first, uint64_t last) {
    std::vector<uint64_t> steps;
    for (uint64_t step = first; step <= last; ++step) steps.push_back(step);
    return steps;
  }

  const std::string folder_;
  std::shared_ptr<const Job> job_;
  std::unique_ptr<History> history_;
  std::unique_ptr<FakeServer> server_;
  StopFlag stop_;
  bool saved_on_log_ = true;
  std::vector<std::string> last_;  // sent after a whole payload, or
  bool last_on_caught_up_ = false;
  Mutex mu_;
  std::vector<v1::TrainRequest> sent_ ABSL_GUARDED_BY(mu_);
  std::vector<uint64_t> caught_up_ ABSL_GUARDED_BY(mu_);
};

}  // namespace gradwire
