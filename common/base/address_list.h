// SPDX-License-Identifier: Apache-2.0
// The addresses of a job's servers, as --server names them:
//
//   list  = item *( "," item )
//   item  = text [ "{" first ".." last "}" text ]   ; one address for each number, both included
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gradwire {

inline constexpr size_t kMaxAddresses = 64;

// "host-{0..1}.name:7070" or "a:1,b:2": one address a shard, in order.  InvalidArgument names what
// cannot be read, an address that stands there twice, or the limit.
absl::StatusOr<std::vector<std::string>> ParseAddresses(absl::string_view list);

}  // namespace gradwire
