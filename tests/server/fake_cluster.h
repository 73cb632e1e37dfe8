// SPDX-License-Identifier: Apache-2.0
// A coordinator with a clock and streams that a test holds in its hand: no gRPC, no sleeps.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/replica/job.h"
#include "server/coordinator.h"
#include "server/subscriber.h"

namespace gradwire {

class FakeClock final : public Clock {
 public:
  absl::Duration Now() const override { return absl::Nanoseconds(now_.load()); }
  void Advance(absl::Duration by) { now_.fetch_add(absl::ToInt64Nanoseconds(by)); }

 private:
  std::atomic<int64_t> now_{1'000'000'000};
};

// Notes what it is told.  Thread-safe.
class FakeStream final : public Subscriber {
 public:
  void Wake() override;
  void Send(v1::Control control) override;
  void Close(absl::Status status) override;

  int wakes() const;
  std::vector<v1::Control> controls() const;
  size_t resends() const;  // of the controls
  size_t resyncs() const;
  size_t stops() const;
  std::optional<absl::Status> closed() const;

 private:
  mutable Mutex mu_;
  int wakes_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<v1::Control> controls_ ABSL_GUARDED_BY(mu_);
  std::optional<absl::Status> closed_ ABSL_GUARDED_BY(mu_);
};

// A folder for this test, emptied first.
std::string TestFolder();

// Snapshots are named in the background: waits until this one, or a newer one, can be seen.
void WaitForSnapshot(const Snapshots& snapshots, uint64_t version);

// The messages of one payload, `blocks_per_message` blocks in each, the last with the end;
// `values` has the job's dimension.
std::vector<v1::Gradient> MakePayload(const Job& job, uint64_t step, absl::string_view chain_hash,
                                      std::vector<float> values, size_t blocks_per_message = 1);
v1::Gradient MakeAbstention(const Job& job, uint64_t step, absl::string_view chain_hash);

// The fp32 values in a payload of identity or random_k, or in an update's block.
std::vector<float> PayloadValues(absl::string_view payload);

// All blocks' payloads of a record, by block; and its header.
std::vector<std::string> RecordPayloads(const Record& record);
v1::Header RecordHeader(const Record& record);

struct FakeWorker {
  std::string id;
  uint64_t session = 0;
  v1::JoinResponse lease;
  std::shared_ptr<FakeStream> stream;

  v1::Hello who() const;
};

class FakeCluster {
 public:
  explicit FakeCluster(const std::string& job_text, CoordinatorOptions options = {},
                       Shard shard = {});

  absl::StatusOr<v1::JoinResponse> Join(const std::string& id, uint64_t session);
  // Join, Hello and CaughtUp, which must succeed.
  FakeWorker Enter(const std::string& id, uint64_t session = 1);
  std::vector<FakeWorker> EnterAll(size_t count);  // "w0", "w1", ...
  void Heartbeat(const FakeWorker& worker);

  // The payload of the open step, as the worker would send it.
  std::vector<v1::Gradient> Payload(const std::vector<float>& values,
                                    size_t blocks_per_message = 1) const;
  // Every message of it; the first error.
  absl::Status Push(const FakeWorker& worker, const std::vector<float>& values);
  absl::Status Send(const FakeWorker& worker, const v1::Gradient& message);

  void BreakStream(const FakeWorker& worker);
  absl::Status Leave(const FakeWorker& worker, absl::string_view reason = "done");

  uint64_t version() const { return coordinator->log().range().newest; }
  std::string chain_hash() const;  // of the newest record
  std::shared_ptr<const Record> newest() const;
  v1::GetStatusResponse Status() { return coordinator->GetStatus(); }
  v1::WorkerStatus StatusOf(const std::string& id);
  std::string Phase() { return coordinator->GetStatus().phase(); }
  // By replaying the log from record 0.
  std::vector<float> Parameters() const;

  FakeClock clock;
  ServerCounters counters;
  std::shared_ptr<const Job> job;
  std::unique_ptr<Coordinator> coordinator;
};

}  // namespace gradwire
