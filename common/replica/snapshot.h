// SPDX-License-Identifier: Apache-2.0
// Snapshots: a replica at one version, in the safetensors format, so that
// PyTorch and others read the model as it is.
//
//   file      = header_size header data
//   header_size = u64, little-endian: bytes of header
//   header    = JSON object: { "__metadata__": { string: string }, NAME: { "dtype": "F32",
//               "shape": [..], "data_offsets": [begin, end] }, ... }, padded with spaces to 8
//   data      = the tensors' values, little-endian, row-major, without gaps
//
// Metadata: gradwire.version, gradwire.chain_hash, gradwire.applied,
// gradwire.apply_revision, gradwire.job (the JobConfig as JSON).  Tensors: the
// layout's by name; with state also "optimizer.STATE/NAME".
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/replica/replica.h"

namespace gradwire {

// The whole file's bytes.
std::string EncodeSnapshot(const Replica& replica, bool with_state);

// Any byte string is decoded in full or refused with InvalidArgument (DataLoss for a cut
// file).  The tensors must be the job's; a snapshot without state gives zero state
// only when the optimizer has none.
absl::StatusOr<Replica::Contents> DecodeSnapshot(const Job& job, absl::string_view bytes);

// Written beside `path`, synced and renamed, so that the name is always whole.
absl::Status WriteFileAtomically(const std::string& path, absl::string_view bytes);
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes);

}  // namespace gradwire
