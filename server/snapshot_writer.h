// SPDX-License-Identifier: Apache-2.0
// A snapshot file that is written block by block, while the update that leads to it is applied.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/file_system.h"
#include "common/replica/replica.h"
#include "common/replica/snapshot.h"

namespace gradwire {

// One caller at a time.  The first error of a write is kept and ends the writing; Sync tells it.
class SnapshotWriter {
 public:
  // Creates `path`; `files` must outlive this.
  static absl::StatusOr<std::unique_ptr<SnapshotWriter>> Begin(FileSystem* files, std::string path,
                                                               const Job& job,
                                                               const SnapshotPoint& point);

  // Parameters and state of one block, to the page cache.
  void WriteBlock(const Replica& replica, size_t block);
  // What belongs to no block.  The file is whole afterwards.
  void WriteRest(const Replica& replica);

  // From any thread, after WriteRest: makes the file's bytes last.
  absl::Status Sync();

  const std::string& path() const { return path_; }
  const SnapshotPoint& point() const { return point_; }

 private:
  SnapshotWriter(std::string path, SnapshotPoint point, std::unique_ptr<WritableFile> file)
      : path_(std::move(path)), point_(std::move(point)), file_(std::move(file)) {}
  template <typename Number>
  void Write(size_t offset, absl::Span<const Number> values);

  const std::string path_;
  const SnapshotPoint point_;
  const std::unique_ptr<WritableFile> file_;
  size_t head_bytes_ = 0;
  absl::Status status_;
};

}  // namespace gradwire
