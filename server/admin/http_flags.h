// SPDX-License-Identifier: Apache-2.0
// The server's flags for HTTP, and what they ask for.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/admin/http_server.h"
#include "server/admin/site.h"

namespace gradwire {

// A site and its port; the site must not go first.
struct HttpEdge {
  std::unique_ptr<Site> site;
  std::unique_ptr<HttpServer> server;  // null: --http_listen is empty
};

// InvalidArgument: --http_listen is none.  To be asked before anything is started.
absl::Status CheckHttpFlags();

// Serves when it returns, and says where on stdout.  All must outlive what is returned.
absl::StatusOr<HttpEdge> StartHttp(Coordinator* coordinator, const ServerCounters* counters,
                                   const std::string& state_dir);

}  // namespace gradwire
