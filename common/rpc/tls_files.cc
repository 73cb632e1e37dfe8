// SPDX-License-Identifier: Apache-2.0
// Implementation of tls_files.h.
#include "common/rpc/tls_files.h"

#include <openssl/pem.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "common/rpc/openssl_types.h"

namespace gradwire {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 20;
constexpr absl::string_view kCertificateBegin = "-----BEGIN CERTIFICATE-----";

std::string Flagged(absl::string_view flag, absl::string_view path) {
  return absl::StrCat(flag, "=", path);
}

absl::StatusOr<std::string> ReadFlagged(absl::string_view flag, const std::string& path) {
  if (path.empty()) return std::string();
  absl::StatusOr<std::string> bytes = PosixFileSystem()->Read(path, kMaxFileBytes);
  if (bytes.ok()) return bytes;
  return absl::Status(bytes.status().code(),
                      absl::StrCat(Flagged(flag, path), ": ", bytes.status().message()));
}

size_t CountOf(absl::string_view text, absl::string_view what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != absl::string_view::npos; at = text.find(what, at + 1)) {
    ++count;
  }
  return count;
}

// All of the file's certificates: not one of them may be unreadable.
absl::StatusOr<std::vector<CertificatePtr>> ParseCertificates(const std::string& where,
                                                              absl::string_view pem) {
  ERR_clear_error();
  const BioPtr bio = MemoryBio(pem);
  std::vector<CertificatePtr> found;
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    found.emplace_back(certificate);
  }
  const std::string reason = OpenSslReason();
  const size_t begun = CountOf(pem, kCertificateBegin);
  if (begun == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(where, ": no PEM certificate in it; it begins with \"", kCertificateBegin,
                     "\" where there is one"));
  }
  if (found.size() != begun) {
    return absl::FailedPreconditionError(absl::StrCat(where, ": certificate ", found.size() + 1,
                                                      " of ", begun, " cannot be read (", reason,
                                                      "): is the file cut off or damaged?"));
  }
  return found;
}

// Without a terminal to ask for one.
int NoPassword(char* /*out*/, int /*size*/, int /*for_writing*/, void* /*data*/) { return 0; }

absl::StatusOr<KeyPtr> ParseKey(const std::string& where, absl::string_view pem) {
  ERR_clear_error();
  const BioPtr bio = MemoryBio(pem);
  KeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassword, nullptr));
  const std::string reason = OpenSslReason();
  if (key != nullptr) return key;
  if (absl::StrContains(pem, "ENCRYPTED")) {
    return absl::FailedPreconditionError(
        absl::StrCat(where, ": the key has a password; write it without one (openssl pkey -in ...)",
                     " into a file that only this user can read"));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      where, ": no PEM private key can be read from it (", reason, "): is it cut off?"));
}

absl::Status CheckTimes(const std::string& where, const X509& certificate, absl::Time now) {
  const absl::Time begin = TimeOf(X509_get0_notBefore(&certificate));
  const absl::Time end = TimeOf(X509_get0_notAfter(&certificate));
  const std::string what =
      absl::StrCat(where, ": the certificate of \"", NameOf(X509_get_subject_name(&certificate)));
  if (now >= end) {
    return absl::FailedPreconditionError(
        absl::StrCat(what, "\" expired at ", UtcText(end), "; put a new one there"));
  }
  if (now < begin) {
    return absl::FailedPreconditionError(absl::StrCat(
        what, "\" is valid only from ", UtcText(begin), " on; is this machine's clock right?"));
  }
  return absl::OkStatus();
}

absl::Status CheckOwn(const TlsPaths& paths, absl::Time now, TlsMaterial* material) {
  const std::string where = Flagged("--tls_cert", paths.certificate);
  GRADWIRE_ASSIGN_OR_RETURN(const std::vector<CertificatePtr> chain,
                            ParseCertificates(where, material->pem.certificates));
  GRADWIRE_ASSIGN_OR_RETURN(const KeyPtr key,
                            ParseKey(Flagged("--tls_key", paths.key), material->pem.key));
  if (X509_check_private_key(chain[0].get(), key.get()) != 1) {
    ERR_clear_error();
    return absl::FailedPreconditionError(
        absl::StrCat("--tls_key=", paths.key, " is not the key of the certificate in ", where,
                     ": give the two files that were made together"));
  }
  for (const CertificatePtr& certificate : chain) {
    GRADWIRE_RETURN_IF_ERROR(CheckTimes(where, *certificate, now));
    material->not_after =
        std::min(material->not_after, TimeOf(X509_get0_notAfter(certificate.get())));
  }
  material->name = NameOf(X509_get_subject_name(chain[0].get()));
  return absl::OkStatus();
}

// A bundle may have old ones beside those that count.
absl::Status CheckAuthorities(const TlsPaths& paths, absl::string_view pem, absl::Time now) {
  const std::string where = Flagged("--tls_ca", paths.authorities);
  GRADWIRE_ASSIGN_OR_RETURN(const std::vector<CertificatePtr> all, ParseCertificates(where, pem));
  absl::Status first;
  for (const CertificatePtr& authority : all) {
    const absl::Status status = CheckTimes(where, *authority, now);
    if (status.ok()) return status;
    if (first.ok()) first = status;
  }
  return first;
}

}  // namespace

std::string UtcText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", time, absl::UTCTimeZone());
}

absl::Status CheckPaths(const TlsPaths& paths) {
  if (paths.certificate.empty() == paths.key.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      paths.key.empty()
          ? absl::StrCat("--tls_cert=", paths.certificate, " needs its key: give --tls_key=FILE")
          : absl::StrCat("--tls_key=", paths.key, " needs its certificate: give --tls_cert=FILE"));
}

absl::StatusOr<TlsPem> ReadTlsFiles(const TlsPaths& paths) {
  TlsPem pem;
  GRADWIRE_ASSIGN_OR_RETURN(pem.certificates, ReadFlagged("--tls_cert", paths.certificate));
  GRADWIRE_ASSIGN_OR_RETURN(pem.key, ReadFlagged("--tls_key", paths.key));
  GRADWIRE_ASSIGN_OR_RETURN(pem.authorities, ReadFlagged("--tls_ca", paths.authorities));
  return pem;
}

absl::StatusOr<TlsMaterial> CheckTls(const TlsPaths& paths, TlsPem pem, absl::Time now) {
  TlsMaterial material;
  material.pem = std::move(pem);
  if (!paths.certificate.empty()) GRADWIRE_RETURN_IF_ERROR(CheckOwn(paths, now, &material));
  if (!paths.authorities.empty()) {
    GRADWIRE_RETURN_IF_ERROR(CheckAuthorities(paths, material.pem.authorities, now));
  }
  return material;
}

}  // namespace gradwire
