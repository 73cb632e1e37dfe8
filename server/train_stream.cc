// SPDX-License-Identifier: Apache-2.0
// Implementation of train_stream.h.
#include "server/train_stream.h"

#include "common/base/status_macros.h"
#include "common/rpc/limits.h"
#include "common/rpc/status.h"
#include "server/record_buffer.h"

namespace gradwire {

TrainStream* TrainStream::Start(Coordinator* coordinator, ServerCounters* counters,
                                ThreadPool* pool, Access* access, Credentials shown) {
  const absl::Status admitted = access->Admit(kTrain, shown).status();
  std::shared_ptr<TrainStream> stream(
      new TrainStream(coordinator, counters, pool, access, std::move(shown)));
  stream->self_ = stream;
  if (!admitted.ok()) {
    stream->Close(admitted);
    return stream.get();
  }
  stream->StartRead(&stream->incoming_);
  return stream.get();
}

void TrainStream::OnReadDone(bool ok) {
  if (!ok) {
    Close(absl::OkStatus());  // the worker has nothing more to say
    return;
  }
  const bool scheduled = pool_->TrySchedule([stream = self_] { stream->Handle(stream); });
  if (!scheduled) {
    Close(absl::ResourceExhaustedError("the server's queue of messages is full; try later"));
  }
}

void TrainStream::Handle(const std::shared_ptr<TrainStream>& self) {
  const size_t wire_bytes = incoming_.Length() + kFrameHeaderBytes;
  request_.Clear();
  absl::Status status;
  if (!grpc::SerializationTraits<v1::TrainRequest>::Deserialize(&incoming_, &request_).ok()) {
    counters_->payloads_refused.Add(Refusal::kUnreadable);
    status = absl::InvalidArgumentError(
        absl::StrCat("a message of ", wire_bytes, " bytes is no TrainRequest"));
  } else {
    status = HandleRequest(self, wire_bytes);
  }
  if (status.ok()) {
    ReadOn();
  } else {
    Close(std::move(status));
  }
}

absl::Status TrainStream::HandleRequest(const std::shared_ptr<TrainStream>& self,
                                        size_t wire_bytes) {
  bool greeted;
  {
    MutexLock lock(&mu_);
    greeted = greeted_;
  }
  if (greeted == request_.has_hello()) {
    return absl::InvalidArgumentError("hello must be the first message of a stream, and only it");
  }
  switch (request_.kind_case()) {
    case v1::TrainRequest::kHello:
      return HandleHello(self);
    case v1::TrainRequest::kCaughtUp:
      return coordinator_->CaughtUp(who_);
    case v1::TrainRequest::kGradient:
      counters_->up_wire_bytes.Add(wire_bytes);
      return coordinator_->Gradient(who_, request_.gradient());
    case v1::TrainRequest::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("a TrainRequest without hello, caught_up or gradient");
}

absl::Status TrainStream::CheckCaller(const v1::Hello& hello) const {
  if (hello.follower()) return access_->Admit(kFollow, shown_).status();
  return access_->AdmitWorker(kPush, shown_, hello.worker_id());
}

absl::Status TrainStream::CheckAgain() {
  const uint64_t generation = access_->generation();
  if (admitted_at_.exchange(generation) == generation) return absl::OkStatus();
  return CheckCaller(who_);
}

absl::Status TrainStream::HandleHello(const std::shared_ptr<TrainStream>& self) {
  GRADWIRE_RETURN_IF_ERROR(CheckCaller(request_.hello()));
  who_ = request_.hello();
  const absl::StatusOr<uint64_t> next = coordinator_->Hello(who_, self);
  if (!next.ok() && !absl::IsOutOfRange(next.status())) return next.status();
  if (EndedBeforeHello()) {
    coordinator_->StreamEnded(who_, this);
    return absl::OkStatus();
  }
  MutexLock lock(&mu_);
  greeted_ = true;
  if (next.ok()) {
    following_ = true;
    next_version_ = *next;
  } else {
    v1::Control control;
    control.mutable_resync()->set_reason(std::string(next.status().message()));
    controls_.push_back(std::move(control));
  }
  Pump();
  return absl::OkStatus();
}

void TrainStream::ReadOn() {
  {
    MutexLock lock(&mu_);
    if (finished_ || closing_.has_value()) return;
    paused_ = true;
  }
  // Asked after paused_ is set: a Wake in between is not missed.
  if (!coordinator_->MayRead(who_)) return;
  MutexLock lock(&mu_);
  if (!paused_ || finished_) return;
  paused_ = false;
  StartRead(&incoming_);
}

void TrainStream::WakeSoon() {
  // Where the pool is full, Wake is soon enough.
  (void)pool_->TrySchedule([stream = shared_from_this()] {
    MutexLock lock(&stream->mu_);
    stream->Pump();
  });
}

void TrainStream::Wake() {
  if (absl::Status still = CheckAgain(); !still.ok()) Close(std::move(still));
  bool paused;
  {
    MutexLock lock(&mu_);
    Pump();
    paused = paused_;
  }
  if (!paused || !coordinator_->MayRead(who_)) return;
  MutexLock lock(&mu_);
  if (!paused_ || finished_) return;
  paused_ = false;
  StartRead(&incoming_);
}

void TrainStream::Send(v1::Control control) {
  MutexLock lock(&mu_);
  if (controls_.size() >= kMaxControls) {
    if (!closing_.has_value()) {
      closing_ = absl::ResourceExhaustedError("this stream does not read what it is told");
    }
  } else {
    controls_.push_back(std::move(control));
  }
  Pump();
}

void TrainStream::Close(absl::Status status) {
  MutexLock lock(&mu_);
  if (!closing_.has_value()) closing_ = std::move(status);
  Pump();
}

void TrainStream::OnWriteDone(bool ok) {
  MutexLock lock(&mu_);
  writing_ = false;
  outgoing_.Clear();
  if (!ok) cancelled_ = true;
  Pump();
}

void TrainStream::OnCancel() {
  MutexLock lock(&mu_);
  cancelled_ = true;
  Pump();
}

void TrainStream::Pump() {
  if (finished_ || writing_) return;
  if (!cancelled_ && (NextControl() || (!closing_.has_value() && NextPart()))) {
    writing_ = true;
    StartWrite(&outgoing_);
    return;
  }
  if (!cancelled_ && !closing_.has_value()) return;
  finished_ = true;
  Finish(cancelled_ ? grpc::Status::CANCELLED : ToGrpc(*closing_));
}

bool TrainStream::NextControl() {
  if (controls_.empty()) return false;
  // Whoever is still behind gets the rest of the log before the job's end.
  if (controls_.front().has_stop() && NextPart()) return true;
  v1::TrainResponse response;
  *response.mutable_control() = std::move(controls_.front());
  controls_.pop_front();
  if (response.control().has_resync()) following_ = false;
  bool own_buffer = false;
  return grpc::SerializationTraits<v1::TrainResponse>::Serialize(response, &outgoing_, &own_buffer)
      .ok();
}

bool TrainStream::NextPart() {
  if (!following_) return false;
  std::shared_ptr<const Record> record = coordinator_->log().Find(next_version_);
  if (record == nullptr) {
    const UpdateLog::Range range = coordinator_->log().range();
    if (range.empty || next_version_ > range.newest) return false;
    record = coordinator_->log().Find(next_version_);  // it may have come between the questions
  }
  if (record == nullptr) {
    v1::Control control;
    control.mutable_resync()->set_reason(
        absl::StrCat("this worker reads too slowly: version ", next_version_, " has left the log"));
    controls_.push_back(std::move(control));
    following_ = false;
    return NextControl();
  }
  outgoing_ = PartBuffer(record, next_part_);
  counters_->down_wire_bytes.Add(next_version_ == 0 ? 0 : outgoing_.Length() + kFrameHeaderBytes);
  if (++next_part_ == record->parts.size()) {
    next_part_ = 0;
    if (next_version_ > 0) {
      counters_->updates_sent.Add();
      counters_->down_payload_bytes.Add(record->payload_bytes);
    }
    ++next_version_;
  }
  return true;
}

bool TrainStream::EndedBeforeHello() {
  MutexLock lock(&mu_);
  registered_ = true;
  return done_;
}

void TrainStream::OnDone() {
  bool registered;
  {
    MutexLock lock(&mu_);
    done_ = true;
    registered = registered_;
  }
  if (registered) coordinator_->StreamEnded(who_, this);
  self_.reset();  // may destroy this
}

}  // namespace gradwire
