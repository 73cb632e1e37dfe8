// SPDX-License-Identifier: Apache-2.0
// The server's metrics in Prometheus' text format.  Every one is declared in metrics.cc, in one
// table, and nowhere else.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gradwire/v1/admin.pb.h"
#include "server/counters.h"

namespace gradwire {

struct DiskSpace {
  uint64_t size = 0;  // bytes; 0: not known
  uint64_t free = 0;  // that this process may use
};
// Of the file system that has the path.
DiskSpace DiskSpaceOf(const std::string& path);

// What the metrics of one scrape are read from.
struct MetricsSource {
  const v1::GetStatusResponse* status = nullptr;
  const ServerCounters* counters = nullptr;
  DiskSpace disk;
  double start_time = 0;  // of the process, in seconds since 1970
};

std::string MetricsText(const MetricsSource& source);

// As documentation and tests need them.
struct MetricName {
  const char* name;
  const char* type;    // counter, gauge or histogram
  const char* labels;  // separated by commas; "" for none
  const char* help;
};
std::vector<MetricName> MetricNames();

}  // namespace gradwire
