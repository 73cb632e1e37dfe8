// SPDX-License-Identifier: Apache-2.0
// Implementation of tls_watcher.h.
#include "common/rpc/tls_watcher.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace gradwire {
namespace {

std::string Validity(const TlsMaterial& material) {
  if (material.not_after == absl::InfiniteFuture()) return "";
  return absl::StrCat(": the certificate of \"", material.name, "\", valid until ",
                      UtcText(material.not_after));
}

}  // namespace

absl::StatusOr<std::shared_ptr<TlsWatcher>> TlsWatcher::Open(TlsPaths paths, absl::Time now) {
  GRADWIRE_RETURN_IF_ERROR(CheckPaths(paths));
  GRADWIRE_ASSIGN_OR_RETURN(TlsPem pem, ReadTlsFiles(paths));
  GRADWIRE_ASSIGN_OR_RETURN(TlsMaterial material, CheckTls(paths, std::move(pem), now));
  return std::shared_ptr<TlsWatcher>(new TlsWatcher(std::move(paths), std::move(material)));
}

TlsWatcher::TlsWatcher(TlsPaths paths, TlsMaterial material) : paths_(std::move(paths)) {
  stats_.not_after = material.not_after;
  current_.material = std::make_shared<const TlsMaterial>(std::move(material));
  current_.generation = 1;
}

void TlsWatcher::Poll(absl::Time now) {
  absl::StatusOr<TlsPem> pem = ReadTlsFiles(paths_);
  MutexLock lock(&mu_);
  if (!pem.ok()) return Refuse(pem.status());
  if (*pem == current_.material->pem) {  // good when it was taken
    last_error_ = absl::OkStatus();
    told_ = stats_.failing = false;
    return;
  }
  absl::StatusOr<TlsMaterial> material = CheckTls(paths_, *std::move(pem), now);
  if (!material.ok()) return Refuse(material.status());
  Take(*std::move(material));
}

void TlsWatcher::Take(TlsMaterial material) {
  stats_.not_after = material.not_after;
  ++stats_.reloads;
  last_error_ = absl::OkStatus();
  told_ = stats_.failing = false;
  LogInfo(absl::StrCat("TLS: the changed files are in use from now on", Validity(material)));
  current_.material = std::make_shared<const TlsMaterial>(std::move(material));
  ++current_.generation;
}

void TlsWatcher::Refuse(const absl::Status& error) {
  const bool again = error == last_error_;
  last_error_ = error;
  if (!again) told_ = false;
  if (!again || told_) return;
  told_ = stats_.failing = true;
  ++stats_.reload_errors;
  LogError(absl::StrCat("TLS: the changed files are not taken, the old ones stay in use: ",
                        error.message()));
}

TlsWatcher::Current TlsWatcher::current() const {
  MutexLock lock(&mu_);
  return current_;
}

TlsWatcher::Stats TlsWatcher::stats() const {
  MutexLock lock(&mu_);
  return stats_;
}

}  // namespace gradwire
