// SPDX-License-Identifier: Apache-2.0
// Implementation of patience.h.
#include "worker/client/patience.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "worker/client/server_stub.h"

namespace gradwire {

Patience::Patience(std::string server, absl::Duration give_up_after, const StopFlag* stop,
                   ServerStub* stub)
    : server_(std::move(server)), give_up_after_(give_up_after), stop_(stop), stub_(stub) {
  Pardon();
}

void Patience::Heard() {
  Pardon();
  failed_tries_ = 0;
  ever_heard_ = true;
  refusal_ = absl::OkStatus();
  backoff_.Reset();
}

void Patience::Pardon() { heard_at_ = SteadyClock().Now(); }

absl::Duration Patience::silence() const { return SteadyClock().Now() - heard_at_; }

absl::Status Patience::WaitAfter(absl::Status error) {
  const bool was_power_of_two = (failed_tries_ & (failed_tries_ + 1)) == 0;
  ++failed_tries_;
  // gRPC hides why a handshake failed, and finding out takes time.
  if (was_power_of_two) refusal_ = stub_->Explain(error);
  if (absl::IsUnauthenticated(refusal_)) error = refusal_;
  // Certificates that never fitted are not waited for; others may be on the way.
  if (absl::IsUnauthenticated(error) && !ever_heard_) return Final(error);
  const absl::Duration silent = silence();
  if (silent >= give_up_after_) {
    return absl::UnavailableError(
        absl::StrCat("gave up on the server at ", server_, " after ",
                     absl::FormatDuration(absl::Trunc(silent, absl::Milliseconds(100))), " and ",
                     failed_tries_, " tries; the last error: ", error.message()));
  }
  if (failed_tries_ == 1) {
    LogWarning(absl::StrCat("server at ", server_, ": ", error.message(), "; trying again for ",
                            absl::FormatDuration(give_up_after_)));
  }
  const StopFlag never;
  stub_->WaitToRetry(std::min(backoff_.Next(), give_up_after_ - silent),
                     stop_ != nullptr ? *stop_ : never);
  return absl::OkStatus();
}

absl::Status Patience::Final(const absl::Status& error) const {
  return {error.code(), absl::StrCat("server at ", server_, ": ", error.message())};
}

}  // namespace gradwire
