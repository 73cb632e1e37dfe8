// SPDX-License-Identifier: Apache-2.0
// A GetModel call: a snapshot, sent in chunks with one in flight.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>

#include "gradwire/v1/service.pb.h"

namespace gradwire {

// Deletes itself when gRPC is done with it.
class ModelStream final : public grpc::ServerWriteReactor<v1::GetModelResponse> {
 public:
  // `first` has the point; `bytes` is the file.
  ModelStream(v1::GetModelResponse first, std::string bytes);

 private:
  void OnWriteDone(bool ok) override;
  void OnDone() override { delete this; }
  void WriteNext();

  const std::string bytes_;
  size_t sent_ = 0;
  v1::GetModelResponse message_;
};

// A GetModel call that is answered by a status, or by one message, alone.
class ModelAnswer final : public grpc::ServerWriteReactor<v1::GetModelResponse> {
 public:
  explicit ModelAnswer(const grpc::Status& status) { Finish(status); }
  explicit ModelAnswer(v1::GetModelResponse message) : message_(std::move(message)) {
    StartWriteAndFinish(&message_, grpc::WriteOptions(), grpc::Status::OK);
  }

 private:
  void OnDone() override { delete this; }
  v1::GetModelResponse message_;
};

}  // namespace gradwire
