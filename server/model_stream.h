// SPDX-License-Identifier: Apache-2.0
// A GetModel call: a snapshot, sent in chunks with one in flight.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "common/base/mutex.h"
#include "gradwire/v1/service.pb.h"
#include "server/coordinator.h"
#include "server/model_sender.h"

namespace gradwire {

// Lives until both gRPC and the sender are done with it.
class ModelStream final : public grpc::ServerWriteReactor<v1::GetModelResponse>,
                          public ModelReceiver {
 public:
  // Answers `request`; coordinator and sender must outlive the call.
  static ModelStream* Start(Coordinator* coordinator, ModelSender* sender,
                            grpc::CallbackServerContext* context,
                            const v1::GetModelRequest& request);
  // One that answers nothing but `error`.
  static grpc::ServerWriteReactor<v1::GetModelResponse>* Refuse(const absl::Status& error);

 private:
  ModelStream(Coordinator* coordinator, ModelSender* sender, grpc::CallbackServerContext* context,
              const v1::GetModelRequest& request)
      : coordinator_(coordinator), sender_(sender), context_(context), request_(request) {}

  // ModelReceiver.
  absl::StatusOr<std::unique_ptr<ModelFile>> Open() override ABSL_LOCKS_EXCLUDED(mu_);
  void Send(std::string chunk, bool last) override ABSL_LOCKS_EXCLUDED(mu_);
  void End(absl::Status status) override ABSL_LOCKS_EXCLUDED(mu_);

  // gRPC's side.
  void OnWriteDone(bool ok) override ABSL_LOCKS_EXCLUDED(mu_);
  void OnCancel() override ABSL_LOCKS_EXCLUDED(mu_);
  void OnDone() override ABSL_LOCKS_EXCLUDED(mu_);

  void FinishOnce(const grpc::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Coordinator* const coordinator_;
  ModelSender* const sender_;
  grpc::CallbackServerContext* const context_;
  const v1::GetModelRequest request_;
  std::shared_ptr<ModelStream> self_;  // until OnDone
  v1::GetModelResponse message_;       // of whoever is at work: the sender, or, writing, gRPC

  Mutex mu_;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;  // gRPC has been told how the call ends
  bool done_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace gradwire
