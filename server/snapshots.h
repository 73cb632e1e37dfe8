// SPDX-License-Identifier: Apache-2.0
// The snapshots of a state directory, each with the server's state at the same version.
//
//   STATE_DIR/snapshots/VERSION.safetensors   the replica (common/replica/snapshot.h)
//   STATE_DIR/snapshots/VERSION.server        the server's state (server_state.h)
//   STATE_DIR/snapshots/VERSION.manifest      written last: a snapshot without it does not exist
//   STATE_DIR/final.safetensors               parameters alone, when the job has ended
//
//   manifest = JSON object: { "version": number, "chain_hash": 32 hexadecimal digits,
//              "snapshot": file, "server": file }
//   file     = { "bytes": number, "xxh3_128": 32 hexadecimal digits }   ; of the whole file
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/file_system.h"
#include "common/base/mutex.h"
#include "common/replica/replica.h"
#include "server/manifest.h"
#include "server/model_file.h"
#include "server/snapshot_writer.h"

namespace gradwire {

// STATE_DIR/snapshots/VERSION and the ending.
std::string SnapshotPath(const std::string& state_dir, uint64_t version, absl::string_view ending);

struct LoadedSnapshot {
  Manifest manifest;
  Replica::Contents contents;
  std::string server_state;
};
// All three files, verified against each other; nothing is written.  DataLoss: damaged, with path
// and reason; NotFound: a file is missing.
absl::StatusOr<LoadedSnapshot> LoadSnapshot(FileSystem* files, const std::string& state_dir,
                                            const Job& job, uint64_t version);

// Thread-safe, but for Begin, Finish, Save, SaveFinal and Retain, which want one caller.
class Snapshots {
 public:
  struct Options {
    FileSystem* files = nullptr;  // must outlive this
    std::string state_dir;
    size_t kept = 2;  // at least 1
  };

  // Makes the folder when it is missing; finds what is there, and removes what was not finished.
  // An error names the path.
  static absl::StatusOr<std::unique_ptr<Snapshots>> Open(Options options,
                                                         std::shared_ptr<const Job> job);
  // Waits for the snapshot under way.
  ~Snapshots();

  struct File {
    uint64_t version = 0;
    ChainHash chain_hash = {};
    std::string path;
  };
  // The newest at or below `version`.
  std::optional<File> Newest(uint64_t version) const ABSL_LOCKS_EXCLUDED(mu_);
  std::vector<uint64_t> versions() const ABSL_LOCKS_EXCLUDED(mu_);

  absl::StatusOr<LoadedSnapshot> Load(uint64_t version) const {
    return LoadSnapshot(options_.files, options_.state_dir, *job_, version);
  }
  // A damaged one: no longer counted; its files stay for a look.
  void Forget(uint64_t version) ABSL_LOCKS_EXCLUDED(mu_);

  // The snapshot that Finish has handed over is still being written.
  bool publishing() const ABSL_LOCKS_EXCLUDED(mu_);
  // Null, with a warning, when a file cannot be made.  Waits for the one before: see publishing().
  std::unique_ptr<SnapshotWriter> Begin(const SnapshotPoint& point);
  // Writes the rest, and the server's state, whose pieces follow each other; then syncs, names and
  // lists it in the background.  A failure is a warning.
  void Finish(std::unique_ptr<SnapshotWriter> writer, const Replica& replica,
              absl::Span<const absl::string_view> server_state) ABSL_LOCKS_EXCLUDED(mu_);
  // Until the one under way is listed, or has failed.
  void Wait();
  // A snapshot here and now, when there is none of this version.
  absl::Status Save(const Replica& replica, absl::Span<const absl::string_view> server_state)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status SaveFinal(const Replica& replica) const;

  // Removes what is neither among the newest `kept` nor the newest at or below `needed`.
  void Retain(uint64_t needed) ABSL_LOCKS_EXCLUDED(mu_);

  // NotFound: it has been removed since.
  absl::StatusOr<std::unique_ptr<ModelFile>> OpenModel(const File& file, bool with_state) const {
    return ModelFile::Open(options_.files, *job_, file.path, with_state);
  }

 private:
  Snapshots(Options options, std::shared_ptr<const Job> job);
  std::string PathOf(uint64_t version, absl::string_view ending) const;
  void RemoveUnfinished(const std::vector<std::string>& names) const;
  absl::Status Publish(SnapshotWriter* writer) ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<std::unique_ptr<SnapshotWriter>> NewWriter(const SnapshotPoint& point) const;

  const Options options_;
  const std::shared_ptr<const Job> job_;
  const std::string folder_;

  mutable Mutex mu_;
  std::map<uint64_t, File> files_ ABSL_GUARDED_BY(mu_);
  bool publishing_ ABSL_GUARDED_BY(mu_) = false;
  std::thread publisher_;
};

}  // namespace gradwire
