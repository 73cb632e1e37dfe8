// SPDX-License-Identifier: Apache-2.0
// What the way down carries: the aggregate as it is, or compressed again with a residual at
// the server.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/replica/job.h"

namespace gradwire {

// DoubleSqueeze (Tang, Lian, Yu, Zhang, Liu 2019): v = mean + delta; C(v) goes down;
// delta = v - C(v).  Without error feedback delta is always zero.  Not thread-safe.
class Downlink {
 public:
  explicit Downlink(std::shared_ptr<const Job> job);

  // mean += delta, where the block's plan says so.  Dense afterwards, then.
  void AddResidual(size_t block, BlockValues* mean) const;

  // What the update's block is to hold.  `mean` is what AddResidual made of the aggregate, and
  // is left in any state; `key` has the unit.  A flush leaves no residual.
  void Encode(const BlockKey& key, bool flush, BlockValues* mean, std::string* payload);

  // Of the block.
  bool HasResidual(size_t block) const;

  void Reset();

  const std::vector<float>& residual() const { return residual_; }
  // False: another number of coordinates.
  bool Restore(std::vector<float> residual);

 private:
  const std::shared_ptr<const Job> job_;
  std::vector<float> residual_;  // empty when no block has one
};

}  // namespace gradwire
