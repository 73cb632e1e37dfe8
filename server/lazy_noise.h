// SPDX-License-Identifier: Apache-2.0
// Perturbation drawn when a coordinate is sent, not every step: the law is the
// same, the work is that of the coordinates sent.
#pragma once

#include <cstddef>
#include <vector>

#include "common/codec/codec.h"
#include "common/optimizer/optimizer.h"
#include "common/replica/job.h"

namespace gradwire {

// V_t is the sum over steps u <= t of the noise's variance at step u, in the payload's
// units: (learning rate * std)^2 or std^2.  Noise that sits in a residual influences nothing
// until its coordinate is sent; then it is one Gaussian of variance V_t - V_(last time sent).
// See algorithms finding 4.  Not thread-safe.
class LazyNoise {
 public:
  explicit LazyNoise(std::shared_ptr<const Job> job);

  // False when the job has no perturbation, or its workers draw it: then nothing
  // below does anything.
  bool active() const { return active_; }

  // Once a step, before the blocks.
  void BeginStep(float learning_rate);
  // values[i] += the noise that coordinate indices[i] has gathered.
  void AddTo(const BlockKey& key, size_t block_offset, BlockValues* mean);

  // In replay, in place of AddTo: the noise is in the update that is on the log.
  void NoteDrawn(const BlockKey& key, size_t block_offset, const BlockValues& mean);

  // V_t, and V at each coordinate's last time (none when not active).
  double total() const { return total_; }
  const std::vector<double>& drawn() const { return drawn_; }
  // False: another number of coordinates.
  bool Restore(double total, std::vector<double> drawn);

  // The residuals were dropped, and the noise in them.
  void Forget();

 private:
  const std::shared_ptr<const Job> job_;
  const bool active_;
  double total_ = 0;            // V_t
  std::vector<double> drawn_;   // by coordinate: V at the last time it was sent
  std::vector<float> normals_;  // scratch
};

}  // namespace gradwire
