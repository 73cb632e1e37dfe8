// SPDX-License-Identifier: Apache-2.0
// Implementation of file.h.
#include "common/replica/file.h"

#include <unistd.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace gradwire {
namespace {

absl::Status WriteAndSync(const std::string& path, absl::string_view bytes, FileSystem* files) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, files->Create(path));
  GRADWIRE_RETURN_IF_ERROR(file->Append(bytes));
  return file->Sync();
}

}  // namespace

absl::Status WriteFileAtomically(const std::string& path, absl::string_view bytes,
                                 FileSystem* files) {
  const std::string partial = absl::StrCat(path, ".partial.", ::getpid());
  absl::Status status = WriteAndSync(partial, bytes, files);
  if (status.ok()) status = files->Rename(partial, path);
  if (!status.ok()) {
    files->Remove(partial).IgnoreError();  // the first error is the one to tell
    return status;
  }
  return files->SyncFolder(FolderOf(path));
}

absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes, FileSystem* files) {
  return files->Read(path, max_bytes);
}

}  // namespace gradwire
