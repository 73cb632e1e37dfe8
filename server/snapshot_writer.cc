// SPDX-License-Identifier: Apache-2.0
// Implementation of snapshot_writer.h.
#include "server/snapshot_writer.h"

#include <utility>

#include "common/base/status_macros.h"

namespace gradwire {

absl::StatusOr<std::unique_ptr<SnapshotWriter>> SnapshotWriter::Begin(FileSystem* files,
                                                                      std::string path,
                                                                      const Job& job,
                                                                      const SnapshotPoint& point) {
  GRADWIRE_ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file, files->Create(path));
  std::unique_ptr<SnapshotWriter> writer(
      new SnapshotWriter(std::move(path), point, std::move(file)));
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

void SnapshotWriter::WriteRest(const Replica& replica) {
  const size_t vectors = 1 + replica.state().size();
  const size_t offset = vectors * replica.parameters().size() * sizeof(float);
  Write(offset, replica.scalars());
  Write(offset + replica.scalars().size() * sizeof(double), replica.bases());
}

absl::Status SnapshotWriter::Sync() {
  GRADWIRE_RETURN_IF_ERROR(status_);
  return file_->Sync();
}

}  // namespace gradwire
