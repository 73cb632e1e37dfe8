// SPDX-License-Identifier: Apache-2.0
// Implementation of simulated_workers.h.
#include "tests/bench/simulated_workers.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/replica/block_codec.h"
#include "common/rpc/channel.h"
#include "common/rpc/limits.h"
#include "common/rpc/status.h"

namespace gradwire {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

constexpr char kTrain[] = "/gradwire.v1.ParameterServer/Train";

grpc::Slice SliceOf(const v1::TrainRequest& request) {
  return grpc::Slice(request.SerializeAsString());
}

grpc::ByteBuffer BufferOf(const v1::TrainRequest& request) {
  const grpc::Slice slice = SliceOf(request);
  return grpc::ByteBuffer(&slice, 1);
}

// The value of a field of bytes, without a copy; nothing when the message has no such field.
bool FindBytes(absl::string_view message, int field, absl::string_view* value) {
  CodedInputStream in(reinterpret_cast<const uint8_t*>(message.data()),
                      static_cast<int>(message.size()));
  for (uint32_t tag = in.ReadTag(); tag != 0; tag = in.ReadTag()) {
    if (WireFormatLite::GetTagFieldNumber(tag) != field) {
      if (!WireFormatLite::SkipField(&in, tag)) return false;
      continue;
    }
    uint32_t size = 0;
    if (!in.ReadVarint32(&size)) return false;
    const auto at = static_cast<size_t>(in.CurrentPosition());
    if (at + size > message.size()) return false;
    *value = message.substr(at, size);
    return true;
  }
  return false;
}

}  // namespace

SharedSteps::SharedSteps(std::shared_ptr<const Job> job, size_t workers)
    : job_(std::move(job)), workers_(workers), hasher_(std::make_unique<ChainHasher>()) {}

void SharedSteps::Take(uint64_t version, size_t part, absl::string_view bytes) {
  MutexLock lock(&mu_);
  if (version != version_ || part != part_) return;
  hasher_->Add(bytes);
  ++part_;
  down_bytes_ += bytes.size();
  absl::string_view header_bytes;
  if (!FindBytes(bytes, v1::UpdatePart::kHeaderFieldNumber, &header_bytes)) return;
  v1::Header header;
  if (!header.ParseFromArray(header_bytes.data(), static_cast<int>(header_bytes.size()))) {
    failure_ = absl::DataLossError(absl::StrCat("record ", version, " has a damaged header"));
    return;
  }
  const auto used = static_cast<size_t>(header.used_size());
  const auto members = static_cast<size_t>(header.members_size());
  if (members != workers_ || used != (version == 0 ? 0 : workers_)) {
    failure_ = absl::InternalError(absl::StrCat("record ", version, " has ", used, " payloads and ",
                                                members, " members of ", workers_));
  }
  counts_.version = version;
  counts_.messages_down = part_;
  counts_.down_bytes = down_bytes_;
  const ChainHash base = hasher_->Finish();
  hasher_ = std::make_unique<ChainHasher>();
  ++version_;
  part_ = 0;
  down_bytes_ = 0;
  Encode(version_, base);
}

// What a worker's uplink does, for a gradient of which all values are alike.
void SharedSteps::Encode(uint64_t step, const ChainHash& base) {
  std::vector<v1::TrainRequest> messages;
  size_t bytes = 0;
  counts_.up_bytes = 0;
  const auto begin = [&] {
    v1::Gradient* message = messages.emplace_back().mutable_gradient();
    message->set_step(step);
    message->set_base_chain_hash(std::string(AsView(base)));
    bytes = 0;
  };
  begin();
  for (uint32_t b = 0; b < job_->layout.blocks(); ++b) {
    const BlockKey key = job_->Key(step, b);
    std::string payload = EncodeBlock(key);
    counts_.up_bytes += payload.size();
    const bool full = bytes > 0 && bytes + payload.size() > kMaxPayloadBytesPerMessage;
    if (full || messages.back().gradient().blocks_size() == kMaxBlocksPerMessage) begin();
    bytes += payload.size();
    AddBlock(b, job_->plans[b].codec->id(), std::move(payload), messages.back().mutable_gradient());
  }
  v1::GradientEnd* end = messages.back().mutable_gradient()->mutable_end();
  end->set_loss(1);
  end->set_samples(1);
  requests_.clear();
  for (const v1::TrainRequest& message : messages) requests_.push_back(SliceOf(message));
  counts_.messages_up = requests_.size();
}

// Only what was sent is filled in again: the work is that of a payload, not of the dimension.
std::string SharedSteps::EncodeBlock(const BlockKey& key) {
  constexpr float kValue = 1e-6f;
  if (gradient_.size() < key.size) gradient_.resize(key.size, kValue);
  const absl::Span<float> values = absl::MakeSpan(gradient_).first(key.size);
  const Codec& codec = *job_->plans[key.block].codec;
  std::string payload;
  codec.Encode(key, values, &payload);
  BlockValues sent;
  const absl::Status decoded = codec.DecodeUpdate(key, payload, &sent);
  if (!decoded.ok()) failure_ = decoded;
  if (sent.dense) std::fill(values.begin(), values.end(), kValue);
  for (const uint32_t index : sent.indices) values[index] = kValue;
  return payload;
}

std::vector<grpc::ByteBuffer> SharedSteps::Requests(uint64_t version) {
  MutexLock lock(&mu_);
  std::vector<grpc::ByteBuffer> buffers;
  if (version + 1 != version_) return buffers;  // an update was made without this worker: failed
  for (const grpc::Slice& request : requests_) buffers.emplace_back(&request, 1);
  return buffers;
}

void SharedSteps::Fail(absl::Status status) {
  MutexLock lock(&mu_);
  if (failure_.ok()) failure_ = std::move(status);
}

absl::Status SharedSteps::failure() const {
  MutexLock lock(&mu_);
  return failure_;
}

SharedSteps::Counts SharedSteps::counts() const {
  MutexLock lock(&mu_);
  return counts_;
}

SimulatedWorker::SimulatedWorker(const std::string& server, std::string id, SharedSteps* steps)
    : id_(std::move(id)),
      steps_(steps),
      channel_(NewClientChannel(server, grpc::InsecureChannelCredentials())),
      stub_(v1::ParameterServer::NewStub(channel_)),
      raw_(channel_) {}

SimulatedWorker::~SimulatedWorker() { Stop(); }

absl::Status SimulatedWorker::Join() {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  v1::JoinRequest request;
  request.set_worker_id(id_);
  request.set_session(1);
  request.set_apply_revision(kApplyRevision);
  request.set_build("simulated");
  v1::JoinResponse response;
  const grpc::Status status = stub_->Join(&context, request, &response);
  incarnation_ = response.incarnation();
  return FromGrpc(status);
}

void SimulatedWorker::Start() {
  v1::TrainRequest hello;
  hello.mutable_hello()->set_worker_id(id_);
  hello.mutable_hello()->set_incarnation(incarnation_);
  hello.mutable_hello()->set_session(1);
  v1::TrainRequest caught_up;
  caught_up.mutable_caught_up()->mutable_at();
  raw_.PrepareBidiStreamingCall(&context_, kTrain, {}, this);
  {
    MutexLock lock(&mu_);
    started_ = true;
  }
  StartRead(&incoming_);
  StartCall();
  Enqueue({BufferOf(hello), BufferOf(caught_up)});
}

void SimulatedWorker::Beat() {
  struct Call {
    grpc::ClientContext context;
    v1::HeartbeatRequest request;
    v1::HeartbeatResponse response;
  };
  auto call = std::make_shared<Call>();
  call->context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  call->request.set_worker_id(id_);
  call->request.set_incarnation(incarnation_);
  {
    MutexLock lock(&mu_);
    ++beats_;
  }
  stub_->async()->Heartbeat(
      &call->context, &call->request, &call->response, [this, call](const grpc::Status& status) {
        MutexLock lock(&mu_);
        if (!status.ok() && !stopping_) {
          steps_->Fail(absl::Status(FromGrpc(status).code(),
                                    absl::StrCat(id_, ": heartbeat: ", status.error_message())));
        }
        --beats_;
        changed_.NotifyAll();
      });
}

void SimulatedWorker::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    if (started_) context_.TryCancel();
  }
  MutexLock lock(&mu_);
  while ((started_ && !done_) || beats_ > 0) changed_.Wait(&mu_);
}

void SimulatedWorker::OnReadDone(bool ok) {
  if (!ok) return;  // OnDone says why
  grpc::Slice slice;
  if (!incoming_.TrySingleSlice(&slice).ok() && !incoming_.DumpToSingleSlice(&slice).ok()) return;
  const absl::string_view message(reinterpret_cast<const char*>(slice.begin()), slice.size());
  absl::string_view part;
  if (FindBytes(message, v1::TrainResponse::kUpdatePartFieldNumber, &part)) {
    TakePart(part);
  } else {
    // With members that neither come nor go there is nothing to say.
    steps_->Fail(absl::InternalError(absl::StrCat(id_, ": a control message has come")));
  }
  StartRead(&incoming_);
}

void SimulatedWorker::TakePart(absl::string_view bytes) {
  steps_->Take(version_, part_, bytes);
  ++part_;
  absl::string_view header;
  if (!FindBytes(bytes, v1::UpdatePart::kHeaderFieldNumber, &header)) return;
  part_ = 0;
  Enqueue(steps_->Requests(version_++));
}

void SimulatedWorker::Enqueue(std::vector<grpc::ByteBuffer> messages) {
  MutexLock lock(&mu_);
  for (grpc::ByteBuffer& message : messages) outgoing_.push_back(std::move(message));
  if (!writing_) WriteNext();
}

void SimulatedWorker::WriteNext() {
  if (outgoing_.empty()) return;
  writing_ = true;
  writing_now_ = outgoing_.front();  // shares its slices
  outgoing_.pop_front();
  StartWrite(&writing_now_);
}

void SimulatedWorker::OnWriteDone(bool ok) {
  MutexLock lock(&mu_);
  writing_ = false;
  if (ok) WriteNext();
}

void SimulatedWorker::OnDone(const grpc::Status& status) {
  MutexLock lock(&mu_);
  if (!stopping_) {
    steps_->Fail(absl::Status(FromGrpc(status).code(),
                              absl::StrCat(id_, ": its stream ended: ", status.error_message())));
  }
  done_ = true;
  changed_.NotifyAll();
}

}  // namespace gradwire
