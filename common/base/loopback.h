// SPDX-License-Identifier: Apache-2.0
// Whether an address is one that only this machine can reach.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace gradwire {

// The host of "host:port", "[v6]:port" or "host"; without brackets.
std::string HostOf(absl::string_view address);

// True for 127.0.0.0/8, ::1, localhost and unix:PATH.  Asks no name server.
bool IsLoopback(absl::string_view address);

}  // namespace gradwire
