// SPDX-License-Identifier: Apache-2.0
// What a server answers over HTTP, path by path, for whoever watches it.  All of it only reads.
//
//   /              the page, with /page.css and /page.js
//   /healthz       200: the process answers
//   /readyz        200: workers are taken; 503: it drains, or the job has failed
//   /metrics       for Prometheus
//   /api/status    GetStatusResponse of admin.proto as JSON, by the names of its fields
//   /api/events    server-sent events: see EventFeed
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "gradwire/v1/admin.pb.h"
#include "server/coordinator.h"
#include "server/counters.h"

namespace gradwire {

struct HttpAnswer {
  int code = 200;
  std::string type = "text/plain; charset=utf-8";
  std::string body;
};

// Thread-safe.
class Site {
 public:
  // All must outlive it.  `state_dir`: whose disk is watched.
  Site(Coordinator* coordinator, const ServerCounters* counters, const Clock* clock,
       std::string state_dir);

  // Of a path without its query, but not of /api/events.  404 for what there is not.
  HttpAnswer Get(absl::string_view path) ABSL_LOCKS_EXCLUDED(mu_);

  // The status as JSON, at most kMaxAge old: however many ask, the training is asked so often.
  std::string StatusJson(bool newest = false) ABSL_LOCKS_EXCLUDED(mu_);
  const RunHistory& run() const { return coordinator_->run(); }

 private:
  static constexpr absl::Duration kMaxAge = absl::Milliseconds(200);

  struct Status {
    v1::GetStatusResponse message;
    std::string json;
  };
  std::shared_ptr<const Status> CurrentStatus(bool newest) ABSL_LOCKS_EXCLUDED(mu_);
  HttpAnswer Ready() const;
  std::string Metrics() ABSL_LOCKS_EXCLUDED(mu_);

  Coordinator* const coordinator_;
  const ServerCounters* const counters_;
  const Clock* const clock_;
  const std::string state_dir_;
  const double start_time_;

  Mutex mu_;
  std::shared_ptr<const Status> status_ ABSL_GUARDED_BY(mu_);
  absl::Duration status_at_ ABSL_GUARDED_BY(mu_);
};

// What one reader of /api/events gets, piece by piece:
//
//   event: run       data: {"points": [[version, seconds, loss, up_bytes, down_bytes, waiting,
//                    aggregating, log, applying], ...], "evaluations": [[version, loss, accuracy
//                    or null, bytes], ...]}: first the run so far, thinned out, then what is new
//   event: status    data: as of /api/status
//   event: end       the server ends; nothing comes after it
//
// Not thread-safe.
class EventFeed {
 public:
  explicit EventFeed(Site* site) : site_(site) {}

  // What is to be sent now.
  std::string Next(bool end);
  // How long to wait before Next: longer where a status is long.
  absl::Duration pause() const { return pause_; }

 private:
  std::string RunJson();

  Site* const site_;
  bool first_ = true;
  uint64_t version_ = 0;    // up to which points were sent
  uint64_t evaluated_ = 0;  // and evaluations
  absl::Duration pause_;
};

}  // namespace gradwire
