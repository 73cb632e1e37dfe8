// SPDX-License-Identifier: Apache-2.0
// Implementation of manifest.h.
#include "server/manifest.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace gradwire {
namespace {

using Json = nlohmann::json;

constexpr size_t kPiece = size_t{1} << 20;

absl::Status NoManifest(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("not a manifest of a snapshot: ", what));
}

absl::StatusOr<uint64_t> ReadNumber(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found != object.end() && found->is_number_unsigned()) return found->get<uint64_t>();
  return NoManifest(absl::StrCat(key, " is missing or no number"));
}

absl::StatusOr<ChainHash> ReadHash(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found != object.end() && found->is_string()) {
    const std::optional<ChainHash> hash = ParseChainHash(found->get<std::string>());
    if (hash.has_value()) return *hash;
  }
  return NoManifest(absl::StrCat(key, " is missing or not 32 hexadecimal digits"));
}

absl::StatusOr<Manifest::File> DecodeFile(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_object()) {
    return NoManifest(absl::StrCat(key, " is missing"));
  }
  Manifest::File file;
  GRADWIRE_ASSIGN_OR_RETURN(file.bytes, ReadNumber(*found, "bytes"));
  GRADWIRE_ASSIGN_OR_RETURN(file.hash, ReadHash(*found, "xxh3_128"));
  return file;
}

Json FileJson(const Manifest::File& file) {
  return {{"bytes", file.bytes}, {"xxh3_128", HashText(file.hash)}};
}

}  // namespace

std::string EncodeManifest(const Manifest& manifest) {
  nlohmann::ordered_json json;
  json["version"] = manifest.version;
  json["chain_hash"] = HashText(manifest.chain_hash);
  json["snapshot"] = FileJson(manifest.snapshot);
  json["server"] = FileJson(manifest.server);
  return json.dump(2) + "\n";
}

absl::StatusOr<Manifest> DecodeManifest(absl::string_view text) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return NoManifest("no JSON object");
  Manifest manifest;
  GRADWIRE_ASSIGN_OR_RETURN(manifest.version, ReadNumber(json, "version"));
  GRADWIRE_ASSIGN_OR_RETURN(manifest.chain_hash, ReadHash(json, "chain_hash"));
  GRADWIRE_ASSIGN_OR_RETURN(manifest.snapshot, DecodeFile(json, "snapshot"));
  GRADWIRE_ASSIGN_OR_RETURN(manifest.server, DecodeFile(json, "server"));
  return manifest;
}

absl::StatusOr<Manifest::File> DescribeFile(FileSystem* files, const std::string& path) {
  Manifest::File file;
  GRADWIRE_ASSIGN_OR_RETURN(file.bytes, files->Size(path));
  ChainHasher hasher;
  for (uint64_t offset = 0; offset < file.bytes; offset += kPiece) {
    const size_t size = static_cast<size_t>(std::min<uint64_t>(kPiece, file.bytes - offset));
    GRADWIRE_ASSIGN_OR_RETURN(const std::string piece, files->ReadRange(path, offset, size));
    hasher.Add(piece);
  }
  file.hash = hasher.Finish();
  return file;
}

absl::StatusOr<std::string> ReadDescribed(FileSystem* files, const std::string& path,
                                          const Manifest::File& file) {
  GRADWIRE_ASSIGN_OR_RETURN(const uint64_t bytes, files->Size(path));
  if (bytes != file.bytes) {
    return absl::DataLossError(
        absl::StrCat(path, " has ", bytes, " bytes, its manifest says ", file.bytes));
  }
  GRADWIRE_ASSIGN_OR_RETURN(std::string content,
                            files->ReadRange(path, 0, static_cast<size_t>(bytes)));
  ChainHasher hasher;
  hasher.Add(content);
  if (hasher.Finish() == file.hash) return content;
  return absl::DataLossError(
      absl::StrCat(path, " does not have the hash in its manifest, ", HashText(file.hash)));
}

}  // namespace gradwire
