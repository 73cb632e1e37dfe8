// SPDX-License-Identifier: Apache-2.0
// How long a client of the server tries: between an error and the next try, and in all.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "worker/client/backoff.h"
#include "worker/client/stop_flag.h"

namespace gradwire {

class ServerStub;

// Not thread-safe.  Times are those of SteadyClock.
class Patience {
 public:
  // `stub`, and `stop` unless it is null, must outlive it.
  Patience(std::string server, absl::Duration give_up_after, const StopFlag* stop,
           ServerStub* stub);

  // The server has said something.
  void Heard();
  // The time until now was the caller's own.
  void Pardon();
  absl::Duration heard_at() const { return heard_at_; }
  absl::Duration silence() const;

  // Ok: has waited, try again.  Unavailable: the server was not heard for give_up_after.
  // Unauthenticated: nor ever before, for the certificates do not fit.
  absl::Status WaitAfter(absl::Status error);
  // For a call with an end of its own.
  absl::Duration NextDelay() { return backoff_.Next(); }

  // An error that another try does not mend, with the server's address.
  absl::Status Final(const absl::Status& error) const;

 private:
  const std::string server_;
  const absl::Duration give_up_after_;
  const StopFlag* const stop_;
  ServerStub* const stub_;
  Backoff backoff_;
  absl::Duration heard_at_;
  uint32_t failed_tries_ = 0;  // since then
  bool ever_heard_ = false;
  absl::Status refusal_;  // what Explain has last said
};

}  // namespace gradwire
