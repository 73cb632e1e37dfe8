// SPDX-License-Identifier: Apache-2.0
// Implementation of certs_flags.h.
#include "server/ctl/certs_flags.h"

#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "server/ctl/certs.h"

ABSL_FLAG(std::vector<std::string>, hosts,
          std::vector<std::string>({"localhost", "127.0.0.1", "::1"}),
          "certs: the names and IP addresses at which workers reach the server.");
ABSL_FLAG(std::vector<std::string>, worker_ids, {},
          "certs: the workers' ids; empty: worker-0, worker-1, ..., as many as --workers.");
ABSL_FLAG(absl::Duration, valid, absl::Hours(24 * 365), "certs: for so long from now on.");

namespace gradwire {

absl::Status MakeCertsOfFlags(const std::string& out, uint32_t workers) {
  CertsOptions options = {.out = out,
                          .hosts = absl::GetFlag(FLAGS_hosts),
                          .workers = absl::GetFlag(FLAGS_worker_ids),
                          .valid = absl::GetFlag(FLAGS_valid)};
  if (options.workers.empty()) {
    for (uint32_t i = 0; i < workers; ++i) options.workers.push_back(absl::StrCat("worker-", i));
  }
  return MakeCerts(options);
}

}  // namespace gradwire
