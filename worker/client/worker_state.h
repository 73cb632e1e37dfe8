// SPDX-License-Identifier: Apache-2.0
// What a worker keeps on disk, so that it can compute its residual again after it was killed.
//
//   STATE_DIR/worker/lock               held by the worker that uses the folder
//   STATE_DIR/worker/worker_id          its id, and a line feed
//   STATE_DIR/worker/000000000100.state its state at version 100: see state_file.h, kind "worker"
//
//   texts   worker_id; schema_hash, version, incarnation, reset_id (decimal); fresh ("0" or "1");
//           chain_hash (16 bytes, as they are)
//   floats  residual, momentum: of all blocks, or empty
//
// The two newest states are kept.  Each is written beside its name, synced, renamed, and the folder
// synced: a file with such a name is whole, or the disk has damaged it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/file_system.h"
#include "common/base/hash.h"
#include "worker/client/uplink.h"

namespace gradwire {

// At a version with no payload open: the record of `version` has decided about the one before.
struct WorkerState {
  uint64_t version = 0;
  ChainHash chain_hash = {};  // of that record
  // The worker's first since its residual was last lost: payloads by older ones are others.
  uint64_t incarnation = 0;
  Uplink::Contents memory = {};
};

// The id of the worker whose states are in `state_dir`; empty when there are none.
absl::StatusOr<std::string> SavedWorkerId(const std::string& state_dir, FileSystem* files);

// Not thread-safe.
class WorkerStateStore {
 public:
  struct Options {
    std::string state_dir;
    std::string worker_id;
    FileSystem* files = PosixFileSystem();  // must outlive the store
  };
  // Makes and locks the folder and reads what is there; a damaged file is said and passed over.
  // FailedPrecondition: another process uses the folder, or it is another worker's.
  static absl::StatusOr<std::unique_ptr<WorkerStateStore>> Open(Options options);

  // FailedPrecondition when what is there is of another job.
  absl::Status CheckSchema(uint64_t schema_hash) const;

  struct Point {
    uint64_t version = 0;
    ChainHash chain_hash = {};
  };
  // Of the files that are there and whole, newest first.
  absl::Span<const Point> points() const { return points_; }
  bool Has(uint64_t version) const;
  // Of the oldest one.
  std::optional<uint64_t> oldest_version() const;

  // One of points().  NotFound, DataLoss: the file is gone or damaged by now.
  absl::StatusOr<WorkerState> Load(uint64_t version) const;

  // Keeps this state and the newest one before it, and no other.  After an error those from before
  // are still there.
  absl::Status Save(uint64_t schema_hash, WorkerState state);

  // Removes the states after `version`, which are of another history; all of them.
  absl::Status RemoveAfter(uint64_t version);
  absl::Status RemoveAll();

  const std::string& folder() const { return folder_; }

 private:
  explicit WorkerStateStore(Options options);

  absl::Status ReadWorkerId();
  absl::Status ReadStates();
  absl::Status RemoveAllBut(absl::Span<const Point> keep);
  std::string PathOf(uint64_t version) const;

  const Options options_;
  const std::string folder_;
  std::unique_ptr<FileLock> lock_;
  std::vector<Point> points_;
  std::vector<uint64_t> schemas_;  // of the files that were found by Open
};

}  // namespace gradwire
