// SPDX-License-Identifier: Apache-2.0
// The manifest of a snapshot: see snapshots.h for its grammar.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/file_system.h"
#include "common/base/hash.h"

namespace gradwire {

inline constexpr size_t kMaxManifestBytes = 65536;

struct Manifest {
  struct File {
    uint64_t bytes = 0;
    ChainHash hash = {};  // xxh3-128 of the whole file
  };
  uint64_t version = 0;
  ChainHash chain_hash = {};
  File snapshot;
  File server;
};

std::string EncodeManifest(const Manifest& manifest);
// DataLoss: not a manifest.
absl::StatusOr<Manifest> DecodeManifest(absl::string_view text);

// Of a whole file; read in pieces.
absl::StatusOr<Manifest::File> DescribeFile(FileSystem* files, const std::string& path);
// The file's bytes, when they are those described.  DataLoss names the path and what differs.
absl::StatusOr<std::string> ReadDescribed(FileSystem* files, const std::string& path,
                                          const Manifest::File& file);

}  // namespace gradwire
