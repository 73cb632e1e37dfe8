// SPDX-License-Identifier: Apache-2.0
// One worker's open stream, as the coordinator sees it, and the calls it owes to streams.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gradwire/v1/service.pb.h"

namespace gradwire {

// Thread-safe.  Never called with the coordinator's lock held, but for WakeSoon.
class Subscriber {
 public:
  virtual ~Subscriber() = default;

  // A hint that the log has grown, while the coordinator still works on what has: Wake comes too.
  virtual void WakeSoon() {}

  // The log has grown, or there is room again: go on where you stand.
  virtual void Wake() = 0;
  virtual void Send(v1::Control control) = 0;
  // Ends the stream with this status once what was asked before is sent.
  virtual void Close(absl::Status status) = 0;
};

// Calls gathered under a lock and made after it.
class Effects {
 public:
  void Wake(std::shared_ptr<Subscriber> to) { Add(std::move(to)).wake = true; }
  void Send(std::shared_ptr<Subscriber> to, v1::Control control) {
    StreamCall& call = Add(std::move(to));
    call.send = true;
    call.control = std::move(control);
  }
  void Close(std::shared_ptr<Subscriber> to, absl::Status status) {
    StreamCall& call = Add(std::move(to));
    call.close = true;
    call.status = std::move(status);
  }

  void Call(std::function<void()> what) { others_.push_back(std::move(what)); }

  void Run() {
    for (StreamCall& call : calls_) {
      if (call.send) call.to->Send(std::move(call.control));
      if (call.close) call.to->Close(std::move(call.status));
      if (call.wake) call.to->Wake();
    }
    calls_.clear();
    for (const std::function<void()>& call : others_) call();
    others_.clear();
  }

 private:
  struct StreamCall {
    std::shared_ptr<Subscriber> to;
    bool wake = false;
    bool send = false;
    bool close = false;
    v1::Control control;
    absl::Status status;
  };
  StreamCall& Add(std::shared_ptr<Subscriber> to) {
    calls_.emplace_back();
    calls_.back().to = std::move(to);
    return calls_.back();
  }

  std::vector<StreamCall> calls_;
  std::vector<std::function<void()>> others_;
};

}  // namespace gradwire
