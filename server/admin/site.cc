// SPDX-License-Identifier: Apache-2.0
// Implementation of site.h.
#include "server/admin/site.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/admin/metrics.h"
#include "server/admin/page.h"

namespace gradwire {
namespace {

double SecondsSince1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string ToJson(const v1::GetStatusResponse& status) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto done = google::protobuf::util::MessageToJsonString(status, &json, options);
  return done.ok() ? json : "{}";
}

}  // namespace

Site::Site(Coordinator* coordinator, const ServerCounters* counters, const Clock* clock,
           std::string state_dir)
    : coordinator_(coordinator),
      counters_(counters),
      clock_(clock),
      state_dir_(std::move(state_dir)),
      start_time_(SecondsSince1970()) {}

HttpAnswer Site::Get(absl::string_view path) {
  if (path == "/healthz") return {.body = "ok\n"};
  if (path == "/readyz") return Ready();
  if (path == "/metrics") return {.type = "text/plain; version=0.0.4", .body = Metrics()};
  if (path == "/api/status") return {.type = "application/json", .body = StatusJson() + "\n"};
  for (const PageFile& file : PageFiles()) {
    if (path == file.path)
      return {.type = std::string(file.type), .body = std::string(file.content)};
  }
  return {.code = 404, .body = "not found: see / for a page, /metrics, /api/status, /healthz\n"};
}

// Without the coordinator's lock, as /healthz: a long update makes nobody unready.
HttpAnswer Site::Ready() const {
  if (coordinator_->accepting()) return {.body = "ready\n"};
  return {.code = 503, .body = "the server drains, or its job has failed\n"};
}

std::shared_ptr<const Site::Status> Site::CurrentStatus(bool newest) {
  MutexLock lock(&mu_);
  const absl::Duration now = clock_->Now();
  if (status_ == nullptr || newest || now - status_at_ >= kMaxAge) {
    auto status = std::make_shared<Status>();
    status->message = coordinator_->GetStatus();
    status->json = ToJson(status->message);
    status_ = std::move(status);
    status_at_ = now;
  }
  return status_;
}

std::string Site::StatusJson(bool newest) { return CurrentStatus(newest)->json; }

std::string Site::Metrics() {
  const std::shared_ptr<const Status> status = CurrentStatus(false);
  return MetricsText({.status = &status->message,
                      .counters = counters_,
                      .disk = DiskSpaceOf(state_dir_),
                      .start_time = start_time_});
}

std::string EventFeed::RunJson() {
  using nlohmann::json;
  json points = json::array();
  for (const RunPoint& p : site_->run().PointsAfter(version_)) {
    points.push_back({p.version, p.seconds, p.loss, p.up_bytes, p.down_bytes, p.waiting,
                      p.aggregating, p.log, p.applying});
    version_ = p.version;
  }
  json evaluations = json::array();
  for (const RunEvaluation& e : site_->run().EvaluationsAfter(evaluated_)) {
    const json accuracy = e.has_accuracy ? json(e.accuracy) : json();
    evaluations.push_back({e.version, e.loss, accuracy, e.bytes});
    evaluated_ = e.version;
  }
  if (points.empty() && evaluations.empty() && !first_) return "";
  return json({{"points", points}, {"evaluations", evaluations}}).dump();  // NaN becomes null
}

std::string EventFeed::Next(bool end) {
  constexpr size_t kLongStatus = 100000;  // bytes: of some hundreds of workers
  std::string out;
  if (const std::string run = RunJson(); !run.empty()) {
    absl::StrAppend(&out, "event: run\ndata: ", run, "\n\n");
  }
  first_ = false;
  const std::string status = site_->StatusJson(end);
  absl::StrAppend(&out, "event: status\ndata: ", status, "\n\n");
  if (end) absl::StrAppend(&out, "event: end\ndata: {}\n\n");
  pause_ = status.size() > kLongStatus ? absl::Seconds(10) : absl::Seconds(1);
  return out;
}

}  // namespace gradwire
