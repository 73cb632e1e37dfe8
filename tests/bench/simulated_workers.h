// SPDX-License-Identifier: Apache-2.0
// Workers without a model: many Train streams of one process, which answer every update with the
// next step's payload.
#pragma once

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/hash.h"
#include "common/base/mutex.h"
#include "common/replica/job.h"
#include "gradwire/v1/service.grpc.pb.h"

namespace gradwire {

// The job's steps as all the workers see them: what each sends is the same, so the codec encodes it
// once, and the log is hashed once.  Thread-safe.
class SharedSteps {
 public:
  SharedSteps(std::shared_ptr<const Job> job, size_t workers);

  // Part number `part` of record `version`, as some worker has received it: the first to have it
  // counts.  A record without all of the workers in it, or of a damaged part, fails().
  void Take(uint64_t version, size_t part, absl::string_view bytes) ABSL_LOCKS_EXCLUDED(mu_);

  // The TrainRequests of the step after `version`, which is the newest that was taken whole.
  std::vector<grpc::ByteBuffer> Requests(uint64_t version) ABSL_LOCKS_EXCLUDED(mu_);

  void Fail(absl::Status status) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status failure() const ABSL_LOCKS_EXCLUDED(mu_);

  struct Counts {
    uint64_t version = 0;      // the newest that some worker has
    uint64_t messages_up = 0;  // of one worker and step
    uint64_t up_bytes = 0;     // the same, payload
    uint64_t messages_down = 0;
    uint64_t down_bytes = 0;
  };
  Counts counts() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Encode(uint64_t step, const ChainHash& base) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string EncodeBlock(const BlockKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::shared_ptr<const Job> job_;
  const size_t workers_;
  mutable Mutex mu_;
  uint64_t version_ ABSL_GUARDED_BY(mu_) = 0;  // of the record that is taken
  size_t part_ ABSL_GUARDED_BY(mu_) = 0;       // of it, to come next
  std::unique_ptr<ChainHasher> hasher_ ABSL_GUARDED_BY(mu_);
  std::vector<float> gradient_ ABSL_GUARDED_BY(mu_);  // of one block
  std::vector<grpc::Slice> requests_ ABSL_GUARDED_BY(mu_);
  Counts counts_ ABSL_GUARDED_BY(mu_);
  uint64_t down_bytes_ ABSL_GUARDED_BY(mu_) = 0;  // of the record that is taken
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
};

// One worker with a connection of its own, as a process would have.
class SimulatedWorker final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  // `steps` must outlive it.
  SimulatedWorker(const std::string& server, std::string id, SharedSteps* steps);
  ~SimulatedWorker() override;

  absl::Status Join();
  // After Join: says hello, and follows the log from its first record on.
  void Start();
  // Tells the server that this worker lives; returns at once.
  void Beat();
  // Ends the stream; returns when nothing of it is left.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void OnReadDone(bool ok) override ABSL_LOCKS_EXCLUDED(mu_);
  void OnWriteDone(bool ok) override ABSL_LOCKS_EXCLUDED(mu_);
  void OnDone(const grpc::Status& status) override ABSL_LOCKS_EXCLUDED(mu_);

  void TakePart(absl::string_view bytes);
  void Enqueue(std::vector<grpc::ByteBuffer> messages) ABSL_LOCKS_EXCLUDED(mu_);
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::string id_;
  SharedSteps* const steps_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::ParameterServer::Stub> stub_;
  grpc::GenericStub raw_;
  grpc::ClientContext context_;
  uint64_t incarnation_ = 0;

  // Touched by one read at a time.
  grpc::ByteBuffer incoming_;
  uint64_t version_ = 0;  // that is being received
  size_t part_ = 0;

  Mutex mu_;
  CondVar changed_;
  bool started_ ABSL_GUARDED_BY(mu_) = false;
  bool done_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  size_t beats_ ABSL_GUARDED_BY(mu_) = 0;  // under way
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  grpc::ByteBuffer writing_now_ ABSL_GUARDED_BY(mu_);
  std::deque<grpc::ByteBuffer> outgoing_ ABSL_GUARDED_BY(mu_);
};

}  // namespace gradwire
