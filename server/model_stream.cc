// SPDX-License-Identifier: Apache-2.0
// Implementation of model_stream.h.
#include "server/model_stream.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/replica/point.h"
#include "common/rpc/status.h"

namespace gradwire {

namespace {

class RefusedModel final : public grpc::ServerWriteReactor<v1::GetModelResponse> {
 public:
  explicit RefusedModel(const absl::Status& error) { Finish(ToGrpc(error)); }

 private:
  void OnDone() override { delete this; }
};

}  // namespace

grpc::ServerWriteReactor<v1::GetModelResponse>* ModelStream::Refuse(const absl::Status& error) {
  return new RefusedModel(error);
}

ModelStream* ModelStream::Start(Coordinator* coordinator, ModelSender* sender,
                                grpc::CallbackServerContext* context,
                                const v1::GetModelRequest& request) {
  std::shared_ptr<ModelStream> stream(new ModelStream(coordinator, sender, context, request));
  stream->self_ = stream;
  ModelStream* const reactor = stream.get();
  if (absl::Status added = sender->Add(stream); !added.ok()) stream->End(std::move(added));
  return reactor;
}

absl::StatusOr<std::unique_ptr<ModelFile>> ModelStream::Open() {
  constexpr int kTries = 3;  // what was found may be given up before it is opened
  for (int tries = 1;; ++tries) {
    GRADWIRE_ASSIGN_OR_RETURN(const Snapshots::File file,
                              coordinator_->SnapshotAt(request_.at_version()));
    if (request_.not_newer_than() > 0 && file.version <= request_.not_newer_than()) {
      message_.set_not_modified(true);
      return nullptr;
    }
    absl::StatusOr<std::unique_ptr<ModelFile>> model =
        coordinator_->snapshots().OpenModel(file, request_.with_state());
    if (absl::IsNotFound(model.status()) && tries < kTries) continue;
    if (model.ok()) {
      *message_.mutable_point() = MakePoint(file.version, file.chain_hash);
      message_.set_total_bytes((*model)->size());
    }
    return model;
  }
}

void ModelStream::Send(std::string chunk, bool last) {
  MutexLock lock(&mu_);
  if (finished_) return;
  writing_ = true;
  message_.set_chunk(std::move(chunk));
  if (last) {
    finished_ = true;
    StartWriteAndFinish(&message_, grpc::WriteOptions(), grpc::Status::OK);
  } else {
    StartWrite(&message_);
  }
}

void ModelStream::End(absl::Status status) {
  MutexLock lock(&mu_);
  if (!writing_) {
    FinishOnce(ToGrpc(status));
  } else if (!done_) {
    context_->TryCancel();  // nothing else ends a write that nobody reads
  }
}

void ModelStream::OnWriteDone(bool ok) {
  message_.Clear();
  {
    MutexLock lock(&mu_);
    writing_ = false;
    if (!ok || cancelled_) return FinishOnce(grpc::Status::CANCELLED);
  }
  sender_->Taken(this);
}

void ModelStream::OnCancel() {
  MutexLock lock(&mu_);
  cancelled_ = true;
  if (!writing_) FinishOnce(grpc::Status::CANCELLED);
}

void ModelStream::FinishOnce(const grpc::Status& status) {
  if (finished_) return;
  finished_ = true;
  Finish(status);
}

void ModelStream::OnDone() {
  sender_->Remove(this);
  {
    MutexLock lock(&mu_);
    done_ = true;
  }
  self_.reset();  // may destroy this
}

}  // namespace gradwire
