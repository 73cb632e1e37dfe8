// SPDX-License-Identifier: Apache-2.0
// Implementation of snapshot.h: writing.
#include "common/replica/snapshot.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

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

std::string HeaderOf(const Replica& replica, absl::Span<const SnapshotTensor> tensors) {
  nlohmann::ordered_json header;
  header[kMetadataKey] = {
      {kVersionKey, absl::StrCat(replica.version())},
      {kAppliedKey, absl::StrCat(replica.applied())},
      {kResetKey, absl::StrCat(replica.reset_id())},
      {kRevisionKey, absl::StrCat(kApplyRevision)},
      {kChainHashKey, HashText(replica.chain_hash())},
      {kSchemaHashKey, absl::StrCat(absl::Hex(replica.job()->schema_hash, absl::kZeroPad16))},
      {kJobKey, JobJson(replica.job()->config)}};
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

std::string EncodeSnapshot(const Replica& replica, bool with_state) {
  const std::vector<SnapshotTensor> tensors = SnapshotTensors(*replica.job(), with_state);
  const std::string header = HeaderOf(replica, tensors);
  std::string bytes;
  bytes.reserve(sizeof(uint64_t) + header.size() + tensors.back().end);
  AppendLittleEndian(uint64_t{header.size()}, &bytes);
  bytes.append(header);
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
