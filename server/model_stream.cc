// SPDX-License-Identifier: Apache-2.0
// Implementation of model_stream.h.
#include "server/model_stream.h"

#include <algorithm>

#include "common/rpc/limits.h"

namespace gradwire {

ModelStream::ModelStream(v1::GetModelResponse first, std::string bytes)
    : bytes_(std::move(bytes)), message_(std::move(first)) {
  message_.set_total_bytes(bytes_.size());
  WriteNext();
}

void ModelStream::WriteNext() {
  const size_t size = std::min(bytes_.size() - sent_, kMaxPayloadBytesPerMessage);
  message_.set_chunk(bytes_.substr(sent_, size));
  sent_ += size;
  StartWrite(&message_);
}

void ModelStream::OnWriteDone(bool ok) {
  message_.Clear();
  if (!ok) {
    Finish(grpc::Status::CANCELLED);
  } else if (sent_ == bytes_.size()) {
    Finish(grpc::Status::OK);
  } else {
    WriteNext();
  }
}

}  // namespace gradwire
