// SPDX-License-Identifier: Apache-2.0
// What a server remembers between steps beside its replica: a function of the records, so that
// replay of the log brings it back byte for byte.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/optimizer/learning_rate.h"
#include "common/replica/job.h"
#include "common/replica/replica.h"
#include "common/replica/state_file.h"
#include "common/replica/update_log.h"
#include "gradwire/v1/gradient.pb.h"
#include "server/on_demand.h"
#include "server/reset_rule.h"
#include "server/round.h"
#include "server/update_maker.h"

namespace gradwire {

// Every record passes through here once: MakeFirst or Make, or Replay; then, when the replica has
// applied it, Applied.  Not thread-safe.
class ServerState {
 public:
  static constexpr size_t kMaxKnown = 4096;

  explicit ServerState(std::shared_ptr<const Job> job);

  // The job as it is from the newest record on: headers' settings change it.
  const v1::JobConfig& config() const { return config_; }

  // Record 0: `header` names the members of step 1 and has settings, if any; it gets all of them,
  // so that the log says of itself what the job began with.  InvalidArgument: bad settings.
  absl::StatusOr<MadeUpdate> MakeFirst(v1::Header* header);

  // The update of a complete round.  `header` has the members, who was used, the learning rate
  // of the update, and an evaluation and settings, if any; the rest is filled in here.  `replica`
  // is the one before the update.  OutOfRange: the sum of finite payloads overflows.
  absl::StatusOr<MadeUpdate> Make(const Round& round, const Replica& replica, v1::Header* header);

  // The same of a record that is on the log already.  DataLoss names the version.
  absl::Status Replay(const Record& record, const Replica& replica);

  // Before and after the replica applies the record.
  void Applying(const Replica& replica);
  void Applied(const Replica& replica);

  // The newest header has another reset_id than the one before it.
  bool reset_before() const { return reset_before_; }

  // The members that headers have named, each as last, of those that were named last.
  struct Known {
    uint32_t rank = 0;
    uint64_t incarnation = 0;
    uint64_t version = 0;  // of the header
  };
  const std::map<std::string, Known>& known() const { return known_; }
  const OnDemand& on_demand() const { return on_demand_; }
  double DownlinkResidualNorm() const { return update_maker_.DownlinkResidualNorm(); }

  // All of it at the replica's version, as bytes (see state_file.h); and back.  `point` tells
  // one history's state from another's.  InvalidArgument or DataLoss: damaged, of another job or
  // point; this is of no more use then.
  std::string Encode(const Replica& replica) const;
  // The same bytes in pieces: they show this object, as it is until it changes.
  std::unique_ptr<StatePieces> EncodePieces(const Replica& replica) const;
  absl::Status Load(absl::string_view bytes, uint64_t version, const ChainHash& chain_hash);

 private:
  StateFile ToFile(const Replica& replica) const;
  void NoteHeader(uint64_t version, const v1::Header& header);
  absl::Status TakeSettings(const v1::Settings& settings);

  const std::shared_ptr<const Job> job_;
  v1::JobConfig config_;
  UpdateMaker update_maker_;
  ResetRule reset_rule_;
  OnDemand on_demand_;
  std::vector<std::unique_ptr<Schedule>> schedule_;  // where it is no longer job_'s
  LearningRate learning_rate_;
  std::map<std::string, Known> known_;
  uint64_t reset_id_ = 0;
  bool reset_before_ = false;
  Touched touched_;  // by the record that is being applied
};

}  // namespace gradwire
