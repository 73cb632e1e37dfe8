// SPDX-License-Identifier: Apache-2.0
// Implementation of metrics.h: the table of all metrics.  Labels are from fixed lists, never names
// that a worker chose.
#include "server/admin/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <limits>
#include <sstream>
#include <utility>

#include "server/coordinator.h"

namespace gradwire {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr std::array<std::pair<Phase, const char*>, 7> kPhases = {{{Phase::kWaiting, "waiting"},
                                                                   {Phase::kTraining, "training"},
                                                                   {Phase::kStarved, "starved"},
                                                                   {Phase::kPaused, "paused"},
                                                                   {Phase::kFinishing, "finishing"},
                                                                   {Phase::kFinished, "finished"},
                                                                   {Phase::kFailed, "failed"}}};
constexpr std::array<const char*, 6> kWorkerStates = {"joined",       "ready", "member",
                                                      "reconnecting", "lost",  "left"};

// One family that is being filled.
class Family {
 public:
  Family(const MetricName& name, MetricFamily* family) : labels_(name.labels), family_(family) {
    family->name = name.name;
    family->help = name.help;
    const std::string type = name.type;
    family->type = type == "counter" ? MetricType::Counter
                   : type == "gauge" ? MetricType::Gauge
                                     : MetricType::Histogram;
  }

  // `label` is the value of the family's one label, if it has one.
  void Add(double value, const char* label = nullptr) {
    ClientMetric& metric = NewMetric(label);
    if (family_->type == MetricType::Counter) {
      metric.counter.value = value;
    } else {
      metric.gauge.value = value;
    }
  }
  void Add(const Counter& counter, const char* label = nullptr) {
    Add(static_cast<double>(counter.value()), label);
  }
  void Add(const TimeHistogram& histogram) {
    const TimeHistogram::Values values = histogram.values();
    ClientMetric::Histogram& out = NewMetric(nullptr).histogram;
    out.sample_count = values.count;
    out.sample_sum = values.seconds;
    uint64_t below = 0;
    for (size_t i = 0; i < values.counts.size(); ++i) {
      below += values.counts[i];
      const bool last = i == TimeHistogram::kBounds.size();
      AddRange(below, last ? kInfinity : TimeHistogram::kBounds[i], &out);
    }
  }
  // [i] counts what was i.
  template <typename Counts>
  void AddCounts(const Counts& counts) {
    constexpr std::array<int, 8> kEnds = {0, 1, 2, 4, 8, 16, 32, 64};
    ClientMetric::Histogram& out = NewMetric(nullptr).histogram;
    std::array<uint64_t, kEnds.size()> below = {};
    for (int i = 0; i < counts.size(); ++i) {
      out.sample_count += counts[i];
      out.sample_sum += static_cast<double>(counts[i]) * i;
      for (size_t end = 0; end < kEnds.size(); ++end) below[end] += i <= kEnds[end] ? counts[i] : 0;
    }
    for (size_t end = 0; end < kEnds.size(); ++end) AddRange(below[end], kEnds[end], &out);
    AddRange(out.sample_count, kInfinity, &out);
  }

 private:
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();

  ClientMetric& NewMetric(const char* label) {
    ClientMetric& metric = family_->metric.emplace_back();
    if (label != nullptr) metric.label.push_back({labels_, label});
    return metric;
  }
  static void AddRange(uint64_t below, double end, ClientMetric::Histogram* out) {
    ClientMetric::Bucket bucket;
    bucket.cumulative_count = below;
    bucket.upper_bound = end;
    out->bucket.push_back(bucket);
  }

  const std::string labels_;
  MetricFamily* const family_;
};

void AddPhases(const MetricsSource& from, Family* to) {
  for (const auto& [phase, label] : kPhases) {
    to->Add(from.status->phase() == PhaseName(phase) ? 1 : 0, label);
  }
}

void AddWorkers(const MetricsSource& from, Family* to) {
  for (const char* state : kWorkerStates) {
    const auto& workers = from.status->workers();
    to->Add(static_cast<double>(std::count_if(
                workers.begin(), workers.end(),
                [state](const v1::WorkerStatus& worker) { return worker.state() == state; })),
            state);
  }
}

void AddGreatestLag(const MetricsSource& from, Family* to) {
  uint64_t greatest = 0;
  for (const v1::WorkerStatus& worker : from.status->workers()) {
    if (worker.state() == "member") greatest = std::max(greatest, worker.lag());
  }
  to->Add(static_cast<double>(greatest));
}

void AddAccuracy(const MetricsSource& from, Family* to) {
  for (const v1::Metric& metric : from.status->evaluation().metrics()) {
    if (metric.name() == "accuracy") to->Add(metric.value());
  }
}

void AddRefused(const MetricsSource& from, Family* to) {
  for (size_t i = 0; i < kRefusalNames.size(); ++i) {
    to->Add(static_cast<double>(from.counters->payloads_refused.value(i)), kRefusalNames[i]);
  }
}

double ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  double total = 0;
  double resident = 0;
  file >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

struct Declaration {
  MetricName name;
  void (*fill)(const MetricsSource& from, Family* to);
};

// Short, so that a row is one line of data and one of code.
using From = const MetricsSource&;
using To = Family*;

constexpr Declaration kDeclarations[] = {
    {{"gradwire_rounds_total", "counter", "", "Rounds that made an update."},
     [](From from, To to) { to->Add(from.counters->rounds); }},
    {{"gradwire_payloads_used_total", "counter", "", "Workers' payloads that are in an update."},
     [](From from, To to) { to->Add(from.counters->payloads_used); }},
    {{"gradwire_payloads_late_total", "counter", "", "Payloads of a step that had ended."},
     [](From from, To to) { to->Add(from.counters->payloads_late); }},
    {{"gradwire_payloads_abstained_total", "counter", "",
      "Payloads not sent because the gradient was not finite."},
     [](From from, To to) { to->Add(from.counters->payloads_abstained); }},
    {{"gradwire_payloads_too_large_total", "counter", "",
      "Payloads left out of their step because their norm is above max_norm_factor."},
     [](From from, To to) { to->Add(from.counters->payloads_too_large); }},
    {{"gradwire_payloads_refused_total", "counter", "reason", "Payloads refused, by reason."},
     AddRefused},
    {{"gradwire_blocks_duplicate_total", "counter", "", "Blocks that were there already."},
     [](From from, To to) { to->Add(from.counters->blocks_duplicate); }},
    {{"gradwire_payload_bytes_total", "counter", "direction",
      "Bytes that codecs made, up from workers and down to them."},
     [](From from, To to) {
       to->Add(from.counters->up_payload_bytes, "up");
       to->Add(from.counters->down_payload_bytes, "down");
     }},
    {{"gradwire_wire_bytes_total", "counter", "direction",
      "Bytes of the messages that carry payloads and updates, as gRPC gets them."},
     [](From from, To to) {
       to->Add(from.counters->up_wire_bytes, "up");
       to->Add(from.counters->down_wire_bytes, "down");
     }},
    {{"gradwire_updates_sent_total", "counter", "", "Updates written whole, each to one worker."},
     [](From from, To to) { to->Add(from.counters->updates_sent); }},
    {{"gradwire_workers_joined_total", "counter", "", "Leases given."},
     [](From from, To to) { to->Add(from.counters->workers_joined); }},
    {{"gradwire_workers_departed_total", "counter", "how",
      "Workers that went before the job's end: lost, or left by themselves."},
     [](From from, To to) {
       to->Add(from.counters->workers_lost, "lost");
       to->Add(from.counters->workers_left, "left");
     }},
    {{"gradwire_resyncs_total", "counter", "",
      "Workers told to begin again because their model or history was another."},
     [](From from, To to) { to->Add(from.counters->resyncs); }},
    {{"gradwire_tls_reload_errors_total", "counter", "", "New certificates that were not taken."},
     [](From from, To to) { to->Add(from.counters->tls_reload_errors.value()); }},
    {{"gradwire_calls_refused_total", "counter", "",
      "Calls without a token or certificate that allows them."},
     [](From from, To to) { to->Add(from.counters->calls_refused.value()); }},

    {{"gradwire_round_seconds", "histogram", "", "From a step's opening to its update's end."},
     [](From from, To to) { to->Add(from.counters->round); }},
    {{"gradwire_round_waiting_seconds", "histogram", "",
      "Of a round: until its payloads were in, and added."},
     [](From from, To to) { to->Add(from.counters->waiting); }},
    {{"gradwire_encode_seconds", "histogram", "", "Of a round: making the update."},
     [](From from, To to) { to->Add(from.counters->encode); }},
    {{"gradwire_log_append_seconds", "histogram", "", "Of a round: writing it to the log."},
     [](From from, To to) { to->Add(from.counters->log_append); }},
    {{"gradwire_apply_seconds", "histogram", "", "Of a round: applying it to the model."},
     [](From from, To to) { to->Add(from.counters->apply); }},
    {{"gradwire_log_fsync_seconds", "histogram", "", "Syncs of the log's files."},
     [](From from, To to) { to->Add(from.counters->fsync); }},
    {{"gradwire_payload_staleness_versions", "histogram", "",
      "ASYNC jobs: updates between a payload's parameters and its own update."},
     [](From from, To to) { to->AddCounts(from.status->staleness()); }},

    {{"gradwire_version", "gauge", "", "Updates that the model has."},
     [](From from, To to) { to->Add(static_cast<double>(from.status->point().version())); }},
    {{"gradwire_steps", "gauge", "", "The job ends with this version."},
     [](From from, To to) { to->Add(static_cast<double>(from.status->job().steps())); }},
    {{"gradwire_parameters", "gauge", "", "The model's size in parameters; a shard's part."},
     [](From from, To to) { to->Add(static_cast<double>(from.status->dimension())); }},
    {{"gradwire_phase", "gauge", "phase", "1 for the phase that the job is in."}, AddPhases},
    {{"gradwire_workers", "gauge", "state", "Workers by state."}, AddWorkers},
    {{"gradwire_workers_min", "gauge", "", "Below so many members the job waits."},
     [](From from, To to) { to->Add(from.status->job().membership().min_workers()); }},
    {{"gradwire_staleness_versions", "gauge", "", "Greatest lag of a member, in versions."},
     AddGreatestLag},
    {{"gradwire_loss", "gauge", "", "Mean training loss of the newest update."},
     [](From from, To to) { to->Add(from.status->loss()); }},
    {{"gradwire_accuracy", "gauge", "", "Of the newest evaluation; absent before it."},
     AddAccuracy},
    {{"gradwire_steps_per_second", "gauge", "", "Over the newest updates."},
     [](From from, To to) { to->Add(from.status->steps_per_second()); }},
    {{"gradwire_seconds_since_update", "gauge", "", "Since the newest update, or the start."},
     [](From from, To to) { to->Add(from.status->seconds_since_update()); }},
    {{"gradwire_downlink_residual_norm", "gauge", "",
      "2-norm of the residual of a downlink that is compressed again, every hash_every versions."},
     [](From from, To to) { to->Add(from.counters->downlink_residual_norm.value()); }},
    {{"gradwire_snapshot_version", "gauge", "", "Version of the newest snapshot; 0: none."},
     [](From from, To to) { to->Add(static_cast<double>(from.status->snapshot_version())); }},
    {{"gradwire_log_bytes", "gauge", "", "Bytes of the log on disk."},
     [](From from, To to) { to->Add(static_cast<double>(from.status->log_bytes())); }},
    {{"gradwire_state_disk_size_bytes", "gauge", "", "Of the file system of --state_dir."},
     [](From from, To to) { to->Add(static_cast<double>(from.disk.size)); }},
    {{"gradwire_state_disk_free_bytes", "gauge", "", "Free there."},
     [](From from, To to) { to->Add(static_cast<double>(from.disk.free)); }},
    {{"gradwire_tls_not_after_seconds", "gauge", "",
      "When the certificate in use ends, in seconds since 1970; 0: no TLS."},
     [](From from, To to) { to->Add(from.counters->tls_not_after_seconds.value()); }},
    {{"process_resident_memory_bytes", "gauge", "", "Memory that the process holds."},
     [](From /*from*/, To to) { to->Add(ResidentBytes()); }},
    {{"process_start_time_seconds", "gauge", "", "When it began, in seconds since 1970."},
     [](From from, To to) { to->Add(from.start_time); }},
};

}  // namespace

DiskSpace DiskSpaceOf(const std::string& path) {
  struct statvfs of = {};
  if (statvfs(path.c_str(), &of) != 0) return {};
  return {.size = uint64_t{of.f_blocks} * of.f_frsize, .free = uint64_t{of.f_bavail} * of.f_frsize};
}

std::string MetricsText(const MetricsSource& source) {
  std::vector<MetricFamily> families(std::size(kDeclarations));
  for (size_t i = 0; i < families.size(); ++i) {
    Family family(kDeclarations[i].name, &families[i]);
    kDeclarations[i].fill(source, &family);
  }
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return out.str();
}

std::vector<MetricName> MetricNames() {
  std::vector<MetricName> names;
  for (const Declaration& one : kDeclarations) names.push_back(one.name);
  return names;
}

}  // namespace gradwire
