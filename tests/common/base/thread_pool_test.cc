// SPDX-License-Identifier: Apache-2.0
// The pool runs everything it accepted, in order, and accepts no more than its bound.
#include "common/base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace gradwire {
namespace {

class Latch {
 public:
  void Open() {
    MutexLock lock(&mu_);
    open_ = true;
    changed_.NotifyAll();
  }
  void Wait() {
    MutexLock lock(&mu_);
    while (!open_) changed_.Wait(&mu_);
  }

 private:
  Mutex mu_;
  CondVar changed_;
  bool open_ ABSL_GUARDED_BY(mu_) = false;
};

TEST(ThreadPoolTest, RefusesBeyondItsBoundAndRunsTheRest) {
  constexpr size_t kMaxQueued = 3;
  Latch started;
  Latch release;
  std::atomic<int> ran{0};
  {
    ThreadPool pool(1, kMaxQueued);
    ASSERT_TRUE(pool.TrySchedule([&] {
      started.Open();
      release.Wait();
    }));
    started.Wait();  // the only thread is busy, the queue is empty
    for (size_t i = 0; i < kMaxQueued; ++i) EXPECT_TRUE(pool.TrySchedule([&] { ++ran; })) << i;
    EXPECT_FALSE(pool.TrySchedule([&] { ran += 1000; }));
    EXPECT_EQ(ran, 0);
    release.Open();
  }  // the destructor runs what is queued
  EXPECT_EQ(ran, 3);
}

TEST(ThreadPoolTest, OneThreadKeepsTheOrder) {
  std::vector<int> order;
  {
    ThreadPool pool(1, 100);
    for (int i = 0; i < 100; ++i) {
      ASSERT_TRUE(pool.TrySchedule([&order, i] { order.push_back(i); }));
    }
  }
  ASSERT_EQ(order.size(), 100U);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(ThreadPoolTest, ThreadsWorkAtTheSameTime) {
  Latch first;
  Latch second;
  ThreadPool pool(2, 2);
  // Each waits for the other: with one thread this never ends.
  ASSERT_TRUE(pool.TrySchedule([&] {
    first.Open();
    second.Wait();
  }));
  ASSERT_TRUE(pool.TrySchedule([&] {
    second.Open();
    first.Wait();
  }));
  first.Wait();
  second.Wait();
}

}  // namespace
}  // namespace gradwire
