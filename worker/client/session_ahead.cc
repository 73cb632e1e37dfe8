// SPDX-License-Identifier: Apache-2.0
// How a session computes a step while the update before it travels: `lag: 1`.
//
// The gradient of step s is computed at version s-2 and encoded at version s-1, once the update s-1
// has been applied: learning rate, members and residual are those of a job without lag.  So at
// version v there are up to two turns: the one of step v+1, for a worker that has nothing to
// compute it from but v, and the one of step v+2, for whoever the newest header names.  Whether the
// latter counts shows the next header: it does when that names the worker in the same place.
//
// Which parameters a step is computed at is a function of the headers alone: version s-1 where they
// name the worker (ELASTIC: as this incarnation) for the first time with step s, and s-2 from then
// on.  A worker that comes back keeps to that: it begins one version before its saved state, or
// before the step that is open.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "worker/client/session.h"

namespace gradwire {
namespace {

constexpr absl::Duration kWait = absl::Milliseconds(100);  // until the stop flag is looked at

}  // namespace

std::optional<MemberKey> Session::Place() const {
  const v1::Member* const named = Named();
  if (named == nullptr) return std::nullopt;
  return MemberKey{named->rank(), named->incarnation()};
}

// The newest header names the member that the one before it named.
bool Session::GoesOn() const {
  const std::optional<MemberKey> place = Place();
  if (!place.has_value() || !place_before_.has_value()) return false;
  return place->rank == place_before_->rank &&
         (IsFixed() || place->incarnation == place_before_->incarnation);
}

// Whether the turn of step version+2 is to be made now.
bool Session::AheadIsDue() const {
  if (!HasLag() || !joined_ || needs_replica_ || job_over_ || Named() == nullptr) return false;
  if (in_line_) return uplink_->held_step() == version() + 1;
  // On the way to where the residual begins: that is the next version.
  if (recover_at_.has_value()) return version() + 1 == recover_at_->version();
  return IsFixed() && version() + 1 == promised_.version();
}

Turn Session::MakeTurnAhead() const {
  Turn turn = {.kind = Turn::Kind::kCompute, .step = version() + 2, .version = version()};
  turn.batch = turn.step;
  turn.learning_rate = header().next_learning_rate();
  turn.rank = Named()->rank();
  turn.replay = version() + 1 < promised_.version() ||
                (!IsFixed() && Named()->incarnation() != self_.incarnation);
  turn.evaluate = !turn.replay && header().members(0).id() == options_.worker_id;
  return turn;
}

// Until the replica is where the open turn's gradient is to be encoded.  False: it is of no use.
absl::StatusOr<bool> Session::AwaitUpdateBefore() {
  patience_.Pardon();  // the time since the turn was spent on the gradient
  const uint64_t at = *ahead_at_;
  while (ahead_at_.has_value() && !finished_ && version() == at) {
    GRADWIRE_RETURN_IF_ERROR(PumpOrRetry(kWait).status());
  }
  const bool same_replica = ahead_at_.has_value();
  ahead_at_.reset();
  return same_replica && !finished_ && TurnIsDue() && GoesOn();
}

// For GetModel; 0 is the newest.
uint64_t Session::SnapshotToStartFrom() const {
  const uint64_t lag = job_->config.lag();
  if (recover_at_.has_value())
    return recover_at_->version() - std::min(recover_at_->version(), lag);
  return IsFixed() && lag > 0 && promised_.version() > 0 ? promised_.version() - lag : 0;
}

void Session::SayWithoutLag() const {
  if (job_->config.consistency() != v1::SYNC || !GoesOn()) return;
  LogWarning(absl::StrCat("computes step ", version() + 1, " at version ", version(),
                          ", not at the one before: the server has no snapshot that leads there"));
}

}  // namespace gradwire
