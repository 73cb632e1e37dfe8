// SPDX-License-Identifier: Apache-2.0
// Implementation of model_sender.h.
#include "server/model_sender.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rpc/limits.h"

namespace gradwire {
namespace {

constexpr size_t kChunkBytes = kMaxPayloadBytesPerMessage;
constexpr absl::Duration kLongestLook = absl::Seconds(1);  // between two looks for silent ones

}  // namespace

ModelSender::ModelSender(ModelSenderOptions options)
    : options_(options),
      pacer_(options.bytes_per_second, kChunkBytes),
      thread_([this] { Run(); }) {}

ModelSender::~ModelSender() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

absl::Status ModelSender::Add(std::shared_ptr<ModelReceiver> receiver) {
  {
    MutexLock lock(&mu_);
    if (calls_.size() >= options_.max_receivers) {
      return absl::ResourceExhaustedError(
          absl::StrCat("snapshots are being sent to ", calls_.size(),
                       " others, and no more at once: try again in a few seconds"));
    }
    auto call = std::make_shared<Call>();
    call->receiver = std::move(receiver);
    calls_[call->receiver.get()] = call;
    ready_.push_back(std::move(call));
  }
  changed_.NotifyAll();
  return absl::OkStatus();
}

void ModelSender::Taken(const ModelReceiver* receiver) {
  {
    MutexLock lock(&mu_);
    const auto found = calls_.find(receiver);
    if (found == calls_.end() || !found->second->has_chunk) return;
    found->second->has_chunk = false;
    ready_.push_back(found->second);
  }
  changed_.NotifyAll();
}

void ModelSender::Remove(const ModelReceiver* receiver) {
  MutexLock lock(&mu_);
  const auto found = calls_.find(receiver);
  if (found == calls_.end()) return;
  ready_.erase(std::remove(ready_.begin(), ready_.end(), found->second), ready_.end());
  calls_.erase(found);
}

ModelSender::CallPtr ModelSender::FindSilent(absl::Duration now) const {
  for (const auto& [receiver, call] : calls_) {
    if (call->has_chunk && now - call->since > options_.patience) return call;
  }
  return nullptr;
}

ModelSender::CallPtr ModelSender::NextTurn(bool* silent) {
  MutexLock lock(&mu_);
  while (!stopping_) {
    const absl::Duration now = clock_.Now();
    CallPtr call = FindSilent(now);
    *silent = call != nullptr;
    if (*silent) {
      calls_.erase(call->receiver.get());
      return call;
    }
    const absl::Duration delay = ready_.empty() ? kLongestLook : pacer_.Delay(now);
    if (delay <= absl::ZeroDuration()) {
      call = std::move(ready_.front());
      ready_.pop_front();
      return call;
    }
    if (calls_.empty()) {
      changed_.Wait(&mu_);
    } else {
      changed_.WaitFor(&mu_, std::min(delay, kLongestLook));
    }
  }
  return nullptr;
}

void ModelSender::Run() {
  bool silent = false;
  while (const CallPtr call = NextTurn(&silent)) {
    if (silent) {
      call->receiver->End(absl::DeadlineExceededError(
          absl::StrCat("a chunk of the snapshot was not taken within ",
                       absl::FormatDuration(options_.patience), ": call again")));
    } else {
      SendChunk(call.get());
    }
  }
}

absl::StatusOr<std::string> ModelSender::ReadChunk(Call* call) {
  if (!call->opened) {
    GRADWIRE_ASSIGN_OR_RETURN(call->file, call->receiver->Open());
    call->opened = true;
  }
  if (call->file == nullptr) return std::string();
  return call->file->Read(call->sent, kChunkBytes);
}

void ModelSender::SendChunk(Call* call) {
  absl::StatusOr<std::string> chunk = ReadChunk(call);
  if (!chunk.ok()) {
    Remove(call->receiver.get());
    call->receiver->End(chunk.status());
    return;
  }
  call->sent += chunk->size();
  {
    MutexLock lock(&mu_);
    call->has_chunk = true;
    call->since = clock_.Now();
    pacer_.Take(chunk->size(), call->since);
  }
  const bool last = call->file == nullptr || call->sent == call->file->size();
  call->receiver->Send(*std::move(chunk), last);
}

}  // namespace gradwire
