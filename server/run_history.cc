// SPDX-License-Identifier: Apache-2.0
// Implementation of run_history.h.
#include "server/run_history.h"

namespace gradwire {

void RunHistory::Add(const RunPoint& point) {
  MutexLock lock(&mu_);
  points_.Add(point);
}

void RunHistory::Add(const RunEvaluation& evaluation) {
  MutexLock lock(&mu_);
  if (evaluation.version <= evaluated_) return;
  evaluated_ = evaluation.version;
  evaluations_.Add(evaluation);
}

std::vector<RunPoint> RunHistory::PointsAfter(uint64_t version) const {
  MutexLock lock(&mu_);
  return points_.After(version);
}

std::vector<RunEvaluation> RunHistory::EvaluationsAfter(uint64_t version) const {
  MutexLock lock(&mu_);
  return evaluations_.After(version);
}

}  // namespace gradwire
