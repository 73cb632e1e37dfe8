// SPDX-License-Identifier: Apache-2.0
// Implementation of model_file.h.
#include "server/model_file.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/replica/snapshot.h"

namespace gradwire {

absl::StatusOr<std::unique_ptr<ModelFile>> ModelFile::Open(FileSystem* files, const Job& job,
                                                           const std::string& path,
                                                           bool with_state) {
  GRADWIRE_ASSIGN_OR_RETURN(std::unique_ptr<ReadableFile> file, files->OpenToRead(path));
  std::unique_ptr<ModelFile> model(new ModelFile(std::move(file)));
  if (with_state) return model;
  if (const absl::Status status = model->LeaveStateOut(job); !status.ok()) {
    return absl::DataLossError(absl::StrCat(path, ": ", status.message()));
  }
  return model;
}

// Parameters are the first of the values: see snapshot.h.
absl::Status ModelFile::LeaveStateOut(const Job& job) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::string prefix, file_->ReadAt(0, kSnapshotPrefixBytes));
  GRADWIRE_ASSIGN_OR_RETURN(const size_t bytes, SnapshotHeadBytes(prefix));
  GRADWIRE_ASSIGN_OR_RETURN(const std::string text, file_->ReadAt(0, bytes));
  GRADWIRE_ASSIGN_OR_RETURN(const SnapshotHead head, DecodeSnapshotHead(job, text));
  head_ = EncodeSnapshotHead(job, head.point, /*with_state=*/false);
  begin_ = bytes;
  end_ = begin_ + job.layout.dimension() * sizeof(float);
  return absl::OkStatus();
}

absl::StatusOr<std::string> ModelFile::Read(uint64_t offset, size_t most) const {
  if (offset < head_.size()) return head_.substr(offset, most);
  const uint64_t from = begin_ + (offset - head_.size());
  absl::StatusOr<std::string> bytes = file_->ReadAt(from, std::min<uint64_t>(most, end_ - from));
  if (!absl::IsOutOfRange(bytes.status())) return bytes;
  return absl::DataLossError(bytes.status().message());
}

}  // namespace gradwire
