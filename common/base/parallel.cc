// SPDX-License-Identifier: Apache-2.0
// Implementation of parallel.h: helpers that live as long as the process, and sleep between loops.
#include "common/base/parallel.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/base/float_environment.h"
#include "common/base/mutex.h"

namespace gradwire {
namespace {

using Work = absl::FunctionRef<void(size_t, size_t)>;

class Helpers {
 public:
  explicit Helpers(size_t count) {
    for (size_t thread = 1; thread <= count; ++thread) {
      std::thread([this, thread] { Help(thread); }).detach();
    }
  }

  // False when another loop has the helpers.
  bool Run(size_t count, Work work) ABSL_LOCKS_EXCLUDED(mu_) {
    {
      MutexLock lock(&mu_);
      if (work_ != nullptr) return false;
      work_ = &work;
      count_ = count;
      next_.store(0, std::memory_order_relaxed);
      begun_.NotifyAll();
    }
    TakeRounds(count, work, 0);
    MutexLock lock(&mu_);
    while (busy_ > 0) ended_.Wait(&mu_);  // no helper begins any more: all rounds are taken
    work_ = nullptr;
    return true;
  }

 private:
  void TakeRounds(size_t count, Work work, size_t thread) {
    for (size_t i = next_++; i < count; i = next_++) work(i, thread);
  }

  void Help(size_t thread) ABSL_LOCKS_EXCLUDED(mu_) {
    for (;;) {
      const Work* work = nullptr;
      size_t count = 0;
      {
        MutexLock lock(&mu_);
        while (work_ == nullptr || next_.load(std::memory_order_relaxed) >= count_) {
          begun_.Wait(&mu_);
        }
        work = work_;
        count = count_;
        ++busy_;
      }
      SetFloatEnvironment();
      TakeRounds(count, *work, thread);
      MutexLock lock(&mu_);
      if (--busy_ == 0) ended_.NotifyAll();
    }
  }

  Mutex mu_;
  CondVar begun_;
  CondVar ended_;
  const Work* work_ ABSL_GUARDED_BY(mu_) = nullptr;
  size_t count_ ABSL_GUARDED_BY(mu_) = 0;
  size_t busy_ ABSL_GUARDED_BY(mu_) = 0;
  std::atomic<size_t> next_{0};
};

std::atomic<size_t> threads{1};

// Never destroyed: its threads have no end.
Helpers* TheHelpers() {
  static auto* const helpers = new Helpers(ParallelThreads() - 1);
  return helpers;
}

}  // namespace

void SetParallelThreads(size_t count) {
  threads = std::clamp<size_t>(count, 1, kMaxParallelThreads);
}

size_t ParallelThreads() { return threads; }

void ParallelFor(size_t count, Work work) {
  if (count > 1 && ParallelThreads() > 1 && TheHelpers()->Run(count, work)) return;
  for (size_t i = 0; i < count; ++i) work(i, 0);
}

}  // namespace gradwire
