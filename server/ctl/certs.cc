// SPDX-License-Identifier: Apache-2.0
// Keys are ECDSA on P-256: small, and what every TLS library has.  All certificates of one kind of
// file, NAME.crt beside NAME.key; see certs.h.
#include "server/ctl/certs.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "common/rpc/openssl_types.h"

namespace gradwire {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 20;
constexpr size_t kMaxNameBytes = 64;  // of a common name, by X.509
constexpr absl::Duration kClockSkew = absl::Minutes(5);
constexpr absl::Duration kAuthorityValid = absl::Hours(24 * 3650);

struct Pair {
  CertificatePtr certificate;
  KeyPtr key;
};

// What one certificate is to say.
struct Request {
  std::string name;          // the common name, and the files'
  std::string alternatives;  // in OpenSSL's notation: "DNS:a,IP:1.2.3.4"; may be empty
  const char* usage;         // extended key usage
  bool authority = false;
};

absl::Status OpenSslFailed(absl::string_view what) {
  return absl::InternalError(absl::StrCat(what, " failed: ", OpenSslReason()));
}

absl::Status AddExtension(int nid, const std::string& value, X509* issuer, X509* to) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, to, nullptr, nullptr, 0);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  if (extension == nullptr) return OpenSslFailed(absl::StrCat("extension \"", value, "\""));
  X509_add_ext(to, extension, -1);
  X509_EXTENSION_free(extension);
  return absl::OkStatus();
}

absl::Status AddExtensions(const Request& request, X509* issuer, X509* to) {
  GRADWIRE_RETURN_IF_ERROR(AddExtension(
      NID_basic_constraints, request.authority ? "critical,CA:TRUE" : "CA:FALSE", issuer, to));
  GRADWIRE_RETURN_IF_ERROR(AddExtension(
      NID_key_usage, request.authority ? "critical,keyCertSign,cRLSign" : "digitalSignature",
      issuer, to));
  GRADWIRE_RETURN_IF_ERROR(AddExtension(NID_subject_key_identifier, "hash", issuer, to));
  if (request.authority) return absl::OkStatus();
  GRADWIRE_RETURN_IF_ERROR(AddExtension(NID_authority_key_identifier, "keyid", issuer, to));
  GRADWIRE_RETURN_IF_ERROR(AddExtension(NID_ext_key_usage, request.usage, issuer, to));
  if (request.alternatives.empty()) return absl::OkStatus();
  return AddExtension(NID_subject_alt_name, request.alternatives, issuer, to);
}

// `issuer` null: signed by itself.
absl::StatusOr<Pair> Make(const Request& request, const Pair* issuer, absl::Duration valid) {
  Pair made = {CertificatePtr(X509_new()), KeyPtr(EVP_EC_gen("P-256"))};
  if (made.certificate == nullptr || made.key == nullptr) return OpenSslFailed("making a key");
  X509* const certificate = made.certificate.get();
  unsigned char serial[16];
  if (RAND_bytes(serial, sizeof(serial)) != 1) return OpenSslFailed("drawing a serial number");
  serial[0] &= 0x7f;  // positive
  BIGNUM* const number = BN_bin2bn(serial, sizeof(serial), nullptr);
  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
  BN_free(number);
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_TIME_set(X509_getm_notBefore(certificate), absl::ToTimeT(absl::Now() - kClockSkew));
  ASN1_TIME_set(X509_getm_notAfter(certificate), absl::ToTimeT(absl::Now() + valid));
  X509_set_pubkey(certificate, made.key.get());
  X509_NAME_add_entry_by_NID(X509_get_subject_name(certificate), NID_commonName, MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(request.name.data()),
                             static_cast<int>(request.name.size()), -1, 0);
  X509* const above = issuer != nullptr ? issuer->certificate.get() : certificate;
  X509_set_issuer_name(certificate, X509_get_subject_name(above));
  GRADWIRE_RETURN_IF_ERROR(AddExtensions(request, above, certificate));
  EVP_PKEY* const signer = issuer != nullptr ? issuer->key.get() : made.key.get();
  if (X509_sign(certificate, signer, EVP_sha256()) == 0) return OpenSslFailed("signing");
  return made;
}

std::string TextOf(BIO* bio) {
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(bio, &bytes);  // NOLINT(google-runtime-int): OpenSSL's type
  return std::string(bytes, static_cast<size_t>(size));
}

// A new file with this mode, which it has from the start.
absl::Status WriteNew(const std::string& path, absl::string_view text, mode_t mode) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot create ", path));
  const bool whole = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const int error = errno;
  close(fd);
  return whole ? absl::OkStatus() : absl::ErrnoToStatus(error, absl::StrCat("cannot write ", path));
}

absl::Status WritePair(const std::string& base, const Pair& pair) {
  const BioPtr key(BIO_new(BIO_s_mem()));
  PEM_write_bio_PrivateKey(key.get(), pair.key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  const BioPtr certificate(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(certificate.get(), pair.certificate.get());
  GRADWIRE_RETURN_IF_ERROR(WriteNew(base + ".key", TextOf(key.get()), S_IRUSR | S_IWUSR));
  GRADWIRE_RETURN_IF_ERROR(
      WriteNew(base + ".crt", TextOf(certificate.get()), S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH));
  std::printf("%s.crt %s.key\n", base.c_str(), base.c_str());
  return absl::OkStatus();
}

bool Exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

absl::StatusOr<Pair> ReadPair(const std::string& base) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::string certificate,
                            PosixFileSystem()->Read(base + ".crt", kMaxFileBytes));
  GRADWIRE_ASSIGN_OR_RETURN(const std::string key,
                            PosixFileSystem()->Read(base + ".key", kMaxFileBytes));
  Pair pair = {
      CertificatePtr(PEM_read_bio_X509(MemoryBio(certificate).get(), nullptr, nullptr, nullptr)),
      KeyPtr(PEM_read_bio_PrivateKey(MemoryBio(key).get(), nullptr, nullptr, nullptr))};
  if (pair.certificate == nullptr || pair.key == nullptr ||
      X509_check_private_key(pair.certificate.get(), pair.key.get()) != 1) {
    ERR_clear_error();
    return absl::InvalidArgumentError(
        absl::StrCat(base, ".crt and ", base, ".key are no authority and its key"));
  }
  return pair;
}

// The folder's authority; a new one where there is none.
absl::StatusOr<Pair> Authority(const std::string& folder) {
  const std::string base = folder + "/ca";
  if (Exists(base + ".crt") && Exists(base + ".key")) return ReadPair(base);
  uint32_t number = 0;  // in its name, so that two authorities are not taken for one
  if (RAND_bytes(reinterpret_cast<unsigned char*>(&number), sizeof(number)) != 1) {
    return OpenSslFailed("drawing a number");
  }
  GRADWIRE_ASSIGN_OR_RETURN(Pair made, Make({.name = absl::StrCat("gradwire test CA ", number),
                                             .alternatives = "",
                                             .usage = "",
                                             .authority = true},
                                            nullptr, kAuthorityValid));
  GRADWIRE_RETURN_IF_ERROR(WritePair(base, made));
  return made;
}

absl::Status CheckName(absl::string_view flag, const std::string& name) {
  bool good = !name.empty() && name.size() <= kMaxNameBytes && name[0] != '.' && name[0] != '-';
  for (const char c : name) {
    good = good && (absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
                    absl::string_view("-._:*").find(c) != absl::string_view::npos);
  }
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(flag, ": \"", name, "\" is not 1 to ", kMaxNameBytes,
                   " letters, digits and -._: that begin with neither . nor -"));
}

std::string HostAlternatives(const std::vector<std::string>& hosts) {
  std::vector<std::string> all;
  for (const std::string& host : hosts) {
    unsigned char address[sizeof(in6_addr)];
    const bool is_ip = inet_pton(AF_INET, host.c_str(), address) == 1 ||
                       inet_pton(AF_INET6, host.c_str(), address) == 1;
    all.push_back(absl::StrCat(is_ip ? "IP:" : "DNS:", host));
  }
  return absl::StrJoin(all, ",");
}

std::vector<Request> Requests(const CertsOptions& options) {
  std::vector<Request> all = {
      {"server", HostAlternatives(options.hosts), "serverAuth"},
      {"follower", "URI:gradwire://follower/follower", "clientAuth"},
      {"admin", "URI:gradwire://admin/admin", "clientAuth"},
  };
  for (const std::string& worker : options.workers) all.push_back({worker, "", "clientAuth"});
  return all;
}

}  // namespace

absl::Status MakeCerts(const CertsOptions& options) {
  if (options.out.empty()) return absl::InvalidArgumentError("certs needs --out=DIR");
  if (options.hosts.empty()) return absl::InvalidArgumentError("--hosts: at least one is needed");
  for (const std::string& host : options.hosts) {
    GRADWIRE_RETURN_IF_ERROR(CheckName("--hosts", host));
  }
  for (const std::string& worker : options.workers) {
    GRADWIRE_RETURN_IF_ERROR(CheckName("--worker_ids", worker));
  }
  if (options.valid <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("--valid: a duration above 0 is needed");
  }
  GRADWIRE_RETURN_IF_ERROR(PosixFileSystem()->MakeFolders(options.out));
  GRADWIRE_ASSIGN_OR_RETURN(const Pair authority, Authority(options.out));
  for (const Request& request : Requests(options)) {
    const std::string base = absl::StrCat(options.out, "/", request.name);
    if (Exists(base + ".crt")) continue;
    GRADWIRE_ASSIGN_OR_RETURN(const Pair made, Make(request, &authority, options.valid));
    GRADWIRE_RETURN_IF_ERROR(WritePair(base, made));
  }
  return absl::OkStatus();
}

}  // namespace gradwire
