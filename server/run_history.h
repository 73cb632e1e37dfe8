// SPDX-License-Identifier: Apache-2.0
// How a run went since the server started, in a bounded number of points: for who looks late.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/base/mutex.h"

namespace gradwire {

// One version.
struct RunPoint {
  uint64_t version = 0;
  double seconds = 0;  // since the server started
  double loss = 0;
  uint64_t up_bytes = 0;  // wire, of all workers since the server started; so the next
  uint64_t down_bytes = 0;
  float waiting = 0;  // seconds of its round; see RoundTimes in admin.proto
  float aggregating = 0;
  float log = 0;
  float applying = 0;
};

// One evaluation.
struct RunEvaluation {
  uint64_t version = 0;  // of the parameters that were evaluated
  double loss = 0;
  bool has_accuracy = false;
  double accuracy = 0;
  uint64_t bytes = 0;  // up and down, when it came
};

// Points evenly spread over all that were added: when there are more than kMaxPoints, every
// second one is given up, and from then on only every second one that comes is kept.
template <typename Point>
class ThinnedSeries {
 public:
  static constexpr size_t kMaxPoints = 1000;

  void Add(const Point& point) {
    newest_ = point;
    const uint64_t index = added_++;
    if (index % stride_ != 0) return;
    points_.push_back(point);
    if (points_.size() <= kMaxPoints) return;
    for (size_t i = 0; 2 * i < points_.size(); ++i) points_[i] = points_[2 * i];
    points_.resize((points_.size() + 1) / 2);
    stride_ *= 2;
  }

  // Those after `version`, in order; the newest of all is always among them.
  std::vector<Point> After(uint64_t version) const {
    std::vector<Point> found;
    for (const Point& point : points_) {
      if (point.version > version) found.push_back(point);
    }
    const bool has_newest = !found.empty() && found.back().version == newest_.version;
    if (added_ > 0 && newest_.version > version && !has_newest) found.push_back(newest_);
    return found;
  }

 private:
  std::vector<Point> points_;
  Point newest_;
  uint64_t added_ = 0;
  uint64_t stride_ = 1;
};

// Thread-safe.  Versions start at 1 and grow.
class RunHistory {
 public:
  void Add(const RunPoint& point) ABSL_LOCKS_EXCLUDED(mu_);
  // One of a version that is not above the last one's is ignored.
  void Add(const RunEvaluation& evaluation) ABSL_LOCKS_EXCLUDED(mu_);

  std::vector<RunPoint> PointsAfter(uint64_t version) const ABSL_LOCKS_EXCLUDED(mu_);
  std::vector<RunEvaluation> EvaluationsAfter(uint64_t version) const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  mutable Mutex mu_;
  ThinnedSeries<RunPoint> points_ ABSL_GUARDED_BY(mu_);
  ThinnedSeries<RunEvaluation> evaluations_ ABSL_GUARDED_BY(mu_);
  uint64_t evaluated_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace gradwire
