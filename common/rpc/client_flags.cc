// SPDX-License-Identifier: Apache-2.0
// Implementation of client_flags.h.
#include "common/rpc/client_flags.h"

#include <string>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "common/base/address_list.h"
#include "common/base/loopback.h"
#include "common/base/status_macros.h"
#include "common/rpc/tls_flags.h"

ABSL_FLAG(
    std::string, token_file, "",
    "File with this client's token, for a server with --tokens.  Read again when it changes.");

namespace gradwire {

absl::StatusOr<std::shared_ptr<ClientSecurity>> ClientSecurityFromFlags(
    absl::string_view addresses) {
  ClientSecurityOptions options = {.tls = TlsPathsFromFlags(),
                                   .token_file = absl::GetFlag(FLAGS_token_file)};
  if (!options.token_file.empty() && !options.tls.any() && !InsecureFromFlags()) {
    GRADWIRE_ASSIGN_OR_RETURN(const std::vector<std::string> servers, ParseAddresses(addresses));
    for (const std::string& server : servers) {
      if (IsLoopback(server)) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "the token in --token_file=", options.token_file, " would travel to ", server,
          " readable by all on the way: give --tls_ca, or --insecure where that is well"));
    }
  }
  return ClientSecurity::Open(std::move(options));
}

}  // namespace gradwire
