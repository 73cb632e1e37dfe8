// SPDX-License-Identifier: Apache-2.0
// A handshake of our own over a plain socket, with everything allowed, and then looked at.
#include "common/rpc/tls_handshake.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/loopback.h"
#include "common/base/status_macros.h"
#include "common/rpc/openssl_types.h"

namespace gradwire {
namespace {

using ContextPtr = std::unique_ptr<SSL_CTX, OpenSslFree<SSL_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, OpenSslFree<SSL_free>>;
using AddressesPtr = std::unique_ptr<addrinfo, OpenSslFree<freeaddrinfo>>;

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

// A blocking socket whose reads and writes end after `patience`, or -1.
int Connect(const addrinfo& to, absl::Duration patience) {
  const int fd = socket(to.ai_family, to.ai_socktype | SOCK_CLOEXEC, to.ai_protocol);
  if (fd < 0) return -1;
  const timeval limit = absl::ToTimeval(patience);
  // Linux bounds connect() by the time-out for sending.
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  if (connect(fd, to.ai_addr, to.ai_addrlen) == 0) return fd;
  close(fd);
  return -1;
}

int ConnectTo(const std::string& address, absl::Duration patience) {
  const std::string host = HostOf(address);
  const std::string port = address.substr(address.rfind(':') + 1);
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), port.c_str(), &hints, &found) != 0) return -1;
  const AddressesPtr owner(found);
  for (; found != nullptr; found = found->ai_next) {
    if (const int fd = Connect(*found, patience); fd >= 0) return fd;
  }
  return -1;
}

// OpenSSL writes to its socket without MSG_NOSIGNAL: while this lives, a peer that hangs up ends no
// process.
class NoPipeSignal {
 public:
  NoPipeSignal() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~NoPipeSignal() {
    const timespec no_wait = {};
    while (sigismember(&before_, SIGPIPE) == 0 && sigtimedwait(&pipe_, nullptr, &no_wait) > 0) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  NoPipeSignal(const NoPipeSignal&) = delete;
  NoPipeSignal& operator=(const NoPipeSignal&) = delete;

 private:
  sigset_t pipe_;
  sigset_t before_;
};

// What the other side has asked for.
struct Asked {
  bool for_certificate = false;
};

int NoteCertificateRequest(SSL* /*ssl*/, void* asked) {
  static_cast<Asked*>(asked)->for_certificate = true;
  return 1;
}

void AddAuthorities(const TlsMaterial& material, SSL_CTX* context) {
  const BioPtr bio = MemoryBio(material.pem.authorities);
  X509_STORE* const store = SSL_CTX_get_cert_store(context);
  while (true) {
    const CertificatePtr authority(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (authority == nullptr) break;
    X509_STORE_add_cert(store, authority.get());
  }
  ERR_clear_error();
}

CertificatePtr OwnCertificate(const TlsMaterial& material) {
  const BioPtr bio = MemoryBio(material.pem.certificates);
  return CertificatePtr(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

void AddOwn(const TlsMaterial& material, SSL_CTX* context) {
  const BioPtr bio = MemoryBio(material.pem.certificates);
  const CertificatePtr own(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  SSL_CTX_use_certificate(context, own.get());
  while (X509* more = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    SSL_CTX_add0_chain_cert(context, more);  // takes it
  }
  const BioPtr key_bio = MemoryBio(material.pem.key);
  const KeyPtr key(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, nullptr, nullptr));
  SSL_CTX_use_PrivateKey(context, key.get());
  ERR_clear_error();
}

ContextPtr MakeContext(const TlsMaterial* material, Asked* asked) {
  ContextPtr context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);  // we look ourselves
  SSL_CTX_set_cert_cb(context.get(), NoteCertificateRequest, asked);
  constexpr unsigned char kHttp2[] = {2, 'h', '2'};
  SSL_CTX_set_alpn_protos(context.get(), kHttp2, sizeof(kHttp2));
  if (material == nullptr) return context;
  AddAuthorities(*material, context.get());
  if (!material->pem.certificates.empty()) AddOwn(*material, context.get());
  return context;
}

// For the message only: what the certificate is for.
std::string NamesIn(X509* certificate) {
  std::vector<std::string> names;
  auto* const all = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(all); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(all, i);
    if (name->type == GEN_DNS) {
      names.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                         ASN1_STRING_length(name->d.dNSName));
    } else if (name->type == GEN_IPADD) {
      char text[INET6_ADDRSTRLEN] = {};
      const int family = ASN1_STRING_length(name->d.iPAddress) == 4 ? AF_INET : AF_INET6;
      inet_ntop(family, ASN1_STRING_get0_data(name->d.iPAddress), text, sizeof(text));
      names.emplace_back(text);
    }
  }
  GENERAL_NAMES_free(all);
  return names.empty() ? "none" : absl::StrJoin(names, ", ");
}

bool Names(X509* certificate, const std::string& host) {
  return X509_check_ip_asc(certificate, host.c_str(), 0) == 1 ||
         X509_check_host(certificate, host.data(), host.size(), 0, nullptr) == 1;
}

absl::Status Wrong(absl::string_view text) { return absl::UnauthenticatedError(text); }

// What is wrong with the server's certificate.
absl::Status JudgeServer(const std::string& host, const TlsPaths& paths, const SSL* ssl) {
  const CertificatePtr certificate(SSL_get1_peer_certificate(ssl));
  if (certificate == nullptr) return absl::OkStatus();
  const std::string what = absl::StrCat("its certificate, of \"",
                                        NameOf(X509_get_subject_name(certificate.get())), "\"");
  const std::string issuer = NameOf(X509_get_issuer_name(certificate.get()));
  const long result = SSL_get_verify_result(ssl);  // NOLINT(google-runtime-int): OpenSSL's type
  switch (result) {
    case X509_V_OK:
      break;
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return Wrong(absl::StrCat(what, ", or one above it, has expired (its own end: ",
                                UtcText(TimeOf(X509_get0_notAfter(certificate.get()))),
                                "): the server needs a new one"));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return Wrong(absl::StrCat(what, ", is not valid yet: is this machine's clock right?"));
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
      return Wrong(absl::StrCat(what, ", is self-signed, and not in --tls_ca=", paths.authorities));
    default:
      return Wrong(absl::StrCat(what, ", is signed by another authority (\"", issuer,
                                "\") than those in --tls_ca=", paths.authorities, " (",
                                X509_verify_cert_error_string(result), ")"));
  }
  if (Names(certificate.get(), host)) return absl::OkStatus();
  return Wrong(absl::StrCat(what, ", is for another name than \"", host,
                            "\"; it names: ", NamesIn(certificate.get())));
}

// The names of the authorities that the server accepts; whether `issuer` is one of them.
bool Accepts(const SSL* ssl, const X509_NAME* issuer, std::string* accepted) {
  const STACK_OF(X509_NAME)* const list = SSL_get0_peer_CA_list(ssl);
  bool listed = sk_X509_NAME_num(list) <= 0;  // none named: nothing is known
  std::vector<std::string> names;
  for (int i = 0; i < sk_X509_NAME_num(list); ++i) {
    names.push_back(absl::StrCat("\"", NameOf(sk_X509_NAME_value(list, i)), "\""));
    listed = listed || X509_NAME_cmp(sk_X509_NAME_value(list, i), issuer) == 0;
  }
  *accepted = absl::StrJoin(names, ", ");
  return listed;
}

// Why the server does not take us, when it has asked who we are and then hung up.
absl::Status JudgeOwn(const TlsPaths& paths, const TlsMaterial& material, const SSL* ssl) {
  if (material.pem.certificates.empty()) {
    return Wrong("it wants to see a certificate of this client: give --tls_cert and --tls_key");
  }
  const CertificatePtr own = OwnCertificate(material);
  const X509_NAME* const issuer = X509_get_issuer_name(own.get());
  const std::string what =
      absl::StrCat("it does not accept the certificate in --tls_cert=", paths.certificate,
                   ", of \"", material.name, "\": ");
  if (absl::Now() >= material.not_after) {
    return Wrong(absl::StrCat(what, "that expired at ", UtcText(material.not_after)));
  }
  std::string accepted;
  const bool listed = Accepts(ssl, issuer, &accepted);
  if (X509_NAME_cmp(issuer, X509_get_subject_name(own.get())) == 0) {
    return Wrong(absl::StrCat(what, "that is self-signed, accepted are those of ", accepted));
  }
  if (!listed) {
    return Wrong(absl::StrCat(what, "that is signed by \"", NameOf(issuer),
                              "\", accepted are those of ", accepted));
  }
  return Wrong(
      absl::StrCat(what, "accepted are those of ", accepted, ", that are in date and for clients"));
}

}  // namespace

absl::Status ExplainHandshake(const std::string& address, const TlsPaths& paths,
                              const TlsMaterial* material, absl::Duration patience) {
  const Socket socket(ConnectTo(address, patience));
  if (socket.get() < 0) return absl::OkStatus();  // gRPC says what that is
  const NoPipeSignal guard;
  ERR_clear_error();
  Asked asked;
  const ContextPtr context = MakeContext(material, &asked);
  const SslPtr ssl(SSL_new(context.get()));
  const std::string host = HostOf(address);
  SSL_set_tlsext_host_name(ssl.get(), host.c_str());
  SSL_set_fd(ssl.get(), socket.get());
  const bool shaken = SSL_connect(ssl.get()) == 1;
  if (material == nullptr) {
    ERR_clear_error();
    return shaken ? Wrong("it speaks TLS, and this client does not: give --tls_ca")
                  : absl::OkStatus();
  }
  GRADWIRE_RETURN_IF_ERROR(JudgeServer(host, paths, ssl.get()));
  char byte;
  // With TLS 1.3 what the server thinks of our certificate comes only now.
  if (shaken && SSL_read(ssl.get(), &byte, 1) > 0) return absl::OkStatus();
  const std::string reason = OpenSslReason();
  if (asked.for_certificate) return JudgeOwn(paths, *material, ssl.get());
  if (shaken) return absl::OkStatus();
  return Wrong(absl::StrCat("the TLS handshake fails (", reason,
                            "): does it speak TLS? If not, leave out --tls_ca"));
}

}  // namespace gradwire
