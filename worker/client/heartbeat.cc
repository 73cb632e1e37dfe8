// SPDX-License-Identifier: Apache-2.0
// Failures are not reported here: a server that is gone, or that has given the
// lease away, breaks the stream as well, and the session deals with that once.
#include "worker/client/heartbeat.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "common/base/clock.h"

namespace gradwire {
namespace {

constexpr int kBeats = 3;  // in a lease, and in the patience
constexpr absl::Duration kShortestInterval = absl::Milliseconds(20);
constexpr absl::Duration kLongestInterval = absl::Hours(1);

absl::Duration IntervalOf(absl::Duration lease, absl::Duration patience) {
  return std::clamp(std::min(lease, patience) / kBeats, kShortestInterval, kLongestInterval);
}

absl::Duration Now() { return SteadyClock().Now(); }

}  // namespace

Heartbeat::Heartbeat(Options options, ServerStub* stub)
    : options_(std::move(options)),
      stub_(stub),
      saved_version_(options_.saved_version),
      last_progress_(Now()),
      last_answer_(Now()),
      interval_(IntervalOf(options_.lease, options_.patience)),
      thread_([this] { Run(); }) {}

Heartbeat::~Heartbeat() {
  std::shared_ptr<grpc::ClientContext> call;
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    call = call_;
    stopped_.NotifyAll();
  }
  if (call != nullptr) call->TryCancel();
  thread_.join();
}

void Heartbeat::Progress(uint64_t step) {
  MutexLock lock(&mu_);
  step_ = step;
  last_progress_ = Now();
}

void Heartbeat::Saved(std::optional<uint64_t> version) {
  MutexLock lock(&mu_);
  saved_version_ = version;
}

void Heartbeat::Watch(std::weak_ptr<ClientStream> stream) {
  MutexLock lock(&mu_);
  stream_ = std::move(stream);
}

absl::Duration Heartbeat::last_answer() const {
  MutexLock lock(&mu_);
  return last_answer_;
}

void Heartbeat::Run() {
  while (WaitForNext()) Beat();
}

// False when the session ends.
bool Heartbeat::WaitForNext() {
  MutexLock lock(&mu_);
  const absl::Duration end = Now() + interval_;
  while (!stopping_) {
    const absl::Duration left = end - Now();
    if (left <= absl::ZeroDuration()) return true;
    stopped_.WaitFor(&mu_, left);
  }
  return false;
}

void Heartbeat::Beat() {
  v1::HeartbeatRequest request;
  request.set_worker_id(options_.worker_id);
  request.set_incarnation(options_.incarnation);
  const auto call = std::make_shared<grpc::ClientContext>();
  std::shared_ptr<ClientStream> stream;
  {
    MutexLock lock(&mu_);
    if (stopping_) return;
    request.set_step(step_);
    request.set_has_saved_version(saved_version_.has_value());
    request.set_saved_version(saved_version_.value_or(0));
    request.set_progress_age_seconds(absl::ToDoubleSeconds(Now() - last_progress_));
    call->set_deadline(absl::ToChronoTime(absl::Now() + std::min(interval_, kCallDeadline)));
    call_ = call;
    stream = stream_.lock();
  }
  if (stream != nullptr) stream->CancelStuckSend(options_.patience);
  const absl::StatusOr<v1::HeartbeatResponse> response = stub_->Heartbeat(request, call.get());
  MutexLock lock(&mu_);
  call_ = nullptr;
  if (!response.ok()) return;
  last_answer_ = Now();
  if (response->lease_seconds() > 0) {
    interval_ = IntervalOf(absl::Seconds(response->lease_seconds()), options_.patience);
  }
}

}  // namespace gradwire
