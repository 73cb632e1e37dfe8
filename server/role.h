// SPDX-License-Identifier: Apache-2.0
// What somebody who calls a server may be, and which methods each of them may call.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace gradwire {

enum class Role : uint8_t { kWorker = 1, kFollower = 2, kAdmin = 4 };

absl::string_view RoleName(Role role);
// False: no such role.
bool ParseRole(absl::string_view name, Role* role);

struct MethodRule {
  absl::string_view method;  // "/gradwire.v1.Service/Method"
  uint8_t roles;             // of enum Role
};

// Every method of our services; one that is not here is refused to all.
absl::Span<const MethodRule> MethodRules();

// A Train stream is opened by all; Hello decides which of the last two it is.
inline constexpr absl::string_view kTrain = "/gradwire.v1.ParameterServer/Train";
inline constexpr absl::string_view kPush = "/gradwire.v1.ParameterServer/Train#push";
inline constexpr absl::string_view kFollow = "/gradwire.v1.ParameterServer/Train#follow";

bool MayCall(Role role, absl::string_view method);
// "worker or admin"; for messages.
std::string RolesOf(absl::string_view method);

}  // namespace gradwire
