// SPDX-License-Identifier: Apache-2.0
// Implementation of snapshot.h: reading bytes that nobody has checked.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/little_endian.h"
#include "common/base/status_macros.h"
#include "common/replica/snapshot.h"
#include "common/replica/snapshot_format.h"

namespace gradwire {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100000000;  // what the format's own library takes

absl::Status Wrong(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("snapshot: ", what));
}

absl::Status Cut(size_t have, uint64_t want) {
  return absl::DataLossError(
      absl::StrCat("snapshot: cut: it has ", have, " bytes of at least ", want));
}

absl::StatusOr<Json> ReadHeader(absl::string_view bytes, size_t head_bytes) {
  if (bytes.size() < head_bytes) return Cut(bytes.size(), head_bytes);
  const absl::string_view text =
      bytes.substr(kSnapshotPrefixBytes, head_bytes - kSnapshotPrefixBytes);
  Json header = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!header.is_object()) return Wrong("its header is not a JSON object");
  return header;
}

absl::StatusOr<std::string> MetadataText(const Json& header, const char* key) {
  const auto metadata = header.find(kMetadataKey);
  if (metadata == header.end() || !metadata->is_object()) {
    return Wrong("it has no metadata: not a snapshot of gradwire");
  }
  const auto value = metadata->find(key);
  if (value == metadata->end() || !value->is_string()) {
    return Wrong(absl::StrCat("metadata ", key, " is missing or not a string"));
  }
  return value->get<std::string>();
}

absl::StatusOr<uint64_t> MetadataNumber(const Json& header, const char* key) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::string text, MetadataText(header, key));
  uint64_t number = 0;
  if (absl::SimpleAtoi(text, &number)) return number;
  return Wrong(
      absl::StrCat("metadata ", key, ": \"", absl::CHexEscape(text), "\" is not a number"));
}

absl::StatusOr<ChainHash> ReadChainHash(const Json& header) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::string text, MetadataText(header, kChainHashKey));
  const std::optional<ChainHash> hash = ParseChainHash(text);
  if (hash.has_value()) return *hash;
  return Wrong(absl::StrCat("metadata ", kChainHashKey, ": not 32 hexadecimal digits"));
}

// Empty where the file is of a build that did not write it.
absl::StatusOr<v1::Header> ReadVersionHeader(const Json& header) {
  v1::Header result;
  if (!header[kMetadataKey].contains(kHeaderKey)) return result;
  GRADWIRE_ASSIGN_OR_RETURN(const std::string text, MetadataText(header, kHeaderKey));
  const bool digits = text.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!digits || text.size() % 2 != 0 || !result.ParseFromString(absl::HexStringToBytes(text))) {
    return Wrong(absl::StrCat("metadata ", kHeaderKey, ": not a serialised Header in hexadecimal"));
  }
  return result;
}

absl::Status CheckShard(const Job& job, const Json& header) {
  Shard shard;
  if (header[kMetadataKey].contains(kShardKey)) {
    GRADWIRE_ASSIGN_OR_RETURN(const std::string text, MetadataText(header, kShardKey));
    GRADWIRE_ASSIGN_OR_RETURN(shard, ParseShard(text));
  }
  if (shard == job.shard) return absl::OkStatus();
  return Wrong(
      absl::StrCat("it is of shard ", ShardText(shard), ", wanted is ", ShardText(job.shard)));
}

// Is it of this job and of bits that this build makes?
absl::Status CheckOrigin(const Job& job, const Json& header) {
  GRADWIRE_ASSIGN_OR_RETURN(const uint64_t revision, MetadataNumber(header, kRevisionKey));
  if (revision != kApplyRevision) {
    return Wrong(absl::StrCat("apply revision ", revision, ", this build has ", kApplyRevision,
                              "; use the build that wrote it"));
  }
  GRADWIRE_ASSIGN_OR_RETURN(const std::string schema, MetadataText(header, kSchemaHashKey));
  const std::string want = absl::StrCat(absl::Hex(job.schema_hash, absl::kZeroPad16));
  if (schema != want) {
    return Wrong(absl::StrCat("schema hash ", absl::CHexEscape(schema), " is not the job's, ", want,
                              ": other tensors, codec, optimizer or seed"));
  }
  GRADWIRE_RETURN_IF_ERROR(MetadataText(header, kJobKey).status());
  return CheckShard(job, header);
}

absl::Status CheckTensor(const SnapshotTensor& want, const Json& header) {
  const auto found = header.find(want.name);
  if (found == header.end() || !found->is_object()) {
    return Wrong(absl::StrCat("tensor \"", want.name, "\" is missing"));
  }
  const Json wanted = {
      {"dtype", want.dtype}, {"shape", Json(want.shape)}, {"data_offsets", {want.begin, want.end}}};
  if (*found == wanted) return absl::OkStatus();
  return Wrong(absl::StrCat("tensor \"", want.name, "\" is ",
                            found->dump(-1, ' ', true, Json::error_handler_t::replace), ", not ",
                            wanted.dump()));
}

// All of the job's tensors, in its order, and no others.
absl::Status CheckTensors(absl::Span<const SnapshotTensor> tensors, const Json& header) {
  for (const SnapshotTensor& tensor : tensors) {
    GRADWIRE_RETURN_IF_ERROR(CheckTensor(tensor, header));
  }
  if (header.size() == tensors.size() + 1) return absl::OkStatus();
  return Wrong(absl::StrCat("it has ", header.size() - 1, " tensors, the job has ", tensors.size(),
                            " with optimizer state"));
}

enum class Values { kFinite, kNumbers };

// The next `count` numbers of the data; `name_of` says which one is not finite, or no number.
template <typename Number, typename NameOf>
absl::StatusOr<std::vector<Number>> ReadNumbers(size_t count, Values allowed,
                                                absl::string_view* data, NameOf name_of) {
  std::vector<Number> values(count);
  const size_t bytes = count * sizeof(Number);
  if (bytes > 0) std::memcpy(values.data(), data->data(), bytes);  // nothing has no address
  data->remove_prefix(bytes);
  const auto bad = std::find_if(values.begin(), values.end(), [allowed](Number value) {
    return allowed == Values::kFinite ? !std::isfinite(value) : std::isnan(value);
  });
  if (bad == values.end()) return values;
  return Wrong(absl::StrCat(name_of(static_cast<size_t>(bad - values.begin())), " is ", *bad,
                            allowed == Values::kFinite ? ", not finite" : ", no number"));
}

absl::StatusOr<std::vector<float>> ReadVector(const Layout& layout, absl::string_view prefix,
                                              Values allowed, absl::string_view* data) {
  return ReadNumbers<float>(layout.dimension(), allowed, data, [&](size_t i) {
    return absl::StrCat(prefix, layout.CoordinateName(i));
  });
}

// CheckTensors has found all tensors of the job in the header; `tensors` are they.
absl::Status ReadData(const Job& job, absl::Span<const SnapshotTensor> tensors,
                      absl::string_view data, Replica::Contents* contents) {
  const size_t want = tensors.back().end;
  if (data.size() < want) return Cut(data.size(), want);
  if (data.size() > want) {
    return Wrong(absl::StrCat(data.size(), " bytes of data, its tensors have ", want));
  }
  GRADWIRE_ASSIGN_OR_RETURN(contents->parameters,
                            ReadVector(job.layout, "", Values::kFinite, &data));
  for (const StateVector& state : job.state_vectors()) {
    GRADWIRE_ASSIGN_OR_RETURN(
        std::vector<float> values,
        ReadVector(job.layout, absl::StrCat(state.name, "/"), Values::kNumbers, &data));
    contents->state.push_back(std::move(values));
  }
  GRADWIRE_ASSIGN_OR_RETURN(
      contents->scalars,
      ReadNumbers<double>(job.optimizer->state_scalars().size(), Values::kNumbers, &data,
                          [](size_t i) { return absl::StrCat("optimizer.scalars[", i, "]"); }));
  GRADWIRE_ASSIGN_OR_RETURN(
      contents->bases, ReadNumbers<float>(job.basis_size(), Values::kFinite, &data, [](size_t i) {
        return absl::StrCat("codec.bases[", i, "]");
      }));
  return absl::OkStatus();
}

absl::StatusOr<v1::JobConfig> JobOfSnapshot(absl::string_view bytes) {
  GRADWIRE_ASSIGN_OR_RETURN(const size_t head_bytes, SnapshotHeadBytes(bytes));
  GRADWIRE_ASSIGN_OR_RETURN(const Json header, ReadHeader(bytes, head_bytes));
  GRADWIRE_ASSIGN_OR_RETURN(const std::string job, MetadataText(header, kJobKey));
  return ParseJobJson(job);
}

}  // namespace

absl::StatusOr<size_t> SnapshotHeadBytes(absl::string_view prefix) {
  if (prefix.size() < kSnapshotPrefixBytes) return Cut(prefix.size(), kSnapshotPrefixBytes);
  const auto size = LoadLittleEndian<uint64_t>(prefix.data());
  if (size <= kMaxHeaderBytes) return kSnapshotPrefixBytes + size;
  return Wrong(absl::StrCat("header of ", size, " bytes, the limit is ", kMaxHeaderBytes));
}

absl::StatusOr<SnapshotHead> DecodeSnapshotHead(const Job& job, absl::string_view bytes,
                                                bool with_state) {
  SnapshotHead head;
  GRADWIRE_ASSIGN_OR_RETURN(head.bytes, SnapshotHeadBytes(bytes));
  GRADWIRE_ASSIGN_OR_RETURN(const Json header, ReadHeader(bytes, head.bytes));
  GRADWIRE_RETURN_IF_ERROR(CheckOrigin(job, header));
  SnapshotPoint& point = head.point;
  GRADWIRE_ASSIGN_OR_RETURN(point.version, MetadataNumber(header, kVersionKey));
  GRADWIRE_ASSIGN_OR_RETURN(point.applied, MetadataNumber(header, kAppliedKey));
  if (header[kMetadataKey].contains(kResetKey)) {  // the first snapshots did not have it
    GRADWIRE_ASSIGN_OR_RETURN(point.reset_id, MetadataNumber(header, kResetKey));
  }
  GRADWIRE_ASSIGN_OR_RETURN(point.chain_hash, ReadChainHash(header));
  GRADWIRE_ASSIGN_OR_RETURN(point.header, ReadVersionHeader(header));
  if (point.applied > point.version) {
    return Wrong(absl::StrCat(point.applied, " updates applied at version ", point.version));
  }
  GRADWIRE_RETURN_IF_ERROR(CheckTensors(SnapshotTensors(job, with_state), header));
  return head;
}

absl::StatusOr<Replica::Contents> DecodeSnapshot(const Job& job, absl::string_view bytes) {
  GRADWIRE_ASSIGN_OR_RETURN(SnapshotHead head, DecodeSnapshotHead(job, bytes));
  Replica::Contents contents;
  contents.version = head.point.version;
  contents.applied = head.point.applied;
  contents.reset_id = head.point.reset_id;
  contents.chain_hash = head.point.chain_hash;
  contents.header = std::move(head.point.header);
  GRADWIRE_RETURN_IF_ERROR(ReadData(job, SnapshotTensors(job, /*with_state=*/true),
                                    bytes.substr(head.bytes), &contents));
  return contents;
}

absl::StatusOr<std::string> JoinSnapshots(absl::Span<const std::string> parts) {
  std::string joined;
  SnapshotPoint first;
  v1::JobConfig config;
  for (uint32_t k = 0; k < parts.size(); ++k) {
    const auto in_part = [k](const absl::Status& status) {
      return absl::Status(status.code(), absl::StrCat("shard ", k, ": ", status.message()));
    };
    if (k == 0) {
      absl::StatusOr<v1::JobConfig> job = JobOfSnapshot(parts[0]);
      if (!job.ok()) return in_part(job.status());
      config = *std::move(job);
    }
    const auto count = static_cast<uint32_t>(parts.size());
    GRADWIRE_ASSIGN_OR_RETURN(const std::shared_ptr<const Job> job, MakeJob(config, {k, count}));
    const absl::StatusOr<SnapshotHead> head = DecodeSnapshotHead(*job, parts[k], false);
    if (!head.ok()) return in_part(head.status());
    if (k == 0) {
      first = head->point;
      GRADWIRE_ASSIGN_OR_RETURN(const std::shared_ptr<const Job> whole, MakeJob(config));
      joined = EncodeSnapshotHead(*whole, first, /*with_state=*/false);
      joined.reserve(joined.size() + whole->layout.dimension() * sizeof(float));
    }
    const size_t values = parts[k].size() - head->bytes;
    if (head->point.version != first.version || values != job->layout.dimension() * sizeof(float)) {
      return in_part(Wrong(absl::StrCat("of version ", head->point.version, " with ", values,
                                        " bytes of values, wanted are version ", first.version,
                                        " and ", job->layout.dimension() * sizeof(float))));
    }
    joined.append(parts[k], head->bytes, values);
  }
  return joined;
}

}  // namespace gradwire
