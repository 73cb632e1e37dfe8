// SPDX-License-Identifier: Apache-2.0
// Ends a call that waits for the network when the process is asked to stop.
#pragma once

#include <grpcpp/client_context.h>

#include <thread>

#include "absl/base/thread_annotations.h"
#include "common/base/mutex.h"
#include "worker/client/stop_flag.h"

namespace gradwire {

// Lives beside a call: when a stop is requested meanwhile, the call ends with CANCELLED.
class CancelOnStop {
 public:
  // Both must outlive this object; `stop` may be null.
  CancelOnStop(const StopFlag* stop, grpc::ClientContext* context) {
    if (stop != nullptr) thread_ = std::thread([this, stop, context] { Watch(*stop, context); });
  }
  ~CancelOnStop() {
    {
      MutexLock lock(&mu_);
      ended_ = true;
      end_.NotifyAll();
    }
    if (thread_.joinable()) thread_.join();
  }
  CancelOnStop(const CancelOnStop&) = delete;
  CancelOnStop& operator=(const CancelOnStop&) = delete;

 private:
  void Watch(const StopFlag& stop, grpc::ClientContext* context) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    while (!ended_) {
      if (stop.requested() != 0) return context->TryCancel();
      end_.WaitFor(&mu_, StopFlag::kSlice);
    }
  }

  Mutex mu_;
  CondVar end_;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace gradwire
