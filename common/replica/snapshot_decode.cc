// SPDX-License-Identifier: Apache-2.0
// Implementation of snapshot.h: reading bytes that nobody has checked.
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/little_endian.h"
#include "common/base/status_macros.h"
#include "common/kernels/vector.h"
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

// Splits off the header and parses it; `*bytes` keeps the data.
absl::StatusOr<Json> ReadHeader(absl::string_view* bytes) {
  constexpr size_t kPrefix = sizeof(uint64_t);
  if (bytes->size() < kPrefix) return Cut(bytes->size(), kPrefix);
  const auto size = LoadLittleEndian<uint64_t>(bytes->data());
  if (size > kMaxHeaderBytes) {
    return Wrong(absl::StrCat("header of ", size, " bytes, the limit is ", kMaxHeaderBytes));
  }
  if (bytes->size() - kPrefix < size) return Cut(bytes->size(), kPrefix + size);
  const absl::string_view text = bytes->substr(kPrefix, size);
  bytes->remove_prefix(kPrefix + size);
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
  ChainHash hash;
  const bool digits = text.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!digits || text.size() != 2 * hash.size()) {
    return Wrong(absl::StrCat("metadata ", kChainHashKey, ": not 32 hexadecimal digits"));
  }
  const std::string bytes = absl::HexStringToBytes(text);
  std::memcpy(hash.data(), bytes.data(), hash.size());
  return hash;
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
  return MetadataText(header, kJobKey).status();
}

absl::Status CheckTensor(const SnapshotTensor& want, const Json& header) {
  const auto found = header.find(want.name);
  if (found == header.end() || !found->is_object()) {
    return Wrong(absl::StrCat("tensor \"", want.name, "\" is missing"));
  }
  const Json shape(std::vector<uint64_t>(want.shape.begin(), want.shape.end()));
  const Json wanted = {
      {"dtype", "F32"}, {"shape", shape}, {"data_offsets", {want.begin, want.end}}};
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

absl::StatusOr<std::vector<float>> ReadFloats(const Layout& layout, absl::string_view prefix,
                                              absl::string_view data) {
  std::vector<float> values(layout.dimension());
  std::memcpy(values.data(), data.data(), values.size() * sizeof(float));
  const size_t bad = FirstNonFinite(values.data(), values.size());
  if (bad == values.size()) return values;
  return Wrong(
      absl::StrCat(prefix, layout.CoordinateName(bad), " is ", values[bad], ", not finite"));
}

absl::Status ReadData(const Job& job, absl::string_view data, Replica::Contents* contents) {
  const size_t vector_bytes = job.layout.dimension() * sizeof(float);
  const std::vector<std::string> states = job.optimizer->state_names();
  const size_t want = vector_bytes * (1 + states.size());
  if (data.size() < want) return Cut(data.size(), want);
  if (data.size() > want) {
    return Wrong(absl::StrCat(data.size(), " bytes of data, its tensors have ", want));
  }
  GRADWIRE_ASSIGN_OR_RETURN(contents->parameters, ReadFloats(job.layout, "", data));
  for (size_t i = 0; i < states.size(); ++i) {
    GRADWIRE_ASSIGN_OR_RETURN(std::vector<float> values,
                              ReadFloats(job.layout, absl::StrCat("optimizer.", states[i], "/"),
                                         data.substr((i + 1) * vector_bytes)));
    contents->state.push_back(std::move(values));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Replica::Contents> DecodeSnapshot(const Job& job, absl::string_view bytes) {
  GRADWIRE_ASSIGN_OR_RETURN(const Json header, ReadHeader(&bytes));
  GRADWIRE_RETURN_IF_ERROR(CheckOrigin(job, header));
  Replica::Contents contents;
  GRADWIRE_ASSIGN_OR_RETURN(contents.version, MetadataNumber(header, kVersionKey));
  GRADWIRE_ASSIGN_OR_RETURN(contents.applied, MetadataNumber(header, kAppliedKey));
  GRADWIRE_ASSIGN_OR_RETURN(contents.chain_hash, ReadChainHash(header));
  if (contents.applied > contents.version) {
    return Wrong(absl::StrCat(contents.applied, " updates applied at version ", contents.version));
  }
  GRADWIRE_RETURN_IF_ERROR(CheckTensors(SnapshotTensors(job, /*with_state=*/true), header));
  GRADWIRE_RETURN_IF_ERROR(ReadData(job, bytes, &contents));
  return contents;
}

}  // namespace gradwire
