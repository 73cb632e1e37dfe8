// SPDX-License-Identifier: Apache-2.0
// Implementation of grpc_log.h.
#include "common/rpc/grpc_log.h"

#include <grpc/support/log.h>

#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/mutex.h"

namespace gradwire {
namespace {

constexpr int kLines = 20;
constexpr absl::Duration kWindow = absl::Seconds(10);

class Limit {
 public:
  // False: drop the line.  `left_out`: so many were, in the window before.
  bool Admit(uint64_t* left_out) ABSL_LOCKS_EXCLUDED(mu_) {
    const absl::Duration now = SteadyClock().Now();
    MutexLock lock(&mu_);
    *left_out = 0;
    if (now - begin_ >= kWindow) {
      begin_ = now;
      *left_out = dropped_;
      lines_ = dropped_ = 0;
    }
    if (++lines_ <= kLines) return true;
    ++dropped_;
    return false;
  }

 private:
  Mutex mu_;
  absl::Duration begin_ ABSL_GUARDED_BY(mu_) = -absl::InfiniteDuration();
  uint64_t lines_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t dropped_ ABSL_GUARDED_BY(mu_) = 0;
};

void Forward(gpr_log_func_args* line) {
  static Limit* const limit = new Limit;  // gRPC logs until the very end
  uint64_t left_out = 0;
  if (!limit->Admit(&left_out)) return;
  if (left_out > 0) LogWarning(absl::StrCat("gRPC: ", left_out, " more lines were left out"));
  const std::string text = absl::StrCat("gRPC: ", line->message);
  if (line->severity == GPR_LOG_SEVERITY_ERROR) {
    LogWarning(text);
  } else {
    LogInfo(text);
  }
}

}  // namespace

void ForwardGrpcLog() { gpr_set_log_function(Forward); }

}  // namespace gradwire
