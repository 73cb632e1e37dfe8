// SPDX-License-Identifier: Apache-2.0
// A coordinator under any sequence of calls by three workers, with restarts of the server between
// them: it never aborts, and what it publishes is a history that every replica can follow, with
// finite values only.
//
//   input = job *call                  ; job: one byte that chooses among kJobs
//   call  = kind worker length bytes   ; kind, worker: one byte each; length: u16, little-endian,
//                                      ; cut to what is left; bytes: what the kind reads
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "common/base/little_endian.h"
#include "common/replica/block_codec.h"
#include "common/replica/replica.h"
#include "server/coordinator.h"
#include "tests/common/replica/crashing_file_system.h"

namespace gradwire {
namespace {

constexpr const char* kJobs[] = {
    "codec: 'identity'",
    "codec: 'random_k:0.1' perturbation: 'gaussian:std=0.01'",
    "codec: 'top_k:0.1'",
    "codec: 'top_k:0.6,values=bf16'",
    "codec: 'random_k:0.5,values=fp16' optimizer: 'sgd:0.1,0.9'",
    "codec: 'top_k:0.1' error_feedback: 'ef21' optimizer: 'adam'",
    "codec: 'sign' reset: 'flush:2' clip: 'norm:1'",
    "codec: 'sign_majority' reset: 'reset:2'",
    "codec: 'qsgd' perturbation: 'on_demand:1,1,1,1' clip: 'value:1'",
    "codec: 'powersgd:1' tensors { name: 'v' codec: 'random_k:0.5' } reset: 'flush:2,radius=1'",
    "codec: 'count_sketch' tensors { name: 'v' codec: 'top_k:0.5' } reset: 'reset:2,radius=1'",
    "codec: 'random_k:0.2' perturbation: 'gaussian:1' reset: 'reset:radius=1'",
    "codec: 'top_k:0.2' membership { workers: 2 mode: FIXED lost_timeout_seconds: 30 }",
    "codec: 'random_k:0.2' consistency: QUORUM membership { workers: 3 }",
    "codec: 'identity' membership { workers: 2 mode: FIXED } snapshot_every: 2",
};
constexpr size_t kWorkers = 3;

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "coordinator_fuzzer: %s\n", what);
  std::abort();
}

std::shared_ptr<const Job> MakeFuzzedJob(const char* choice) {
  auto config = ParseJobText(
      std::string("model { tensors { tensor { name: 'w' shape: 8 shape: 5 } ") +
      (std::string(choice).find("'v'") == std::string::npos ? ""
                                                            : "tensor { name: 'v' shape: 6 } ") +
      "} } steps: 5 hash_every: 2 " +
      (std::string(choice).find("membership") == std::string::npos ? "membership { workers: 2 } "
                                                                   : "") +
      choice);
  Require(config.ok(), "job text");
  auto job = MakeJob(*std::move(config));
  Require(job.ok(), "job");
  return *std::move(job);
}

class FuzzClock final : public Clock {
 public:
  absl::Duration Now() const override { return now_; }
  void Advance(absl::Duration by) { now_ += by; }

 private:
  absl::Duration now_;
};

class DeafStream final : public Subscriber {
 public:
  void Wake() override {}
  void Send(v1::Control) override {}
  void Close(absl::Status) override {}
};

class Fuzzed {
 public:
  explicit Fuzzed(std::shared_ptr<const Job> job)
      : job_(std::move(job)), follower_(job_), workers_(kWorkers) {
    Start();
    for (size_t i = 0; i < kWorkers; ++i) {
      workers_[i].who.set_worker_id(std::string(1, static_cast<char>('a' + i)));
    }
  }

  void Call(uint8_t kind, size_t worker, const std::string& bytes) {
    Worker& w = workers_[worker % kWorkers];
    const uint8_t first = bytes.empty() ? 0 : static_cast<uint8_t>(bytes[0]);
    switch (kind % 10) {
      case 0:
        return SendRequest(&w, bytes);
      case 1:
        return SendBlock(w, bytes);
      case 2:
        return SendGood(w, first);
      case 3:
        return Join(&w, first);
      case 4:
        coordinator_->StreamEnded(w.who, w.stream.get());
        return;
      case 5:
        clock_.Advance(absl::Milliseconds(100) * first);
        return coordinator_->Tick();
      case 6:
        return Leave(w);
      case 7:
        return Enter(&w);
      case 8:
        return Restart();
      default:
        coordinator_->GetStatus();
        coordinator_->MayRead(w.who);
        coordinator_->SnapshotAt(first).status().IgnoreError();
    }
  }

  // Follows what was published.  Finite updates may add up to more than a float holds: then
  // a parameter is infinite, but not NaN before one was infinite.
  void Check() {
    const UpdateLog::Range range = coordinator_->log().range();
    while (!range.empty && (!follower_.started() || follower_.version() < range.newest)) {
      const auto record =
          coordinator_->log().Find(follower_.started() ? follower_.version() + 1 : 0);
      Require(record != nullptr, "a record is missing");
      Require(follower_.Apply(*record).ok(), "a published record is refused");
      bool infinite = false;
      for (const float value : follower_.parameters()) {
        Require(overflowed_ || !std::isnan(value), "a parameter is NaN");
        infinite = infinite || std::isinf(value);
      }
      overflowed_ = overflowed_ || infinite;
    }
  }

 private:
  struct Worker {
    v1::Hello who;
    std::shared_ptr<DeafStream> stream = std::make_shared<DeafStream>();
  };

  void SendRequest(Worker* w, const std::string& bytes) {
    v1::TrainRequest request;
    if (!request.ParseFromString(bytes)) return;
    if (request.has_hello()) {
      coordinator_->Hello(request.hello(), w->stream).status().IgnoreError();
    } else if (request.has_caught_up()) {
      coordinator_->CaughtUp(w->who).IgnoreError();
    } else if (request.has_gradient()) {
      coordinator_->Gradient(w->who, request.gradient()).IgnoreError();
    }
  }

  v1::Gradient OpenStep() const {
    v1::Gradient message;
    message.set_step(follower_.version() + 1);
    message.set_base_chain_hash(std::string(AsView(follower_.chain_hash())));
    message.set_codec(CodecOf(0).id());
    return message;
  }

  const Codec& CodecOf(size_t block) const {
    return job_->CodecOf(block, follower_.header().next_flush());
  }

  // Any payload, in the right place; other blocks get what is left.
  void SendBlock(const Worker& w, const std::string& bytes) {
    v1::Gradient message = OpenStep();
    const size_t blocks = job_->layout.blocks();
    for (uint32_t b = 0; b < blocks; ++b) {
      const size_t each = bytes.size() / blocks;
      AddBlock(b, CodecOf(b).id(), bytes.substr(b * each, b + 1 == blocks ? bytes.npos : each),
               &message);
    }
    message.mutable_end()->set_samples(bytes.size());
    coordinator_->Gradient(w.who, message).IgnoreError();
  }

  void SendGood(const Worker& w, uint8_t choice) {
    v1::Gradient message = OpenStep();
    v1::GradientEnd* end = message.mutable_end();
    if (choice == 0) {
      end->set_abstained(true);
    } else {
      end->set_fresh_memory(choice % 5 == 1);
      for (uint32_t b = 0; b < job_->layout.blocks(); ++b) {
        const BlockKey key = follower_.KeyAt(follower_.version() + 1, b);
        std::vector<float> values(key.size, static_cast<float>(choice) - 100.0F);
        std::string payload;
        CodecOf(b).Encode(key, absl::MakeSpan(values), &payload);
        AddBlock(b, CodecOf(b).id(), std::move(payload), &message);
      }
    }
    end->set_has_replica_hash(choice % 7 == 1);
    end->set_replica_hash(choice % 2 == 0 ? choice : follower_.Hash());
    coordinator_->Gradient(w.who, message).IgnoreError();
  }

  void Start() {
    CoordinatorOptions options = {.history = {}, .max_waiting_bytes = 200};
    options.history.files = &disk_;
    options.history.state_dir = "/state";
    auto made = Coordinator::Create(std::move(options), job_, &clock_, &counters_);
    Require(made.ok(), "coordinator");
    coordinator_ = *std::move(made);
  }

  // The server is killed and started again.
  void Restart() {
    coordinator_.reset();
    Start();
    const UpdateLog::Range range = coordinator_->log().range();
    Require(range.empty != follower_.started(), "a restart has lost everything");
    Require(range.newest == follower_.version(), "a restart has lost a version");
  }

  void Join(Worker* w, uint64_t session) {
    v1::JoinRequest request;
    request.set_worker_id(w->who.worker_id());
    request.set_session(session);
    request.set_apply_revision(kApplyRevision);
    const auto lease = coordinator_->Join(request, "peer");
    if (lease.ok()) w->who.set_incarnation(lease->incarnation());
  }

  void Enter(Worker* w) {
    w->who.clear_at();
    w->stream = std::make_shared<DeafStream>();
    coordinator_->Hello(w->who, w->stream).status().IgnoreError();
    coordinator_->CaughtUp(w->who).IgnoreError();
  }

  void Leave(const Worker& w) {
    v1::LeaveRequest request;
    request.set_worker_id(w.who.worker_id());
    request.set_incarnation(w.who.incarnation());
    const auto left = coordinator_->Leave(request);
    if (!left.ok() || left->parameters_hash() == 0) return;
    Require(left->parameters_hash() == follower_.ParametersHash(), "a replica differs");
  }

  const std::shared_ptr<const Job> job_;
  CrashingFileSystem disk_;
  FuzzClock clock_;
  ServerCounters counters_;
  std::unique_ptr<Coordinator> coordinator_;
  Replica follower_;
  std::vector<Worker> workers_;
  bool overflowed_ = false;
};

std::vector<std::shared_ptr<const Job>> MakeJobs() {
  // The coordinator's log lines would drown the fuzzer's own.
  Require(std::freopen("/dev/null", "w", stdout) != nullptr, "no /dev/null");
  std::vector<std::shared_ptr<const Job>> jobs;
  for (const char* choice : kJobs) jobs.push_back(MakeFuzzedJob(choice));
  return jobs;
}

}  // namespace
}  // namespace gradwire

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* const jobs =
      new std::vector<std::shared_ptr<const gradwire::Job>>(gradwire::MakeJobs());
  if (size == 0) return 0;
  gradwire::Fuzzed fuzzed((*jobs)[data[0] % jobs->size()]);
  size_t at = 1;
  while (size - at >= 4) {
    const auto* call = reinterpret_cast<const char*>(data + at);
    const size_t left = size - at - 4;
    const size_t length = std::min<size_t>(gradwire::LoadLittleEndian<uint16_t>(call + 2), left);
    fuzzed.Call(data[at], data[at + 1], std::string(call + 4, length));
    fuzzed.Check();
    at += 4 + length;
  }
  return 0;
}
