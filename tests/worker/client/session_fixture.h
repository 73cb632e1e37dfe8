// SPDX-License-Identifier: Apache-2.0
// One worker's session against a scripted server.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/worker/client/fake_server.h"
#include "worker/client/session.h"

namespace gradwire {

inline constexpr char kWorker[] = "w1";
inline const grpc::Status kAborted = {grpc::StatusCode::ABORTED, "the lease is lost"};
inline const grpc::Status kUnavailable = {grpc::StatusCode::UNAVAILABLE, "draining"};

inline v1::Header HeaderFor(uint64_t incarnation, const std::vector<uint64_t>& used = {}) {
  v1::Header header;
  v1::Member* member = header.add_members();
  member->set_id(kWorker);
  member->set_incarnation(incarnation);
  header.set_next_learning_rate(0.5f);
  for (const uint64_t by : used) header.add_used()->set_incarnation(by);
  return header;
}

inline v1::Header LastHeader() {
  v1::Header header;
  header.add_used()->set_incarnation(1);
  header.set_finished(true);
  return header;
}

inline void SendParts(const std::vector<std::string>& parts, TrainStreamPair* stream) {
  for (const std::string& part : parts) {
    v1::TrainResponse response;
    response.set_update_part(part);
    stream->Write(response);
  }
}

// Reads until a message of this kind; false when the stream ended.
inline bool ReadUntil(v1::TrainRequest::KindCase kind, TrainStreamPair* stream,
                      v1::TrainRequest* found) {
  while (stream->Read(found)) {
    if (found->kind_case() == kind) return true;
  }
  return false;
}

// Keeps the stream open until the worker goes.
inline grpc::Status StayOpen(TrainStreamPair* stream) {
  v1::TrainRequest request;
  while (stream->Read(&request)) {
  }
  return grpc::Status::OK;
}

class SessionTest : public testing::Test {
 protected:
  explicit SessionTest(const TestJob& job = {})
      : job_(MakeTestJob(job)), maker_(job_->plans[0].codec->id()), server_(job_) {
    record0_ = maker_.Next(HeaderFor(1), {});
  }

  absl::StatusOr<std::unique_ptr<Session>> Connect(absl::Duration give_up = absl::Seconds(30)) {
    return Session::Connect({.server = server_.address(),
                             .worker_id = kWorker,
                             .give_up_after = give_up,
                             .build = "test",
                             .stop = &stop_});
  }
  absl::Status PushGradient(Session* session, float value) {
    std::vector<float> gradient(job_->layout.dimension(), value);
    return session->Push(absl::MakeSpan(gradient), {.loss = 1, .samples = 1});
  }
  // Record 1: what the worker sent, and the end.
  std::vector<std::string> LastRecord(float value) {
    return maker_.Next(LastHeader(), {Bytes(std::vector<float>(job_->layout.dimension(), value))});
  }

  const std::shared_ptr<const Job> job_;
  RecordMaker maker_;
  FakeServer server_;
  StopFlag stop_;
  std::vector<std::string> record0_;
};

}  // namespace gradwire
