// SPDX-License-Identifier: Apache-2.0
// Implementation of request_buffer.h: fields are written in the order of their numbers, as protobuf
// does.
#include "worker/client/request_buffer.h"

#include <grpcpp/support/slice.h>

#include <string>
#include <utility>
#include <vector>

#include "common/base/wire_writer.h"

namespace gradwire {
namespace {

constexpr size_t kWorthASlice = 4096;  // bytes; less is copied

class Writer {
 public:
  explicit Writer(const std::shared_ptr<const v1::TrainRequest>& request) : request_(request) {}

  grpc::ByteBuffer Write() {
    const v1::Gradient& gradient = request_->gradient();
    AppendBytesHead(v1::TrainRequest::kGradientFieldNumber, gradient.ByteSizeLong(), &bytes_);
    v1::Gradient first;
    first.set_step(gradient.step());
    first.set_base_chain_hash(gradient.base_chain_hash());
    first.set_codec(gradient.codec());
    first.AppendToString(&bytes_);
    for (const v1::BlockPayload& block : gradient.blocks()) AddBlock(block);
    v1::Gradient last;
    if (gradient.has_end()) *last.mutable_end() = gradient.end();
    last.set_lead_header(gradient.lead_header());
    last.AppendToString(&bytes_);
    EndSlice();
    return {slices_.data(), slices_.size()};
  }

 private:
  void AddBlock(const v1::BlockPayload& block) {
    AppendBytesHead(v1::Gradient::kBlocksFieldNumber, block.ByteSizeLong(), &bytes_);
    if (block.payload().size() < kWorthASlice) {
      block.AppendToString(&bytes_);
      return;
    }
    v1::BlockPayload first;
    first.set_block(block.block());
    first.AppendToString(&bytes_);
    AppendBytesHead(v1::BlockPayload::kPayloadFieldNumber, block.payload().size(), &bytes_);
    EndSlice();
    auto* const owner = new std::shared_ptr<const v1::TrainRequest>(request_);
    slices_.emplace_back(
        const_cast<char*>(block.payload().data()), block.payload().size(),
        [](void* o) { delete static_cast<std::shared_ptr<const v1::TrainRequest>*>(o); }, owner);
    v1::BlockPayload last;
    last.set_codec(block.codec());
    last.AppendToString(&bytes_);
  }

  void EndSlice() {
    if (!bytes_.empty()) slices_.emplace_back(bytes_);
    bytes_.clear();
  }

  const std::shared_ptr<const v1::TrainRequest>& request_;
  std::string bytes_;  // after the last slice
  std::vector<grpc::Slice> slices_;
};

}  // namespace

grpc::ByteBuffer RequestBuffer(const std::shared_ptr<const v1::TrainRequest>& request) {
  if (request->has_gradient()) return Writer(request).Write();
  const grpc::Slice whole(request->SerializeAsString());
  return {&whole, 1};
}

}  // namespace gradwire
