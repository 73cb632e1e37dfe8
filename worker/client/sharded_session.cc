// SPDX-License-Identifier: Apache-2.0
// Implementation of sharded_session.h.
#include "worker/client/sharded_session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/address_list.h"
#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/kernels/vector.h"

namespace gradwire {
namespace {

constexpr absl::Duration kWait = absl::Milliseconds(100);  // until the stop flag is looked at

std::string StateOfShard(const std::string& state_dir, size_t shard) {
  return state_dir.empty() ? "" : absl::StrCat(state_dir, "/shard-", shard);
}

std::vector<uint64_t> Intersection(std::vector<uint64_t> a, std::vector<uint64_t> b) {
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  std::vector<uint64_t> both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return both;
}

}  // namespace

absl::StatusOr<std::string> SavedWorkerIdOfShards(const std::string& state_dir, FileSystem* files) {
  GRADWIRE_ASSIGN_OR_RETURN(std::string id, SavedWorkerId(state_dir, files));
  return id.empty() ? SavedWorkerId(StateOfShard(state_dir, 0), files) : id;
}

absl::StatusOr<std::unique_ptr<ShardedSession>> ShardedSession::Connect(SessionOptions options) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::vector<std::string> addresses,
                            ParseAddresses(options.server));
  std::unique_ptr<ShardedSession> session(new ShardedSession());
  session->stop_ = options.stop;
  if (addresses.size() == 1) {
    options.server = addresses[0];
    GRADWIRE_ASSIGN_OR_RETURN(auto only, Session::Connect(std::move(options)));
    session->sessions_.push_back(std::move(only));
    return session;
  }
  session->admit_ = std::move(options.admit);
  options.admit = nullptr;
  for (size_t k = 0; k < addresses.size(); ++k) {
    SessionOptions one = options;
    one.server = addresses[k];
    one.shard = {.index = static_cast<uint32_t>(k),
                 .count = static_cast<uint32_t>(addresses.size())};
    one.state_dir = StateOfShard(options.state_dir, k);
    one.home = [raw = session.get()](const Job& shard) { return raw->HomeOf(shard); };
    GRADWIRE_ASSIGN_OR_RETURN(auto made, Session::Make(std::move(one)));
    session->sessions_.push_back(std::move(made));
  }
  GRADWIRE_RETURN_IF_ERROR(session->Meet());
  return session;
}

// The shard's part of the one vector.
absl::Span<float> ShardedSession::HomeOf(const Job& shard) {
  if (job_ == nullptr) {
    // The shard's job was made of the same configuration.
    absl::StatusOr<std::shared_ptr<const Job>> whole = MakeJob(shard.config);
    if (!whole.ok()) return {};
    job_ = *std::move(whole);
    if (admit_) admitted_ = admit_(*job_);
    if (!admitted_.ok()) return {};
    parameters_.resize(job_->layout.dimension());
  }
  if (shard.layout.first_coordinate() + shard.layout.dimension() > parameters_.size()) return {};
  return absl::MakeSpan(parameters_)
      .subspan(shard.layout.first_coordinate(), shard.layout.dimension());
}

// All join, and agree on where to begin.
absl::Status ShardedSession::Meet() {
  for (const auto& session : sessions_) session->StartOver();
  GRADWIRE_RETURN_IF_ERROR(JoinAll(std::nullopt));
  std::vector<uint64_t> saved = CommonSaved();
  if (!AllReach(saved)) GRADWIRE_RETURN_IF_ERROR(JoinAll(saved));
  while (!AllReach(saved)) {
    LeaveOutUnreached(&saved);
    GRADWIRE_RETURN_IF_ERROR(JoinAll(saved));
  }
  next_ = UINT64_MAX;
  for (const auto& session : sessions_) {
    next_ = std::min(next_, session->promised_.version());
  }
  if (!saved.empty()) next_ = saved.back();
  for (const auto& session : sessions_) session->meet_at_ = next_;
  met_ = true;
  return absl::OkStatus();
}

// Shard 0 first, whose lease the others ask for.
absl::Status ShardedSession::JoinAll(const std::optional<std::vector<uint64_t>>& offered) {
  for (const auto& session : sessions_) {
    session->offered_ = offered;
    if (session->joined_) session->JoinAnew();
    if (session != sessions_.front()) session->FollowLead(lead().self_);
    while (!session->joined_) {
      GRADWIRE_RETURN_IF_ERROR(session->PumpOrRetry(kWait).status());
    }
    GRADWIRE_RETURN_IF_ERROR(admitted_);
    const uint64_t schema = session->job()->schema_hash;
    const uint64_t wanted = lead().job()->schema_hash;
    if (schema == wanted) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "the server at ", session->options_.server, " is a shard of another job than shard 0: its ",
        "schema is ", HashText(schema), ", shard 0's ", HashText(wanted),
        "; start all shards with the same job file"));
  }
  return absl::OkStatus();
}

// Every server has a way to the newest of these, and to none that is newer.
bool ShardedSession::AllReach(const std::vector<uint64_t>& saved) const {
  return std::all_of(sessions_.begin(), sessions_.end(), [&saved](const auto& session) {
    const std::optional<v1::Point>& point = session->recover_at_;
    return point.has_value() ? !saved.empty() && point->version() == saved.back() : saved.empty();
  });
}

// Of those that were offered, the ones that not every server has a way to.
void ShardedSession::LeaveOutUnreached(std::vector<uint64_t>* saved) const {
  for (const auto& session : sessions_) {
    const std::optional<v1::Point>& point = session->recover_at_;
    while (!saved->empty() && (!point.has_value() || saved->back() > point->version())) {
      saved->pop_back();
    }
  }
}

// Versions, ascending, of which every session has a saved state.
std::vector<uint64_t> ShardedSession::CommonSaved() const {
  std::vector<uint64_t> common;
  for (const auto& session : sessions_) {
    std::vector<uint64_t> versions;
    if (session->KeepsState()) {
      for (const WorkerStateStore::Point& point : session->store_->points()) {
        versions.push_back(point.version);
      }
    }
    common = session == sessions_.front() ? Intersection(versions, versions)
                                          : Intersection(common, versions);
  }
  return common;
}

absl::StatusOr<Turn> ShardedSession::NextTurn() {
  if (alone()) return lead().NextTurn();
  for (const auto& session : sessions_) session->patience_.Pardon();
  while (true) {
    GRADWIRE_RETURN_IF_ERROR(lead().CheckStop());
    if (NeedsMeeting()) GRADWIRE_RETURN_IF_ERROR(Meet());
    GRADWIRE_RETURN_IF_ERROR(Advance());
    if (NeedsMeeting() || !AllAreAt(next_)) continue;
    ShareLead();
    if (lead().finished_ || AnyTurnIsDue()) return MakeTurn();
    ++next_;
  }
}

bool ShardedSession::NeedsMeeting() const {
  return !met_ || std::any_of(sessions_.begin(), sessions_.end(),
                              [](const auto& session) { return session->out_of_line_; });
}

// Every session as far towards next_ as it gets without waiting long.
absl::Status ShardedSession::Advance() {
  for (const auto& session : sessions_) {
    session->limit_ = next_;
    if (session != sessions_.front() && lead().joined_) session->FollowLead(lead().self_);
    for (bool handled = true; handled && !session->out_of_line_;) {
      const absl::Duration wait = session->IsAt(next_) ? absl::ZeroDuration() : kWait;
      GRADWIRE_ASSIGN_OR_RETURN(handled, session->PumpOrRetry(wait));
    }
  }
  return absl::OkStatus();
}

bool ShardedSession::AllAreAt(uint64_t version) const {
  return std::all_of(sessions_.begin(), sessions_.end(), [version](const auto& session) {
    return session->IsAt(version) && (session->IsInLine() || session->finished_);
  });
}

// What shard 0's header says of the next step.
void ShardedSession::ShareLead() {
  const std::string bytes = header().SerializeAsString();
  for (const auto& session : sessions_) {
    if (session->options_.shard.follows()) session->TakeLead(header(), bytes, next_);
  }
}

bool ShardedSession::AnyTurnIsDue() const {
  return std::any_of(sessions_.begin(), sessions_.end(),
                     [](const auto& session) { return session->TurnIsDue(); });
}

// Some shards may have the step already; then it is computed for the others.
Turn ShardedSession::MakeTurn() const {
  Turn turn = lead().MakeTurn();
  if (turn.kind == Turn::Kind::kFinished) return turn;
  turn.replay = std::none_of(sessions_.begin(), sessions_.end(), [](const auto& session) {
    return session->TurnIsDue() && session->MaySend();
  });
  return turn;
}

absl::Status ShardedSession::Push(absl::Span<float> gradient, const StepReport& report) {
  if (alone()) return lead().Push(gradient, report);
  if (gradient.size() != parameters_.size()) {
    return absl::InvalidArgumentError(absl::StrCat("the gradient of step ", next_ + 1, " has ",
                                                   gradient.size(), " values; the job's model has ",
                                                   parameters_.size()));
  }
  if (lead().finished_ || !AllAreAt(next_) || !AnyTurnIsDue()) {
    return absl::FailedPreconditionError(
        absl::StrCat("no turn to compute step ", next_ + 1, " is open: call NextTurn first"));
  }
  StepReport part = report;
  const size_t bad = FirstNonFinite(gradient.data(), gradient.size());
  if (bad < gradient.size()) {  // in all shards or in none
    part.abstain_reason = absl::StrCat("the gradient at ", job_->layout.CoordinateName(bad), " is ",
                                       gradient[bad], ", not finite");
  }
  for (const auto& session : sessions_) {
    const Layout& layout = session->job()->layout;
    const auto range = gradient.subspan(layout.first_coordinate(), layout.dimension());
    if (session->TurnIsDue()) GRADWIRE_RETURN_IF_ERROR(session->Push(range, part));
    part.evaluation.reset();  // shard 0 decides by it
  }
  ++next_;
  return absl::OkStatus();
}

// Shard 0 last: it may end when all have left, and only workers can tell the others of the end.
absl::Status ShardedSession::Leave(absl::string_view reason,
                                   const std::optional<v1::Evaluation>& evaluation) {
  absl::Status first;
  for (size_t k = sessions_.size(); k-- > 0;) {
    Session& session = *sessions_[k];
    if (session.job() == nullptr || session.left()) continue;
    if (!alone()) session.limit_ = next_;  // what settles the payload that was just sent
    const absl::Status status = session.Leave(reason, k == 0 ? evaluation : std::nullopt);
    if (first.ok()) first = status;
  }
  left_ = true;
  return first;
}

bool ShardedSession::stopped() const {
  return std::any_of(sessions_.begin(), sessions_.end(),
                     [](const auto& session) { return session->stopped(); });
}

bool ShardedSession::finished() const {
  return std::all_of(sessions_.begin(), sessions_.end(),
                     [](const auto& session) { return session->finished(); });
}

absl::Span<const float> ShardedSession::parameters() const {
  return alone() ? lead().parameters() : absl::MakeConstSpan(parameters_);
}

// As Replica::ParametersHash, over all shards.
uint64_t ShardedSession::ParametersHash() const {
  if (alone()) return lead().ParametersHash();
  std::vector<uint64_t> hashes;
  for (size_t b = 0; b < job_->layout.blocks(); ++b) {
    const Block& block = job_->layout.block(b);
    hashes.push_back(Hash64(parameters().subspan(block.offset, block.size)));
  }
  return Hash64(absl::MakeConstSpan(hashes));
}

SessionTraffic ShardedSession::traffic() const {
  SessionTraffic all;
  for (const auto& session : sessions_) {
    const SessionTraffic one = session->traffic();
    all.up_payload_bytes += one.up_payload_bytes;
    all.up_wire_bytes += one.up_wire_bytes;
    all.down_payload_bytes += one.down_payload_bytes;
    all.down_wire_bytes += one.down_wire_bytes;
  }
  return all;
}

}  // namespace gradwire
