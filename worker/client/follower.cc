// SPDX-License-Identifier: Apache-2.0
// Collecting parts needs only a part's version and whether it has the header: both are
// found by a scan that copies nothing; Replica::Apply parses and checks the rest.
#include "worker/client/follower.h"

#include <google/protobuf/io/coded_stream.h>

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/replica/layout.h"
#include "common/replica/update_log.h"
#include "gradwire/v1/gradient.pb.h"

namespace gradwire {
namespace {

using google::protobuf::io::CodedInputStream;

constexpr size_t kHeaderBytes = size_t{1} << 20;  // of a record, beside its payloads
constexpr size_t kBlockBytes = 64;                // of a block, beside its values

struct PartSummary {
  uint64_t version = 0;
  bool has_header = false;
  uint64_t payload_bytes = 0;
};

struct Field {
  uint32_t number = 0;
  uint64_t value = 0;  // a varint, or the length of what follows
  bool has_length = false;
};

// Reads a field's tag and value; of a length-delimited one only the length.
bool ReadField(CodedInputStream* input, Field* field) {
  const uint32_t tag = input->ReadTag();
  field->number = tag >> 3;
  field->has_length = (tag & 7) == 2;
  if (field->number == 0) return false;
  switch (tag & 7) {
    case 0:
      return input->ReadVarint64(&field->value);
    case 1:
      return input->Skip(8);
    case 2:
      return input->ReadVarint64(&field->value) &&
             field->value <= static_cast<uint64_t>(input->BytesUntilLimit());
    case 5:
      return input->Skip(4);
    default:
      return false;
  }
}

bool ScanBlock(uint64_t length, CodedInputStream* input, uint64_t* payload_bytes) {
  const auto limit = input->PushLimit(static_cast<int>(length));
  while (input->BytesUntilLimit() > 0) {
    Field field;
    if (!ReadField(input, &field)) return false;
    if (!field.has_length) continue;
    if (field.number == v1::BlockPayload::kPayloadFieldNumber) *payload_bytes += field.value;
    if (!input->Skip(static_cast<int>(field.value))) return false;
  }
  input->PopLimit(limit);
  return true;
}

bool ScanPart(const std::string& part, PartSummary* summary) {
  if (part.size() > static_cast<size_t>(std::numeric_limits<int>::max())) return false;
  CodedInputStream input(reinterpret_cast<const uint8_t*>(part.data()),
                         static_cast<int>(part.size()));
  input.PushLimit(static_cast<int>(part.size()));
  while (input.BytesUntilLimit() > 0) {
    Field field;
    if (!ReadField(&input, &field)) return false;
    if (!field.has_length) {
      if (field.number == v1::UpdatePart::kVersionFieldNumber) summary->version = field.value;
      continue;
    }
    if (field.number == v1::UpdatePart::kHeaderFieldNumber) summary->has_header = true;
    const bool ok = field.number == v1::UpdatePart::kBlocksFieldNumber
                        ? ScanBlock(field.value, &input, &summary->payload_bytes)
                        : input.Skip(static_cast<int>(field.value));
    if (!ok) return false;
  }
  return true;
}

}  // namespace

Follower::Follower(std::shared_ptr<const Job> job, absl::Span<float> home)
    : job_(std::move(job)), home_(home), replica_(std::make_unique<Replica>(job_, home_)) {}

absl::StatusOr<bool> Follower::Take(std::string part) {
  absl::StatusOr<bool> applied = TakePart(std::move(part));
  if (!applied.ok()) DropOpenRecord();
  return applied;
}

absl::StatusOr<bool> Follower::TakePart(std::string part) {
  const uint64_t next = replica_->started() ? replica_->version() + 1 : 0;
  PartSummary summary;
  if (!ScanPart(part, &summary)) {
    return absl::InvalidArgumentError(absl::StrCat("after version ", replica_->version(), " came ",
                                                   part.size(),
                                                   " bytes that are not an UpdatePart: server and "
                                                   "worker are of different builds, or damaged"));
  }
  if (summary.version != next) {
    return absl::FailedPreconditionError(absl::StrCat("a part of update ", summary.version,
                                                      " came, but the replica needs update ", next,
                                                      " next"));
  }
  const size_t max_parts = job_->layout.blocks() + 1;
  const size_t max_bytes =
      job_->layout.dimension() * sizeof(float) + job_->layout.blocks() * kBlockBytes + kHeaderBytes;
  if (parts_.size() >= max_parts || part.size() > max_bytes - parts_bytes_) {
    return absl::InvalidArgumentError(absl::StrCat("update ", next, " has more than ",
                                                   parts_.size(), " parts of ", parts_bytes_,
                                                   " bytes; a record of this job has at most ",
                                                   max_parts, " parts and ", max_bytes, " bytes"));
  }
  parts_bytes_ += part.size();
  payload_bytes_ += summary.payload_bytes;
  parts_.push_back(std::move(part));
  if (!summary.has_header) return false;
  const std::shared_ptr<const Record> record = MakeRecord(next, std::move(parts_));
  DropOpenRecord();
  GRADWIRE_RETURN_IF_ERROR(replica_->Apply(*record));
  return true;
}

void Follower::DropOpenRecord() {
  parts_.clear();
  parts_bytes_ = 0;
}

absl::Status Follower::Load(Replica::Contents contents) {
  GRADWIRE_RETURN_IF_ERROR(replica_->Load(std::move(contents)));
  DropOpenRecord();
  return absl::OkStatus();
}

void Follower::Restart() {
  replica_ = std::make_unique<Replica>(job_, home_);
  DropOpenRecord();
}

}  // namespace gradwire
