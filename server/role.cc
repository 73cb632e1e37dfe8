// SPDX-License-Identifier: Apache-2.0
// Implementation of role.h: the table.
#include "server/role.h"

#include <vector>

#include "absl/strings/str_join.h"

namespace gradwire {
namespace {

constexpr Role kRoles[] = {Role::kWorker, Role::kFollower, Role::kAdmin};

constexpr uint8_t kWorkers = static_cast<uint8_t>(Role::kWorker);
constexpr uint8_t kFollowers = static_cast<uint8_t>(Role::kFollower);
constexpr uint8_t kAdmins = static_cast<uint8_t>(Role::kAdmin);
constexpr uint8_t kAll = kWorkers | kFollowers | kAdmins;

constexpr MethodRule kRules[] = {
    {"/gradwire.v1.ParameterServer/Join", kWorkers},
    {kTrain, kAll},
    {kPush, kWorkers},
    {kFollow, kAll},
    {"/gradwire.v1.ParameterServer/GetModel", kAll},
    {"/gradwire.v1.ParameterServer/Heartbeat", kWorkers},
    {"/gradwire.v1.ParameterServer/Leave", kWorkers},
    {"/gradwire.v1.Admin/GetStatus", kAll},
    {"/gradwire.v1.Admin/Set", kAdmins},
    {"/gradwire.v1.Admin/Snapshot", kAdmins},
    {"/gradwire.v1.Admin/Drain", kAdmins},
    {"/gradwire.v1.Admin/Stop", kAdmins},
};

uint8_t MaskOf(absl::string_view method) {
  for (const MethodRule& rule : kRules) {
    if (rule.method == method) return rule.roles;
  }
  return 0;
}

}  // namespace

absl::Span<const MethodRule> MethodRules() { return kRules; }

absl::string_view RoleName(Role role) {
  switch (role) {
    case Role::kWorker:
      return "worker";
    case Role::kFollower:
      return "follower";
    case Role::kAdmin:
      return "admin";
  }
  return "";
}

bool ParseRole(absl::string_view name, Role* role) {
  for (const Role one : kRoles) {
    if (RoleName(one) != name) continue;
    *role = one;
    return true;
  }
  return false;
}

bool MayCall(Role role, absl::string_view method) {
  return (MaskOf(method) & static_cast<uint8_t>(role)) != 0;
}

std::string RolesOf(absl::string_view method) {
  std::vector<absl::string_view> names;
  for (const Role role : kRoles) {
    if (MayCall(role, method)) names.push_back(RoleName(role));
  }
  return names.empty() ? "nobody" : absl::StrJoin(names, " or ");
}

}  // namespace gradwire
