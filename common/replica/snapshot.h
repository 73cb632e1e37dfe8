// SPDX-License-Identifier: Apache-2.0
// Snapshots: a replica at one version, in the safetensors format, so that
// PyTorch and others read the model as it is.
//
//   file      = header_size header data
//   header_size = u64, little-endian: bytes of header
//   header    = JSON object: { "__metadata__": { string: string }, NAME: { "dtype": "F32" or
//               "F64", "shape": [..], "data_offsets": [begin, end] }, ... }, padded to 8
//               with spaces
//   data      = the tensors' values, little-endian, row-major, without gaps
//
// Metadata: gradwire.version, .applied, .reset_id, .apply_revision (decimal),
// gradwire.chain_hash (32 hexadecimal digits), gradwire.schema_hash (16), gradwire.header (the
// version's serialised Header, in hexadecimal; the first snapshots did not have it), gradwire.job
// (the JobConfig as JSON), gradwire.shard ("1/2": of a shard only, which has parts of tensors as
// rows of their own length).  Tensors: the layout's by name, in its order; with state
// then "optimizer.STATE/NAME" and "feedback.mean/NAME", state by state, and, where there are
// any, "optimizer.scalars" (F64) and "codec.bases" (F32).
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/replica/file.h"  // how callers keep and fetch the bytes
#include "common/replica/replica.h"

namespace gradwire {

// Where a replica stands, beside its values.
struct SnapshotPoint {
  uint64_t version = 0;
  ChainHash chain_hash = {};
  uint64_t applied = 0;
  uint64_t reset_id = 0;
  v1::Header header;
};

SnapshotPoint PointOf(const Replica& replica);

// header_size and header.  The values follow as one array each, in the order of `data`:
// parameters, then the vectors of Replica::state(), of dimension() floats, scalars, bases.
std::string EncodeSnapshotHead(const Job& job, const SnapshotPoint& point, bool with_state);

// The whole file's bytes.  The replica has started.
std::string EncodeSnapshot(const Replica& replica, bool with_state);

// What stands before a file's values.
struct SnapshotHead {
  SnapshotPoint point;
  size_t bytes = 0;  // header_size and header
};

inline constexpr size_t kSnapshotPrefixBytes = 8;  // header_size
// How many bytes the head of a file has that begins with these kSnapshotPrefixBytes.
// InvalidArgument, or DataLoss, as DecodeSnapshot.
absl::StatusOr<size_t> SnapshotHeadBytes(absl::string_view prefix);
// Of a whole file, or of its head alone: all checks of DecodeSnapshot but those of the values.
absl::StatusOr<SnapshotHead> DecodeSnapshotHead(const Job& job, absl::string_view bytes,
                                                bool with_state = true);

// One file of the files without state of all shards, in order: that of a job on one server, but
// for the chain hash and the header, which are shard 0's.  InvalidArgument or DataLoss: not the
// shards of one job at one version; names the first that is wrong.
absl::StatusOr<std::string> JoinSnapshots(absl::Span<const std::string> parts);

// The longest file of a job: its values, and room for the header.
size_t MaxSnapshotBytes(const Job& job);

// Any byte string is decoded in full or refused with InvalidArgument (DataLoss for a cut
// file).  Tensors, order and schema hash must be the job's, every parameter finite and no state NaN
// (a sum of squares may have become infinite); a snapshot without state is refused when the
// optimizer has some.
absl::StatusOr<Replica::Contents> DecodeSnapshot(const Job& job, absl::string_view bytes);

}  // namespace gradwire
