// SPDX-License-Identifier: Apache-2.0
// A snapshot file that is written block by block, while the update that leads to it is applied.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/file_system.h"
#include "common/replica/replica.h"
#include "common/replica/snapshot.h"

namespace gradwire {

struct SnapshotPaths {
  std::string snapshot;
  std::string server;  // for the server's state
};

// One caller at a time.  The first error of a write is kept and ends the writing; Sync tells it.
class SnapshotWriter {
 public:
  // Creates the first of `paths`; `files` must outlive this.
  static absl::StatusOr<std::unique_ptr<SnapshotWriter>> Begin(FileSystem* files,
                                                               SnapshotPaths paths, const Job& job,
                                                               const SnapshotPoint& point);

  // Parameters and state of one block, to the page cache.
  void WriteBlock(const Replica& replica, size_t block);
  // What belongs to no block, and the server's state in its own file.  Both are whole afterwards.
  void WriteRest(const Replica& replica, absl::Span<const absl::string_view> server_state);

  // From any thread, after WriteRest: makes the files' bytes last.
  absl::Status Sync();

  const SnapshotPaths& paths() const { return paths_; }
  const SnapshotPoint& point() const { return point_; }

 private:
  SnapshotWriter(FileSystem* files, SnapshotPaths paths, SnapshotPoint point,
                 std::unique_ptr<WritableFile> file)
      : files_(files), paths_(std::move(paths)), point_(std::move(point)), file_(std::move(file)) {}
  absl::Status WriteState(absl::Span<const absl::string_view> pieces);
  template <typename Number>
  void Write(size_t offset, absl::Span<const Number> values);

  FileSystem* const files_;
  const SnapshotPaths paths_;
  const SnapshotPoint point_;
  const std::unique_ptr<WritableFile> file_;
  std::unique_ptr<WritableFile> server_file_;
  size_t head_bytes_ = 0;
  absl::Status status_;
};

// The parameters alone, in place of what has that name, at once; from where they are, without a
// copy of them.
absl::Status WriteModel(const Replica& replica, const std::string& path, FileSystem* files);

}  // namespace gradwire
