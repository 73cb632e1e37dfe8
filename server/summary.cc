// SPDX-License-Identifier: Apache-2.0
// Implementation of summary.h.
#include "server/summary.h"

#include <nlohmann/json.hpp>

#include "common/base/hash.h"

namespace gradwire {
namespace {

double Per(const Counter& total, const Counter& count) {
  if (count.value() == 0) return 0;
  return static_cast<double>(total.value()) / static_cast<double>(count.value());
}

nlohmann::ordered_json Direction(const Counter& payload, const Counter& wire,
                                 const Counter& count) {
  return {{"payload_bytes_per_step", Per(payload, count)},
          {"wire_bytes_per_step", Per(wire, count)}};
}

}  // namespace

std::string SummaryJson(const Job& job, const Coordinator::Result& result,
                        const ServerCounters& counters) {
  nlohmann::ordered_json summary;
  summary["job"] = job.config.name();
  summary["phase"] = std::string(PhaseName(result.phase));
  if (!result.failure.ok()) summary["failure"] = std::string(result.failure.message());
  summary["version"] = result.version;
  summary["dimension"] = job.layout.dimension();
  summary["workers"] = job.config.membership().workers();
  summary["steps"] = result.steps;
  summary["seconds"] = result.seconds;
  summary["loss"] = result.loss;
  for (const v1::Metric& metric : result.evaluation.metrics()) {
    summary[metric.name() == "accuracy" ? "test_accuracy" : metric.name()] = metric.value();
  }
  summary["uplink"] =
      Direction(counters.up_payload_bytes, counters.up_wire_bytes, counters.payloads_used);
  summary["downlink"] =
      Direction(counters.down_payload_bytes, counters.down_wire_bytes, counters.updates_sent);
  summary["dense_bytes_per_step"] = job.layout.dimension() * sizeof(float);
  summary["parameters"] = HashText(result.parameters_hash);
  if (job.config.consistency() == v1::ASYNC) {
    summary["staleness"] = result.staleness;  // [i]: payloads that i updates came before
    summary["lead"] = result.lead;            // [i]: payloads of workers i ahead of the slowest
  }
  summary["left"] = nlohmann::ordered_json::array();
  for (const Departure& departure : result.departures) {
    summary["left"].push_back({{"worker", departure.worker},
                               {"rank", departure.rank},
                               {"step", departure.step},
                               {"reason", departure.reason}});
  }
  return summary.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace gradwire
