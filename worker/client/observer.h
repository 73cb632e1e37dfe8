// SPDX-License-Identifier: Apache-2.0
// A follower of a server's job: reads the updates and takes no part.
//
//   Observer::Connect, then while Next() is true: look at replica().
//
// Broken connections, server restarts and resyncs are dealt with inside Next.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/replica/job.h"
#include "common/replica/replica.h"
#include "gradwire/v1/service.pb.h"
#include "worker/client/follower.h"
#include "worker/client/patience.h"
#include "worker/client/stop_flag.h"

namespace gradwire {

class ClientSecurity;
class ClientStream;
class ServerStub;

struct ObserverOptions {
  std::string server = "127.0.0.1:7070";            // host:port
  std::string name = {};                            // for the server's messages; 256 bytes at most
  absl::Duration give_up_after = absl::Minutes(5);  // without a word from the server
  uint64_t schema_hash = 0;        // of the job that is expected; 0: whatever the server has
  const StopFlag* stop = nullptr;  // ends every wait; must outlive the observer
  std::shared_ptr<ClientSecurity> security = nullptr;  // TLS and token; null: neither
};

// One thread at a time.  It runs a reader thread of its own.
//
// Errors of all calls: Cancelled when options.stop was requested; Unavailable when the server
// was not heard for give_up_after; otherwise what the server answered, or what is wrong with what
// it sent, with its address.  After an error the observer is of no more use.
class Observer {
 public:
  // Waits for the server, and takes its job.
  static absl::StatusOr<std::unique_ptr<Observer>> Connect(ObserverOptions options);
  ~Observer();

  // True: replica() has got to another version, the next one or, from a snapshot, a later one.
  // False: the job has ended, and replica() is where it did.
  absl::StatusOr<bool> Next();

  const std::shared_ptr<const Job>& job() const { return job_; }
  const Replica& replica() const { return follower_->replica(); }

 private:
  explicit Observer(ObserverOptions options);

  absl::Status Pump();
  absl::Status PumpOrRetry();
  absl::Status Retry(const absl::Status& error);
  absl::Status AskForJob();
  absl::Status TakeSnapshot();
  void OpenStream();
  absl::Status CloseStream();
  absl::Status Handle(v1::TrainResponse response);
  absl::Status Resync(const std::string& reason);
  bool Ended() const;

  const ObserverOptions options_;
  const std::unique_ptr<ServerStub> stub_;
  Patience patience_;               // uses stub_
  std::shared_ptr<const Job> job_;  // null until the server has told it
  std::unique_ptr<Follower> follower_;
  std::shared_ptr<ClientStream> stream_;
  bool needs_snapshot_ = false;
  bool stopped_ = false;  // the server says that the job has ended
  bool moved_ = false;    // replica() is not what Next has last shown
  uint32_t resyncs_ = 0;  // since the last record
};

}  // namespace gradwire
