// SPDX-License-Identifier: Apache-2.0
// Implementation of access.h.
#include "server/access.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/rpc/limits.h"

namespace gradwire {
namespace {

constexpr absl::string_view kNameScheme = "gradwire://";

struct NamedRole {
  Role role = Role::kWorker;
  std::string name;
};

// Of "gradwire://ROLE/NAME".
std::optional<NamedRole> ParseName(absl::string_view uri) {
  NamedRole found;
  if (!absl::ConsumePrefix(&uri, kNameScheme)) return std::nullopt;
  const size_t slash = uri.find('/');
  if (slash == absl::string_view::npos || !ParseRole(uri.substr(0, slash), &found.role)) {
    return std::nullopt;
  }
  found.name = std::string(uri.substr(slash + 1));
  return found;
}

struct Named {
  Role role = Role::kWorker;
  std::vector<std::string> ids;
};

// What a certificate says.  Unauthenticated: something that nobody understands.
absl::StatusOr<Named> ReadNames(const Credentials& shown) {
  Named named = {.role = Role::kWorker, .ids = shown.names};
  bool has_role = false;
  for (const std::string& uri : shown.uris) {
    if (!absl::StartsWith(uri, kNameScheme)) continue;  // for somebody else
    const std::optional<NamedRole> one = ParseName(uri);
    if (!one.has_value() || (has_role && one->role != named.role)) {
      return absl::UnauthenticatedError(
          absl::StrCat("the certificate names \"", uri, "\": not of the form ", kNameScheme,
                       "ROLE/NAME with the role worker, follower or admin, or a second role"));
    }
    has_role = true;
    named.role = one->role;
    named.ids.push_back(one->name);
  }
  return named;
}

// The token of "Bearer TOKEN".
absl::StatusOr<absl::string_view> BearerToken(const std::vector<std::string>& headers) {
  if (headers.size() != 1) {
    return absl::UnauthenticatedError(headers.empty()
                                          ? "this server asks for a token: give --token_file=FILE"
                                          : "more than one authorization header");
  }
  absl::string_view value = headers[0];
  if (value.size() < 7 || !absl::EqualsIgnoreCase(value.substr(0, 7), "Bearer ")) {
    return absl::UnauthenticatedError("the authorization header is not \"Bearer TOKEN\"");
  }
  return value.substr(7);
}

}  // namespace

absl::Status Caller::MayCall(absl::string_view method) const {
  if (!role_.has_value() || gradwire::MayCall(*role_, method)) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat(method, " is for the role ", RolesOf(method),
                                                  ", and this caller is a ", RoleName(*role_)));
}

absl::Status Caller::MayBe(absl::string_view worker_id) const {
  const std::string shown = absl::StrCat("\"", worker_id.substr(0, kMaxTextBytes), "\"");
  if (!token_id_.empty() && token_id_ != worker_id) {
    return absl::PermissionDeniedError(
        absl::StrCat("worker id ", shown, ": this token is for \"", token_id_, "\" alone"));
  }
  if (!certificate_names_.empty() && std::find(certificate_names_.begin(), certificate_names_.end(),
                                               worker_id) == certificate_names_.end()) {
    return absl::PermissionDeniedError(absl::StrCat(
        "worker id ", shown, ": this certificate is for \"",
        absl::StrJoin(certificate_names_, "\", \""), "\"; --worker_id must be one of its names"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Caller> Access::Identify(const Credentials& shown) const {
  if (!asks()) return Caller();
  if (certificates_ && shown.names.empty() && shown.uris.empty()) {
    return absl::UnauthenticatedError(
        "this server asks for a certificate with a name in it: common, DNS or URI");
  }
  GRADWIRE_ASSIGN_OR_RETURN(Named named, ReadNames(shown));
  if (tokens_ == nullptr) return Caller(named.role, "", std::move(named.ids));
  GRADWIRE_ASSIGN_OR_RETURN(const absl::string_view token, BearerToken(shown.authorizations));
  const std::optional<TokenGrant> grant = tokens_->Find(token);
  if (!grant.has_value()) {
    return absl::UnauthenticatedError("this token is not in the server's --tokens file");
  }
  return Caller(grant->role, grant->worker_id, std::move(named.ids));
}

absl::Status Access::Counted(absl::Status status) {
  if (!status.ok()) refused_.fetch_add(1, std::memory_order_relaxed);
  return status;
}

absl::StatusOr<Caller> Access::Admit(absl::string_view method, const Credentials& shown) {
  absl::StatusOr<Caller> caller = Identify(shown);
  GRADWIRE_RETURN_IF_ERROR(Counted(caller.status()));
  GRADWIRE_RETURN_IF_ERROR(Counted(caller->MayCall(method)));
  return caller;
}

absl::Status Access::AdmitWorker(absl::string_view method, const Credentials& shown,
                                 absl::string_view worker_id) {
  GRADWIRE_ASSIGN_OR_RETURN(const Caller caller, Admit(method, shown));
  return Counted(caller.MayBe(worker_id));
}

}  // namespace gradwire
