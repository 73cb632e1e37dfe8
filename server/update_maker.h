// SPDX-License-Identifier: Apache-2.0
// Turns complete rounds into the parts of updates, as all replicas will read them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/replica/job.h"
#include "common/replica/replica.h"
#include "common/replica/state_file.h"
#include "gradwire/v1/gradient.pb.h"
#include "gradwire/v1/log.pb.h"
#include "server/combine_block.h"
#include "server/downlink.h"
#include "server/lazy_noise.h"
#include "server/reset_rule.h"
#include "server/round.h"

namespace gradwire {

struct MadeUpdate {
  std::vector<std::string> parts;  // serialised UpdateParts, the last with the header
  size_t payload_bytes = 0;
  std::string server_part = {};  // Record::server_part
  Touched touched = {};  // all, unless ResetRule follows the distance and the update is sparse
};

// A record without blocks: the first one, or that of a step without a payload.
MadeUpdate MakeEmptyUpdate(uint64_t version, const v1::Header& header);

// Keeps what one update leaves for the next: noise not yet drawn, the downlink's residual, the
// codecs' state.  Not thread-safe.
class UpdateMaker {
 public:
  explicit UpdateMaker(std::shared_ptr<const Job> job);

  // The norm of the aggregate of the round's payloads over all blocks, in gradient units.  Infinite
  // when the learning rate is 0 and payloads have it in them: nothing is small then.
  double Norm(const Round& round, float learning_rate) const;

  // The aggregate of the round's payloads, clipped, with the perturbation that is drawn here,
  // encoded as the update of that version.  OutOfRange: finite payloads whose sum overflows, named
  // by block and coordinate.
  absl::StatusOr<MadeUpdate> Make(const Round& round, uint64_t version, const v1::Header& header);

  // In replay, in place of Make: brings what is kept to where Make left it when it made this record
  // with payloads.  `replica` is the one before it.  `touched` as of MadeUpdate.  DataLoss: the
  // server's part does not give the update that was published.
  absl::Status Replay(const std::vector<v1::UpdatePart>& parts, const v1::ServerPart& kept,
                      const Replica& replica, Touched* touched);

  // Of the residual of a downlink that is compressed again; 0 without one.  A pass over it.
  double DownlinkResidualNorm() const;

  // All that is kept, as views of it where it is long; and back.  InvalidArgument: not what Save
  // gives for this job.
  void Save(StateFile* file) const;
  absl::Status Load(StateFile* file);

  // The step after the update just made begins without residuals, and without the noise in them.
  void ForgetResiduals();

 private:
  // What one block gives: its part of MadeUpdate.
  struct MadeBlock {
    BlockValues mean;  // scratch
    std::string payload;
    v1::ServerPart kept;
    Touched touched;
    absl::Status status;
  };
  // What all blocks of an update share.
  struct Context {
    const Round* round = nullptr;
    float learning_rate = 0;
    float factor = 1;  // of clipping by norm
    bool note_touched = false;
    std::vector<double> norms = {};  // of the used payloads, for the job's aggregator
  };
  void MakeBlock(const Context& context, size_t block, CombineScratch* scratch, MadeBlock* made);
  absl::Status ReplayBlock(const v1::BlockPayload& block, const v1::Header& header,
                           const v1::KeptBlock* kept, const Replica& replica, Touched* touched);
  bool KeepsSum(size_t block) const { return !codec_state_[block].empty(); }
  void ClipValues(const BlockPlan& plan, float learning_rate, float factor,
                  BlockValues* mean) const;

  const std::shared_ptr<const Job> job_;
  LazyNoise noise_;
  Downlink downlink_;
  std::vector<std::vector<float>> codec_state_;  // by block
};

}  // namespace gradwire
