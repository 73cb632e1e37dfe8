// SPDX-License-Identifier: Apache-2.0
// gradwire snapshot inspect: what a safetensors file of gradwire says of itself, and what its
// tensors hold; read in pieces.
#include "common/replica/snapshot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/file_system.h"
#include "common/base/little_endian.h"
#include "common/base/status_macros.h"
#include "common/replica/job.h"
#include "common/replica/snapshot_format.h"
#include "server/ctl/commands.h"
#include "server/manifest.h"

namespace gradwire {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100000000;  // what the format's own library takes
constexpr size_t kPiece = size_t{1} << 20;       // a multiple of every dtype's size

struct Tensor {
  std::string name;
  std::string dtype;
  std::vector<uint64_t> shape;
  uint64_t begin = 0;  // from the beginning of the file
  uint64_t bytes = 0;
};

struct SafetensorsFile {
  std::string path;
  Json metadata = Json::object();
  std::vector<Tensor> tensors;  // in file order
};

absl::Status Damaged(const std::string& path, absl::string_view reason) {
  return absl::DataLossError(absl::StrCat(
      path, ": ", reason, ": not a whole safetensors file; take another snapshot, or a copy"));
}

uint64_t WidthOf(const std::string& dtype) { return dtype == "F64" ? 8 : dtype == "F32" ? 4 : 0; }

// Whether the entry is a tensor within `data` bytes that begin at `base`.
bool ReadEntry(const std::string& name, const Json& entry, uint64_t base, uint64_t data,
               Tensor* tensor) {
  const auto is_number = [](const Json& value) { return value.is_number_unsigned(); };
  const Json none;
  const auto at = [&](const char* key) -> const Json& {
    return entry.is_object() && entry.contains(key) ? entry[key] : none;
  };
  const Json& shape = at("shape");
  const Json& offsets = at("data_offsets");
  if (!at("dtype").is_string() || !shape.is_array() || !offsets.is_array() || offsets.size() != 2 ||
      !std::all_of(shape.begin(), shape.end(), is_number) ||
      !std::all_of(offsets.begin(), offsets.end(), is_number)) {
    return false;
  }
  const auto begin = offsets[0].get<uint64_t>();
  const auto end = offsets[1].get<uint64_t>();
  if (begin > end || end > data) return false;
  *tensor = {.name = name,
             .dtype = at("dtype").get<std::string>(),
             .shape = shape.get<std::vector<uint64_t>>(),
             .begin = base + begin,
             .bytes = end - begin};
  uint64_t count = 1;
  for (const uint64_t extent : tensor->shape) {
    if (extent != 0 && count > data / extent) return false;
    count *= extent;
  }
  const uint64_t width = WidthOf(tensor->dtype);
  return width == 0 || count * width == tensor->bytes;
}

absl::StatusOr<SafetensorsFile> ReadHead(FileSystem* files, const std::string& path) {
  constexpr uint64_t kPrefix = sizeof(uint64_t);
  GRADWIRE_ASSIGN_OR_RETURN(const uint64_t size, files->Size(path));
  if (size < kPrefix) return Damaged(path, absl::StrCat("it has ", size, " bytes"));
  GRADWIRE_ASSIGN_OR_RETURN(const std::string prefix, files->ReadRange(path, 0, kPrefix));
  const auto header_bytes = LoadLittleEndian<uint64_t>(prefix.data());
  if (header_bytes > kMaxHeaderBytes || header_bytes > size - kPrefix) {
    return Damaged(path,
                   absl::StrCat("at offset 0: a header of ", header_bytes, " bytes in ", size));
  }
  GRADWIRE_ASSIGN_OR_RETURN(const std::string text, files->ReadRange(path, kPrefix, header_bytes));
  const Json header = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!header.is_object()) return Damaged(path, "at offset 8: the header is no JSON object");
  SafetensorsFile file;
  file.path = path;
  const uint64_t base = kPrefix + header_bytes;
  uint64_t covered = 0;
  for (const auto& [name, entry] : header.items()) {
    if (name == kMetadataKey) {
      if (entry.is_object()) file.metadata = entry;
      continue;
    }
    Tensor tensor;
    if (!ReadEntry(name, entry, base, size - base, &tensor)) {
      return Damaged(path, absl::StrCat("tensor \"", absl::CHexEscape(name),
                                        "\" is not described as the format asks"));
    }
    covered += tensor.bytes;
    file.tensors.push_back(std::move(tensor));
  }
  if (covered != size - base) {
    return Damaged(path,
                   absl::StrCat("its tensors have ", covered, " bytes, its data ", size - base));
  }
  std::sort(file.tensors.begin(), file.tensors.end(),
            [](const Tensor& a, const Tensor& b) { return a.begin < b.begin; });
  return file;
}

std::string MetadataText(const SafetensorsFile& file, const char* key) {
  const auto found = file.metadata.find(key);
  return found != file.metadata.end() && found->is_string() ? found->get<std::string>() : "";
}

void PrintLine(const char* name, absl::string_view value) {
  std::printf("%-14s %s\n", name, value.empty() ? "none" : absl::CHexEscape(value).c_str());
}

void PrintMetadata(const SafetensorsFile& file) {
  PrintLine("version", MetadataText(file, kVersionKey));
  PrintLine("chain hash", MetadataText(file, kChainHashKey));
  const absl::StatusOr<v1::JobConfig> job = ParseJobJson(MetadataText(file, kJobKey));
  PrintLine("job", job.ok() ? job->name() : "");
  PrintLine("apply revision", MetadataText(file, kRevisionKey));
  PrintLine("schema hash", MetadataText(file, kSchemaHashKey));
}

struct Summary {
  double min = std::numeric_limits<double>::infinity();
  double max = -std::numeric_limits<double>::infinity();
  double squares = 0;
  uint64_t not_finite = 0;
};

template <typename Number>
void Add(absl::string_view bytes, Summary* summary) {
  for (size_t i = 0; i < bytes.size(); i += sizeof(Number)) {
    Number number;
    std::memcpy(&number, bytes.data() + i, sizeof(Number));
    const auto value = static_cast<double>(number);
    if (!std::isfinite(value)) {
      ++summary->not_finite;
      continue;
    }
    summary->min = std::min(summary->min, value);
    summary->max = std::max(summary->max, value);
    summary->squares += value * value;
  }
}

absl::Status PrintTensor(FileSystem* files, const std::string& path, const Tensor& tensor) {
  std::string line =
      absl::StrFormat("%s %s [%s]", absl::CHexEscape(tensor.name), absl::CHexEscape(tensor.dtype),
                      absl::StrJoin(tensor.shape, ", "));
  const uint64_t width = WidthOf(tensor.dtype);
  Summary summary;
  for (uint64_t done = 0; width != 0 && done < tensor.bytes; done += kPiece) {
    const auto size = static_cast<size_t>(std::min<uint64_t>(kPiece, tensor.bytes - done));
    GRADWIRE_ASSIGN_OR_RETURN(const std::string piece,
                              files->ReadRange(path, tensor.begin + done, size));
    width == sizeof(double) ? Add<double>(piece, &summary) : Add<float>(piece, &summary);
  }
  if (summary.min <= summary.max) {
    absl::StrAppendFormat(&line, " min=%.6g max=%.6g norm=%.6g", summary.min, summary.max,
                          std::sqrt(summary.squares));
  }
  if (summary.not_finite > 0) absl::StrAppend(&line, " not_finite=", summary.not_finite);
  std::printf("%s\n", line.c_str());
  return absl::OkStatus();
}

// Ok where there is none.
absl::Status CheckManifest(FileSystem* files, const SafetensorsFile& file) {
  const std::string stem(absl::StripSuffix(file.path, ".safetensors"));
  const std::string path = stem + ".manifest";
  const absl::StatusOr<std::string> text = files->Read(path, kMaxManifestBytes);
  if (absl::IsNotFound(text.status())) {
    PrintLine("manifest", "none");
    return absl::OkStatus();
  }
  GRADWIRE_RETURN_IF_ERROR(text.status());
  const absl::StatusOr<Manifest> manifest = DecodeManifest(*text);
  if (!manifest.ok()) {
    return absl::DataLossError(absl::StrCat(path, ": ", manifest.status().message()));
  }
  GRADWIRE_RETURN_IF_ERROR(ReadDescribed(files, stem + ".server", manifest->server).status());
  GRADWIRE_ASSIGN_OR_RETURN(const Manifest::File now, DescribeFile(files, file.path));
  const bool same = now.bytes == manifest->snapshot.bytes && now.hash == manifest->snapshot.hash &&
                    absl::StrCat(manifest->version) == MetadataText(file, kVersionKey) &&
                    HashText(manifest->chain_hash) == MetadataText(file, kChainHashKey);
  if (!same) {
    return absl::DataLossError(absl::StrCat(
        path, ": version ", manifest->version, ", ", manifest->snapshot.bytes, " bytes, hash ",
        HashText(manifest->snapshot.hash), ", but ", file.path, " has ", now.bytes,
        " bytes and hash ", HashText(now.hash),
        ": damaged; the server passes it over and starts from the snapshot before it"));
  }
  PrintLine("manifest", "agrees");
  return absl::OkStatus();
}

}  // namespace

absl::Status InspectSnapshot(const std::string& path) {
  FileSystem* const files = PosixFileSystem();
  GRADWIRE_ASSIGN_OR_RETURN(const SafetensorsFile file, ReadHead(files, path));
  PrintMetadata(file);
  for (const Tensor& tensor : file.tensors) {
    GRADWIRE_RETURN_IF_ERROR(PrintTensor(files, path, tensor));
  }
  return CheckManifest(files, file);
}

}  // namespace gradwire
