// SPDX-License-Identifier: Apache-2.0
// Deadlines and status conversion around the generated stub.
#include "worker/client/server_stub.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/clock.h"
#include "common/replica/snapshot.h"
#include "common/rpc/status.h"
#include "worker/client/cancel_on_stop.h"

namespace gradwire {
namespace {

constexpr double kSlowestLink = 1e6;  // bytes a second that a snapshot is given

void SetDeadline(absl::Duration deadline, grpc::ClientContext* context) {
  context->set_deadline(absl::ToChronoTime(absl::Now() + deadline));
}

struct Model {
  v1::Point point;
  uint64_t total = 0;  // as announced
  std::string bytes;   // a safetensors file
};

// Reads all chunks.  False when they are more than the first message announced, or than
// `max_bytes`: the rest is not read then.
bool ReadChunks(uint64_t max_bytes, grpc::ClientReader<v1::GetModelResponse>* reader,
                Model* model) {
  v1::GetModelResponse response;
  for (bool first = true; reader->Read(&response); first = false) {
    if (first) {
      model->point = response.point();
      model->total = response.total_bytes();
      if (model->total > max_bytes) return false;
      model->bytes.reserve(model->total);
    }
    if (response.chunk().size() > model->total - model->bytes.size()) return false;
    model->bytes.append(response.chunk());
  }
  return true;
}

}  // namespace

ServerStub::ServerStub(std::string address, std::shared_ptr<ClientSecurity> security)
    : address_(std::move(address)),
      security_(security != nullptr ? std::move(security) : std::make_shared<ClientSecurity>()),
      generation_(security_->generation()),
      channel_(security_->NewChannel(address_)) {}

std::shared_ptr<grpc::Channel> ServerStub::channel() const {
  MutexLock lock(&mu_);
  return channel_;
}

std::unique_ptr<v1::ParameterServer::Stub> ServerStub::NewStub() const {
  return v1::ParameterServer::NewStub(channel());
}

void ServerStub::Authorize(grpc::ClientContext* context) { security_->Authorize(context); }

absl::Status ServerStub::Explain(absl::Status error) {
  return security_->Explain(address_, std::move(error));
}

void ServerStub::ConnectAnewIfChanged() {
  const uint64_t generation = security_->generation();
  MutexLock lock(&mu_);
  if (generation == generation_) return;
  generation_ = generation;
  channel_ = security_->NewChannel(address_);  // calls under way keep theirs
}

absl::StatusOr<v1::JoinResponse> ServerStub::Join(const v1::JoinRequest& request) {
  grpc::ClientContext context;
  SetDeadline(kCallDeadline, &context);
  Authorize(&context);
  v1::JoinResponse response;
  const grpc::Status status = NewStub()->Join(&context, request, &response);
  if (!status.ok()) return FromGrpc(status);
  return response;
}

absl::StatusOr<v1::LeaveResponse> ServerStub::Leave(const v1::LeaveRequest& request) {
  grpc::ClientContext context;
  SetDeadline(kCallDeadline, &context);
  Authorize(&context);
  v1::LeaveResponse response;
  const grpc::Status status = NewStub()->Leave(&context, request, &response);
  if (!status.ok()) return FromGrpc(status);
  return response;
}

absl::StatusOr<v1::HeartbeatResponse> ServerStub::Heartbeat(const v1::HeartbeatRequest& request,
                                                            grpc::ClientContext* context) {
  Authorize(context);
  v1::HeartbeatResponse response;
  const grpc::Status status = NewStub()->Heartbeat(context, request, &response);
  if (!status.ok()) return FromGrpc(status);
  return response;
}

absl::StatusOr<Replica::Contents> ServerStub::GetModel(const Job& job, uint64_t at_version,
                                                       absl::Duration patience,
                                                       const StopFlag* stop) {
  const uint64_t max_bytes = MaxSnapshotBytes(job);
  grpc::ClientContext context;
  const size_t values = (1 + job.state_vectors().size()) * job.layout.dimension();
  const auto bytes = static_cast<double>(values * sizeof(float));
  SetDeadline(patience + absl::Seconds(bytes / kSlowestLink), &context);
  Authorize(&context);
  v1::GetModelRequest request;
  request.set_at_version(at_version);
  request.set_with_state(true);
  const CancelOnStop cancel(stop, &context);
  const auto stub = NewStub();
  const auto reader = stub->GetModel(&context, request);
  Model model;
  const bool as_announced = ReadChunks(max_bytes, reader.get(), &model);
  if (!as_announced) context.TryCancel();
  const grpc::Status status = reader->Finish();
  if (as_announced && !status.ok()) return FromGrpc(status);  // broken off
  if (!as_announced || model.bytes.size() != model.total) {
    return absl::DataLossError(absl::StrCat(
        "the snapshot of version ", model.point.version(), " came with ", model.bytes.size(),
        " bytes and then not what was announced; this job's snapshots have at most ", max_bytes));
  }
  return DecodeSnapshot(job, model.bytes);
}

// Not a sleep while the connection is down: gRPC connects only while a thread waits in it, and
// leaves the rest to a poller that looks every 5 s.
void ServerStub::WaitToRetry(absl::Duration delay, const StopFlag& stop) {
  ConnectAnewIfChanged();
  const std::shared_ptr<grpc::Channel> channel = this->channel();
  if (channel->GetState(true) == GRPC_CHANNEL_READY) {
    stop.Sleep(delay);
    return;
  }
  const SteadyClock clock;
  const absl::Duration end = clock.Now() + delay;
  while (stop.requested() == 0 && clock.Now() < end) {
    const absl::Duration slice = std::min(end - clock.Now(), StopFlag::kSlice);
    if (channel->WaitForConnected(absl::ToChronoTime(absl::Now() + slice))) return;
  }
}

}  // namespace gradwire
