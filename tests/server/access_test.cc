// SPDX-License-Identifier: Apache-2.0
// Who may call what: every method and role, and every way to say who one is.
#include "server/access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "gradwire/v1/admin.pb.h"
#include "gradwire/v1/service.pb.h"

namespace gradwire {
namespace {

using ::testing::HasSubstr;
using Code = absl::StatusCode;

constexpr char kJoin[] = "/gradwire.v1.ParameterServer/Join";
constexpr char kSet[] = "/gradwire.v1.Admin/Set";

std::set<std::string> MethodsOfTheServices() {
  std::set<std::string> methods;
  for (const auto* file :
       {v1::JoinRequest::descriptor()->file(), v1::GetStatusRequest::descriptor()->file()}) {
    for (int i = 0; i < file->service_count(); ++i) {
      for (int k = 0; k < file->service(i)->method_count(); ++k) {
        methods.insert(absl::StrCat("/", file->service(i)->full_name(), "/",
                                    file->service(i)->method(k)->name()));
      }
    }
  }
  return methods;
}

TEST(AccessTest, EveryMethodHasItsRoles) {
  const std::map<std::string, std::string> wanted = {
      {kJoin, "worker"},
      {"/gradwire.v1.ParameterServer/Train", "worker or follower or admin"},
      {std::string(kPush), "worker"},
      {std::string(kFollow), "worker or follower or admin"},
      {"/gradwire.v1.ParameterServer/GetModel", "worker or follower or admin"},
      {"/gradwire.v1.ParameterServer/Heartbeat", "worker"},
      {"/gradwire.v1.ParameterServer/Leave", "worker"},
      {"/gradwire.v1.Admin/GetStatus", "worker or follower or admin"},
      {kSet, "admin"},
      {"/gradwire.v1.Admin/Snapshot", "admin"},
      {"/gradwire.v1.Admin/Drain", "admin"},
      {"/gradwire.v1.Admin/Stop", "admin"},
  };
  for (const auto& [method, roles] : wanted) EXPECT_EQ(RolesOf(method), roles) << method;
  for (const std::string& method : MethodsOfTheServices()) {
    EXPECT_NE(RolesOf(method), "nobody") << method << " has no line in role.cc";
  }
  EXPECT_EQ(RolesOf("/gradwire.v1.Admin/Unheard"), "nobody");
  EXPECT_EQ(RolesOf(""), "nobody");
}

std::shared_ptr<TokenStore> Store() {
  const std::string path = testing::TempDir() + "/gradwire_access_tokens";
  std::ofstream(path) << "worker worker-token-0000\nworker one-token-0000000 worker=one\n"
                         "follower follow-token-0000\nadmin admin-token-00000\n";
  auto store = TokenStore::Open(path);
  EXPECT_TRUE(store.ok()) << store.status();
  return *std::move(store);
}

struct Case {
  const char* name;
  const char* method;
  Credentials shown;
  const char* worker_id;
  Code code;
  const char* says;
};

void Check(Access* access, const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const uint64_t before = access->calls_refused();
    const absl::Status status = access->AdmitWorker(c.method, c.shown, c.worker_id);
    EXPECT_EQ(status.code(), c.code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.says));
    EXPECT_EQ(access->calls_refused() - before, status.ok() ? 0u : 1u);
  }
}

TEST(AccessTest, AServerThatAsksForNothingLetsEverybodyDoAll) {
  Access access(false, nullptr);
  EXPECT_FALSE(access.asks());
  Check(&access, {{"join", kJoin, {}, "w", Code::kOk, ""}, {"set", kSet, {}, "", Code::kOk, ""}});
}

TEST(AccessTest, TokensDecideTheRole) {
  Access access(false, Store());
  Check(
      &access,
      {{"worker", kJoin, {{}, {"Bearer worker-token-0000"}}, "any", Code::kOk, ""},
       {"small letters", kJoin, {{}, {"bearer worker-token-0000"}}, "any", Code::kOk, ""},
       {"its own id", kJoin, {{}, {"Bearer one-token-0000000"}}, "one", Code::kOk, ""},
       {"another's id",
        kJoin,
        {{}, {"Bearer one-token-0000000"}},
        "two",
        Code::kPermissionDenied,
        "\"two\": this token is for \"one\" alone"},
       {"follower",
        kJoin,
        {{}, {"Bearer follow-token-0000"}},
        "w",
        Code::kPermissionDenied,
        "is for the role worker, and this caller is a follower"},
       {"worker sets",
        kSet,
        {{}, {"Bearer worker-token-0000"}},
        "",
        Code::kPermissionDenied,
        "is for the role admin"},
       {"admin sets", kSet, {{}, {"Bearer admin-token-00000"}}, "", Code::kOk, ""},
       {"none", kJoin, {}, "w", Code::kUnauthenticated, "--token_file"},
       {"unknown",
        kJoin,
        {{}, {"Bearer nobody-token-000"}},
        "w",
        Code::kUnauthenticated,
        "not in the server's"},
       {"two", kJoin, {{}, {"Bearer a", "Bearer b"}}, "w", Code::kUnauthenticated, "more than one"},
       {"basic", kJoin, {{}, {"Basic d29ya2Vy"}}, "w", Code::kUnauthenticated, "Bearer TOKEN"},
       {"empty", kJoin, {{}, {""}}, "w", Code::kUnauthenticated, "Bearer TOKEN"}});
}

TEST(AccessTest, CertificatesDecideTheRoleWhereThereAreNoTokens) {
  Access access(true, nullptr);
  Check(&access,
        {{"common name", kJoin, {{"w"}, {}}, "w", Code::kOk, ""},
         {"a DNS name", kJoin, {{"x", "w.example"}, {}}, "w.example", Code::kOk, ""},
         {"a worker's URI",
          kJoin,
          {{"x"}, {}, {"spiffe://o/x", "gradwire://worker/w"}},
          "w",
          Code::kOk,
          ""},
         {"another's id", kJoin, {{"w"}, {}}, "v", Code::kPermissionDenied, "is for \"w\""},
         {"part of an id", kJoin, {{"worker-1"}, {}}, "worker-11", Code::kPermissionDenied, ""},
         {"worker sets", kSet, {{"w"}, {}}, "w", Code::kPermissionDenied, "for the role admin"},
         {"admin sets", kSet, {{"a"}, {}, {"gradwire://admin/a"}}, "a", Code::kOk, ""},
         {"admin joins",
          kJoin,
          {{"a"}, {}, {"gradwire://admin/a"}},
          "a",
          Code::kPermissionDenied,
          "this caller is a admin"},
         {"no such role",
          kJoin,
          {{"w"}, {}, {"gradwire://root/w"}},
          "w",
          Code::kUnauthenticated,
          "gradwire://root/w"},
         {"two roles",
          kJoin,
          {{"w"}, {}, {"gradwire://worker/w", "gradwire://admin/w"}},
          "w",
          Code::kUnauthenticated,
          "second role"},
         {"a role as a common name",
          kSet,
          {{"gradwire://admin/a"}, {}},
          "a",
          Code::kPermissionDenied,
          "for the role admin"},
         {"no name", kJoin, {}, "w", Code::kUnauthenticated, "a certificate with a name"}});
}

TEST(AccessTest, WithBothTheTokenGivesTheRoleAndBothTheName) {
  Access access(true, Store());
  const std::string any = "Bearer worker-token-0000";
  const std::string one = "Bearer one-token-0000000";
  Check(&access,
        {{"both agree", kJoin, {{"one"}, {one}}, "one", Code::kOk, ""},
         {"certificate of another",
          kJoin,
          {{"two"}, {one}},
          "one",
          Code::kPermissionDenied,
          "certificate is for \"two\""},
         {"token of another",
          kJoin,
          {{"two"}, {one}},
          "two",
          Code::kPermissionDenied,
          "token is for \"one\""},
         {"any token, own certificate", kJoin, {{"two"}, {any}}, "two", Code::kOk, ""},
         {"admin by certificate alone",
          kSet,
          {{}, {any}, {"gradwire://admin/a"}},
          "a",
          Code::kPermissionDenied,
          "for the role admin"},
         {"no certificate", kJoin, {{}, {any}}, "w", Code::kUnauthenticated, "certificate"},
         {"no token", kJoin, {{"two"}, {}}, "two", Code::kUnauthenticated, "token"}});
}

}  // namespace
}  // namespace gradwire
