// SPDX-License-Identifier: Apache-2.0
// Implementation of http_flags.h.
#include "server/admin/http_flags.h"

#include <cstdio>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/loopback.h"
#include "common/base/status_macros.h"

ABSL_FLAG(std::string, http_listen, "",
          "HOST:PORT for HTTP (a page to watch, /metrics, /healthz, /readyz, /api/status), which "
          "only reads and asks nobody who he is; a port alone is on the loopback address; empty: "
          "none.");

namespace gradwire {
namespace {

const SteadyClock& SteadyTime() {
  static const SteadyClock clock;
  return clock;
}

}  // namespace

absl::Status CheckHttpFlags() {
  const std::string listen = absl::GetFlag(FLAGS_http_listen);
  return listen.empty() ? absl::OkStatus() : ParseHttpListen(listen).status();
}

absl::StatusOr<HttpEdge> StartHttp(Coordinator* coordinator, const ServerCounters* counters,
                                   const std::string& state_dir) {
  HttpEdge edge;
  if (absl::GetFlag(FLAGS_http_listen).empty()) return edge;
  HttpServerOptions options;
  GRADWIRE_ASSIGN_OR_RETURN(options.listen, ParseHttpListen(absl::GetFlag(FLAGS_http_listen)));
  edge.site = std::make_unique<Site>(coordinator, counters, &SteadyTime(), state_dir);
  GRADWIRE_ASSIGN_OR_RETURN(edge.server, HttpServer::Start(options, edge.site.get()));
  if (!IsLoopback(edge.server->address())) {
    LogWarning(absl::StrCat("http on ", edge.server->address(),
                            ": whoever reaches this port may look at the job"));
  }
  std::printf("http on %s\n", edge.server->address().c_str());
  std::fflush(stdout);
  return edge;
}

}  // namespace gradwire
