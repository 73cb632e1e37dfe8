// SPDX-License-Identifier: Apache-2.0
// Implementation of security_flags.h.
#include "server/security_flags.h"

#include <string>

#include "absl/flags/flag.h"
#include "common/rpc/tls_flags.h"

ABSL_FLAG(std::string, tokens, "",
          "File with the tokens that are accepted, one a line: ROLE TOKEN [worker=ID], with the "
          "role worker, follower or admin.  Read again when it changes.");

namespace gradwire {

SecurityOptions SecurityFromFlags() {
  SecurityOptions options;
  options.tls = TlsPathsFromFlags();
  options.tokens = absl::GetFlag(FLAGS_tokens);
  options.insecure = InsecureFromFlags();
  return options;
}

}  // namespace gradwire
