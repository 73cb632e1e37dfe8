// SPDX-License-Identifier: Apache-2.0
// Implementation of snapshot.h: writing.
#include "common/replica/snapshot.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/little_endian.h"
#include "common/replica/snapshot_format.h"

namespace gradwire {
namespace {

void AppendTensors(const Layout& layout, const std::string& prefix,
                   std::vector<SnapshotTensor>* tensors) {
  const size_t base = tensors->empty() ? 0 : tensors->back().end;
  for (const TensorSpec& tensor : layout.tensors()) {
    const size_t begin = base + tensor.offset * sizeof(float);
    tensors->push_back({.name = absl::StrCat(prefix, tensor.name),
                        .shape = tensor.shape,
                        .begin = begin,
                        .end = begin + tensor.size * sizeof(float)});
  }
}

std::string HeaderOf(const Job& job, const SnapshotPoint& point,
                     absl::Span<const SnapshotTensor> tensors) {
  nlohmann::ordered_json header;
  header[kMetadataKey] = {
      {kVersionKey, absl::StrCat(point.version)},
      {kAppliedKey, absl::StrCat(point.applied)},
      {kResetKey, absl::StrCat(point.reset_id)},
      {kRevisionKey, absl::StrCat(kApplyRevision)},
      {kChainHashKey, HashText(point.chain_hash)},
      {kSchemaHashKey, absl::StrCat(absl::Hex(job.schema_hash, absl::kZeroPad16))},
      {kHeaderKey, absl::BytesToHexString(point.header.SerializeAsString())},
      {kJobKey, JobJson(job.config)}};
  if (!job.shard.alone()) header[kMetadataKey][kShardKey] = ShardText(job.shard);
  for (const SnapshotTensor& tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {tensor.begin, tensor.end}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

template <typename Number>
void AppendNumbers(absl::Span<const Number> values, std::string* out) {
  out->append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Number));
}

// A vector that belongs to no tensor of the model; none when it is empty.
void AppendVector(const char* name, const char* dtype, size_t size, size_t bytes_each,
                  std::vector<SnapshotTensor>* tensors) {
  if (size == 0) return;
  const size_t begin = tensors->back().end;
  tensors->push_back({.name = name,
                      .dtype = dtype,
                      .shape = {size},
                      .begin = begin,
                      .end = begin + size * bytes_each});
}

}  // namespace

std::vector<SnapshotTensor> SnapshotTensors(const Job& job, bool with_state) {
  std::vector<SnapshotTensor> tensors;
  AppendTensors(job.layout, "", &tensors);
  if (!with_state) return tensors;
  for (const StateVector& state : job.state_vectors()) {
    AppendTensors(job.layout, absl::StrCat(state.name, "/"), &tensors);
  }
  AppendVector("optimizer.scalars", "F64", job.optimizer->state_scalars().size(), sizeof(double),
               &tensors);
  AppendVector("codec.bases", "F32", job.basis_size(), sizeof(float), &tensors);
  return tensors;
}

std::string EncodeSnapshotHead(const Job& job, const SnapshotPoint& point, bool with_state) {
  const std::string header = HeaderOf(job, point, SnapshotTensors(job, with_state));
  std::string bytes;
  AppendLittleEndian(uint64_t{header.size()}, &bytes);
  bytes.append(header);
  return bytes;
}

size_t MaxSnapshotBytes(const Job& job) {
  constexpr size_t kMaxHeader = size_t{64} << 20;
  return SnapshotTensors(job, /*with_state=*/true).back().end + kMaxHeader;
}

SnapshotPoint PointOf(const Replica& replica) {
  return {.version = replica.version(),
          .chain_hash = replica.chain_hash(),
          .applied = replica.applied(),
          .reset_id = replica.reset_id(),
          .header = replica.header()};
}

std::string EncodeSnapshot(const Replica& replica, bool with_state) {
  std::string bytes = EncodeSnapshotHead(*replica.job(), PointOf(replica), with_state);
  bytes.reserve(bytes.size() + SnapshotTensors(*replica.job(), with_state).back().end);
  AppendNumbers(replica.parameters(), &bytes);
  if (with_state) {
    for (const std::vector<float>& values : replica.state()) {
      AppendNumbers(absl::MakeConstSpan(values), &bytes);
    }
    AppendNumbers(replica.scalars(), &bytes);
    AppendNumbers(replica.bases(), &bytes);
  }
  return bytes;
}

}  // namespace gradwire
