// SPDX-License-Identifier: Apache-2.0
// The snapshot files of a state directory.
//
//   STATE_DIR/snapshots/VERSION.safetensors   with optimizer state; the newest two are kept
//   STATE_DIR/final.safetensors               parameters alone, when the job has ended
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/replica/replica.h"

namespace gradwire {

// Not thread-safe, but for what Newest returned, which is immutable.
class Snapshots {
 public:
  static constexpr size_t kKept = 2;

  // Makes the folder when it is missing.  An error names the path.
  static absl::StatusOr<std::unique_ptr<Snapshots>> Create(const std::string& state_dir);

  absl::Status Save(const Replica& replica);
  absl::Status SaveFinal(const Replica& replica) const;

  struct File {
    uint64_t version = 0;
    ChainHash chain_hash = {};
    std::string path;
  };
  // The newest at or below `version`, or null.
  const File* Newest(uint64_t version) const;

  // The file's bytes; without state they are made anew from it.
  static absl::StatusOr<std::string> Read(const Job& job, const File& file, bool with_state);

 private:
  explicit Snapshots(std::string state_dir) : state_dir_(std::move(state_dir)) {}

  const std::string state_dir_;
  std::map<uint64_t, File> files_;
};

}  // namespace gradwire
