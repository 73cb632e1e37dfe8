// SPDX-License-Identifier: Apache-2.0
// What is taken as certificate and key, and what is refused with which words.
#include "common/rpc/tls_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <sys/stat.h>

#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "common/rpc/openssl_types.h"
#include "tests/common/rpc/cert_files.h"

namespace gradwire {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<TlsMaterial> Load(const TlsPaths& paths, absl::Time now = absl::Now()) {
  absl::StatusOr<TlsPem> pem = ReadTlsFiles(paths);
  if (!pem.ok()) return pem.status();
  return CheckTls(paths, *std::move(pem), now);
}

std::string WithPassword(const std::string& key_path) {
  const std::string text = ReadText(key_path);
  const BioPtr in = MemoryBio(text);
  const KeyPtr key(PEM_read_bio_PrivateKey(in.get(), nullptr, nullptr, nullptr));
  const BioPtr out(BIO_new(BIO_s_mem()));
  char password[] = "secret";
  PEM_write_bio_PKCS8PrivateKey(out.get(), key.get(), EVP_aes_128_cbc(), password, 6, nullptr,
                                nullptr);
  char* bytes = nullptr;
  const auto size = static_cast<size_t>(BIO_get_mem_data(out.get(), &bytes));
  return {bytes, size};
}

TEST(TlsFilesTest, WhatCertsMakesIsTaken) {
  const std::string folder = MakeTestCerts("good", absl::Hours(1));
  const absl::Time before = absl::Now();
  const auto material = Load(PathsIn(folder));
  ASSERT_TRUE(material.ok()) << material.status();
  EXPECT_EQ(material->name, "server");
  EXPECT_GE(material->not_after, before + absl::Minutes(59));
  EXPECT_LE(material->not_after, absl::Now() + absl::Hours(1));
  struct stat info = {};
  ASSERT_EQ(stat((folder + "/server.key").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST(TlsFilesTest, RefusalsNameFlagPathAndRemedy) {
  const std::string folder = MakeTestCerts("refusals");
  const std::string other = MakeTestCerts("refusals_other");
  WriteText(folder + "/locked.key", WithPassword(folder + "/server.key"));
  WriteText(folder + "/empty", "");
  struct Case {
    const char* name;
    TlsPaths paths;
    std::vector<std::string> words;
  };
  TlsPaths swapped = PathsIn(folder);
  swapped.key = other + "/server.key";
  TlsPaths locked = PathsIn(folder);
  locked.key = folder + "/locked.key";
  TlsPaths missing = PathsIn(folder, "nobody");
  TlsPaths empty = PathsIn(folder);
  empty.certificate = folder + "/empty";
  TlsPaths key_as_ca = PathsIn(folder);
  key_as_ca.authorities = folder + "/ca.key";
  const Case cases[] = {
      {"swapped", swapped, {"--tls_key=" + swapped.key, "is not the key"}},
      {"locked", locked, {"--tls_key=" + locked.key, "has a password"}},
      {"missing", missing, {"--tls_cert=" + missing.certificate, "No such file"}},
      {"empty", empty, {"--tls_cert=" + empty.certificate, "no PEM certificate"}},
      {"key as authority", key_as_ca, {"--tls_ca=" + key_as_ca.authorities, "no PEM certificate"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const auto material = Load(c.paths);
    ASSERT_FALSE(material.ok());
    for (const std::string& word : c.words) {
      EXPECT_THAT(std::string(material.status().message()), HasSubstr(word));
    }
  }
  EXPECT_THAT(std::string(CheckPaths({.certificate = "c"}).message()), HasSubstr("--tls_key"));
  EXPECT_THAT(std::string(CheckPaths({.key = "k"}).message()), HasSubstr("--tls_cert"));
  EXPECT_TRUE(CheckPaths({.authorities = "a"}).ok());
}

TEST(TlsFilesTest, ACertificateCountsFromItsBeginToItsEnd) {
  const std::string folder = MakeTestCerts("times", absl::Hours(1));
  const TlsPaths paths = PathsIn(folder);
  const auto material = Load(paths);
  ASSERT_TRUE(material.ok());
  const absl::Time end = material->not_after;
  EXPECT_TRUE(Load(paths, end - absl::Seconds(1)).ok());
  const auto expired = Load(paths, end);
  EXPECT_THAT(std::string(expired.status().message()),
              HasSubstr("expired at " + UtcText(end) + "; put a new one there"));
  const auto early = Load(paths, end - absl::Hours(2));
  EXPECT_THAT(std::string(early.status().message()), HasSubstr("valid only from"));
}

// Whoever looks while a file is being written sees any beginning of it.
TEST(TlsFilesTest, NoHalfOfAFileIsTaken) {
  const std::string folder = MakeTestCerts("halves");
  const TlsPaths paths = PathsIn(folder);
  const TlsPem whole = *ReadTlsFiles(paths);
  for (std::string TlsPem::*part : {&TlsPem::certificates, &TlsPem::key, &TlsPem::authorities}) {
    const size_t text = absl::StripSuffix(whole.*part, "\n").size();
    for (size_t size = 0; size < text; ++size) {
      TlsPem cut = whole;
      (cut.*part).resize(size);
      EXPECT_FALSE(CheckTls(paths, cut, absl::Now()).ok()) << size;
    }
  }
}

TEST(TlsFilesTest, AllCertificatesOfAChainAreChecked) {
  const std::string folder = MakeTestCerts("chain");
  const TlsPaths paths = PathsIn(folder);
  TlsPem pem = *ReadTlsFiles(paths);
  const std::string authority = pem.authorities;
  pem.certificates += authority;
  EXPECT_TRUE(CheckTls(paths, pem, absl::Now()).ok());
  pem.certificates.resize(pem.certificates.size() - authority.size() / 2);
  const auto cut = CheckTls(paths, pem, absl::Now());
  EXPECT_THAT(std::string(cut.status().message()), HasSubstr("certificate 2 of 2"));
}

TEST(TlsFilesTest, AnAuthoritysFolderOnlyGetsWhatIsMissing) {
  const std::string folder = MakeTestCerts("again");
  const std::string before = ReadText(folder + "/server.crt");
  testing::internal::CaptureStdout();
  ASSERT_TRUE(MakeCerts({.out = folder, .hosts = {"h"}, .workers = {"w", "new"}}).ok());
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("new.crt"));
  EXPECT_EQ(ReadText(folder + "/server.crt"), before);
  EXPECT_TRUE(Load(PathsIn(folder, "new")).ok());
  EXPECT_EQ(MakeCerts({.out = folder, .hosts = {"a,DNS:b"}}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MakeCerts({.out = folder, .hosts = {"h"}, .workers = {"../w"}}).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace gradwire
