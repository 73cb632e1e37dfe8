// SPDX-License-Identifier: Apache-2.0
// The TLS files of a process, as they are now, or as they last were good.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"
#include "common/rpc/tls_files.h"

namespace gradwire {

// Thread-safe.  It looks at the files when it is told to: a server does so every second, a client
// before it connects.
class TlsWatcher {
 public:
  // The files must be good at `now`: errors as of CheckPaths, ReadTlsFiles and CheckTls.
  static absl::StatusOr<std::shared_ptr<TlsWatcher>> Open(TlsPaths paths, absl::Time now);

  // Takes what the files have become.  What is not good is told once, in the log and in Stats, and
  // only if two looks find the same: a pair is not written at once.
  void Poll(absl::Time now) ABSL_LOCKS_EXCLUDED(mu_);

  const TlsPaths& paths() const { return paths_; }
  struct Current {
    std::shared_ptr<const TlsMaterial> material;
    uint64_t generation = 0;  // grows with every reload; from 1 on
  };
  Current current() const ABSL_LOCKS_EXCLUDED(mu_);

  // For metrics.
  struct Stats {
    absl::Time not_after;        // of what is served; InfiniteFuture without a certificate
    uint64_t reloads = 0;        // good ones
    uint64_t reload_errors = 0;  // changes of the files that were not taken
    bool failing = false;        // the files are not what is served
  };
  Stats stats() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  TlsWatcher(TlsPaths paths, TlsMaterial material);
  void Take(TlsMaterial material) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Refuse(const absl::Status& error) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const TlsPaths paths_;
  mutable Mutex mu_;
  Current current_ ABSL_GUARDED_BY(mu_);
  Stats stats_ ABSL_GUARDED_BY(mu_);
  absl::Status last_error_ ABSL_GUARDED_BY(mu_);  // of the last look
  bool told_ ABSL_GUARDED_BY(mu_) = false;        // of it
};

}  // namespace gradwire
