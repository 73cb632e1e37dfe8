// SPDX-License-Identifier: Apache-2.0
// Implementation of snapshot_writer.h.
#include "server/snapshot_writer.h"

#include <utility>

#include "common/base/status_macros.h"

namespace gradwire {

absl::StatusOr<std::unique_ptr<SnapshotWriter>> SnapshotWriter::Begin(FileSystem* files,
                                                                      SnapshotPaths paths,
                                                                      const Job& job,
                                                                      const SnapshotPoint& point) {
  GRADWIRE_ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file, files->Create(paths.snapshot));
  std::unique_ptr<SnapshotWriter> writer(
      new SnapshotWriter(files, std::move(paths), point, std::move(file)));
  const std::string head = EncodeSnapshotHead(job, point, /*with_state=*/true);
  writer->head_bytes_ = head.size();
  writer->status_ = writer->file_->WriteAt(0, head);
  return writer;
}

template <typename Number>
void SnapshotWriter::Write(size_t offset, absl::Span<const Number> values) {
  if (!status_.ok() || values.empty()) return;
  status_ = file_->WriteAt(head_bytes_ + offset,
                           absl::string_view(reinterpret_cast<const char*>(values.data()),
                                             values.size() * sizeof(Number)));
}

void SnapshotWriter::WriteBlock(const Replica& replica, size_t block) {
  const Block& range = replica.job()->layout.block(block);
  const size_t vector_bytes = replica.parameters().size() * sizeof(float);
  size_t offset = range.offset * sizeof(float);
  Write(offset, replica.parameters().subspan(range.offset, range.size));
  for (const std::vector<float>& state : replica.state()) {
    offset += vector_bytes;
    Write(offset, absl::MakeConstSpan(state).subspan(range.offset, range.size));
  }
}

void SnapshotWriter::WriteRest(const Replica& replica,
                               absl::Span<const absl::string_view> server_state) {
  const size_t vectors = 1 + replica.state().size();
  const size_t offset = vectors * replica.parameters().size() * sizeof(float);
  Write(offset, replica.scalars());
  Write(offset + replica.scalars().size() * sizeof(double), replica.bases());
  if (status_.ok()) status_ = WriteState(server_state);
}

absl::Status SnapshotWriter::WriteState(absl::Span<const absl::string_view> pieces) {
  GRADWIRE_ASSIGN_OR_RETURN(server_file_, files_->Create(paths_.server));
  for (const absl::string_view piece : pieces) {
    GRADWIRE_RETURN_IF_ERROR(server_file_->Append(piece));
  }
  return absl::OkStatus();
}

absl::Status SnapshotWriter::Sync() {
  GRADWIRE_RETURN_IF_ERROR(status_);
  GRADWIRE_RETURN_IF_ERROR(file_->Sync());
  return server_file_->Sync();
}

absl::Status WriteModel(const Replica& replica, const std::string& path, FileSystem* files) {
  const std::string partial = path + ".partial";
  const auto write = [&]() -> absl::Status {
    GRADWIRE_ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, files->Create(partial));
    GRADWIRE_RETURN_IF_ERROR(
        file->Append(EncodeSnapshotHead(*replica.job(), PointOf(replica), /*with_state=*/false)));
    const absl::Span<const float> parameters = replica.parameters();
    GRADWIRE_RETURN_IF_ERROR(file->Append(absl::string_view(
        reinterpret_cast<const char*>(parameters.data()), parameters.size() * sizeof(float))));
    GRADWIRE_RETURN_IF_ERROR(file->Sync());
    return files->Rename(partial, path);
  };
  const absl::Status status = write();
  if (!status.ok()) {
    files->Remove(partial).IgnoreError();  // the first error is the one to tell
    return status;
  }
  return files->SyncFolder(FolderOf(path));
}

}  // namespace gradwire
