// SPDX-License-Identifier: Apache-2.0
// Implementation of loopback.h.
#include "common/base/loopback.h"

#include <arpa/inet.h>

#include "absl/strings/match.h"

namespace gradwire {

std::string HostOf(absl::string_view address) {
  if (!address.empty() && address.front() == '[') {
    return std::string(address.substr(1, address.find(']') - 1));
  }
  const size_t colon = address.rfind(':');
  // More than one colon without brackets: an IPv6 address without a port.
  if (colon == absl::string_view::npos || address.find(':') != colon) return std::string(address);
  return std::string(address.substr(0, colon));
}

bool IsLoopback(absl::string_view address) {
  if (absl::StartsWith(address, "unix:")) return true;
  const std::string host = HostOf(address);
  in_addr v4;
  in6_addr v6;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6) != 0;
  return absl::EqualsIgnoreCase(host, "localhost");
}

}  // namespace gradwire
