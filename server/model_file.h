// SPDX-License-Identifier: Apache-2.0
// A snapshot file as GetModel sends it: as it is, or without the optimizer's state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "common/base/file_system.h"
#include "common/replica/job.h"

namespace gradwire {

// Holds the file open, so that it may be removed meanwhile, and none of its values.  Thread-safe.
class ModelFile {
 public:
  // NotFound: there is none.  DataLoss, with path and reason: without state the file's head is
  // checked and made anew; the values of the parameters follow in the file as they are sent.
  static absl::StatusOr<std::unique_ptr<ModelFile>> Open(FileSystem* files, const Job& job,
                                                         const std::string& path, bool with_state);

  uint64_t size() const { return head_.size() + end_ - begin_; }
  // At least one and at most `most` bytes from `offset` on, which must be below size().  DataLoss:
  // the file has become shorter.
  absl::StatusOr<std::string> Read(uint64_t offset, size_t most) const;

 private:
  explicit ModelFile(std::unique_ptr<ReadableFile> file)
      : file_(std::move(file)), end_(file_->size()) {}
  absl::Status LeaveStateOut(const Job& job);

  const std::unique_ptr<ReadableFile> file_;
  std::string head_;  // sent first, then [begin_, end_) of the file
  uint64_t begin_ = 0;
  uint64_t end_;
};

}  // namespace gradwire
