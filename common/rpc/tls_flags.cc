// SPDX-License-Identifier: Apache-2.0
// Implementation of tls_flags.h.
#include "common/rpc/tls_flags.h"

#include <string>

#include "absl/flags/flag.h"

ABSL_FLAG(
    std::string, tls_cert, "",
    "PEM file with this program's certificate, then those between it and the authority.  Read "
    "again when it changes.");
ABSL_FLAG(std::string, tls_key, "", "PEM file with the key of --tls_cert.");
ABSL_FLAG(std::string, tls_ca, "",
          "PEM file with the authorities that may have signed the other side's certificate.  At a "
          "client it turns TLS on; at a server it makes every client show a certificate.");
ABSL_FLAG(bool, insecure, false,
          "Allows what others on the network could read or change: at a server, an address that "
          "is not this machine's own without TLS; at a client, a token sent without TLS.");

namespace gradwire {

TlsPaths TlsPathsFromFlags() {
  return {.certificate = absl::GetFlag(FLAGS_tls_cert),
          .key = absl::GetFlag(FLAGS_tls_key),
          .authorities = absl::GetFlag(FLAGS_tls_ca)};
}

bool InsecureFromFlags() { return absl::GetFlag(FLAGS_insecure); }

}  // namespace gradwire
