// SPDX-License-Identifier: Apache-2.0
// A small certificate authority, to begin with: gradwire certs.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace gradwire {

struct CertsOptions {
  std::string out;                        // a folder; made where it is missing
  std::vector<std::string> hosts;         // the server's names and IP addresses
  std::vector<std::string> workers = {};  // a certificate for each of these ids
  absl::Duration valid = absl::Hours(24 * 365);
};

// Writes NAME.crt and NAME.key (readable by this user only) for the server, each worker, a follower
// and an admin, signed by ca.crt.  With ca.crt and ca.key there, signs by those and only adds what
// is missing.  The authority lasts ten years.  InvalidArgument: a name that cannot be one, or what
// is in the folder is no authority.
absl::Status MakeCerts(const CertsOptions& options);

}  // namespace gradwire
