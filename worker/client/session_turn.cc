// SPDX-License-Identifier: Apache-2.0
// Which step a session gives out next, and when.
#include <algorithm>

#include "common/base/status_macros.h"
#include "worker/client/client_stream.h"
#include "worker/client/session.h"

namespace gradwire {
namespace {

constexpr absl::Duration kWait = absl::Milliseconds(100);  // until the stop flag is looked at

}  // namespace

absl::StatusOr<Turn> Session::NextTurn() {
  patience_.Pardon();  // the time since the last turn was spent on the gradient
  ahead_at_.reset();
  while (!finished_) {
    GRADWIRE_RETURN_IF_ERROR(CheckStop());
    const bool due = TurnIsDue() || AheadIsDue();
    if (due && !TurnMayBeVoid()) break;
    // What has arrived already may make the turn void: it goes first.
    const bool open = due && stream_ != nullptr;
    GRADWIRE_ASSIGN_OR_RETURN(const bool handled, PumpOrRetry(open ? absl::ZeroDuration() : kWait));
    if (open && !handled && stream_ != nullptr) break;
  }
  if (finished_ || !AheadIsDue()) return MakeTurn();
  ahead_at_ = version();
  return MakeTurnAhead();
}

Turn Session::MakeTurn() const {
  Turn turn = {.version = version(), .rank = self_.rank};
  if (finished_) {
    turn.evaluate = header().used_size() > 0 && header().used(0).rank() == self_.rank;
    return turn;
  }
  turn.kind = Turn::Kind::kCompute;
  turn.step = version() + 1;
  turn.batch = IsAsync() ? Named()->clock() + 1 : turn.step;
  turn.learning_rate = opening().next_learning_rate();
  turn.rank = Named()->rank();
  turn.replay = !MaySend();
  // With lag, the turn ahead at this version evaluates it.
  turn.evaluate = !turn.replay && !HasLag() && opening().members(0).id() == options_.worker_id;
  return turn;
}

// What an earlier incarnation sent must be known, too, or its residual will never be: unless that
// one's residual is lost anyway.
bool Session::TurnIsDue() const {
  const v1::Member* const named = Named();
  if (!joined_ || !in_line_ || named == nullptr) return false;
  if (uplink_->held_step() != 0) return false;
  if (IsAsync()) return MaySend() && !IsTooFarAhead();
  if (MaySend()) return true;
  return job_->remembers && (IsFixed() || named->incarnation() >= line_incarnation_);
}

// ASYNC: the slowest members have to come after first.
bool Session::IsTooFarAhead() const {
  const auto& members = header().members();
  return std::any_of(members.begin(), members.end(), [this](const v1::Member& member) {
    return member.clock() + job_->config.async().max_lead() < Named()->clock();
  });
}

// Of the steps up to the one that was open at Join, payloads may have been sent before.
bool Session::TurnMayBeVoid() const {
  if (IsAsync()) return true;  // not void, but at newer parameters
  if (HasLag() && job_->config.consistency() == v1::SYNC) return false;  // none may be passed over
  return !uplink_->remembers() || (MaySend() && version() > promised_.version());
}

}  // namespace gradwire
