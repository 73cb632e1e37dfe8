// SPDX-License-Identifier: Apache-2.0
// Implementation of log_store.h.  A segment appears under its name only when it is on disk with
// its first record; a file whose sync has failed is never synced again.
#include "common/replica/log_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/replica/job.h"

namespace gradwire {
namespace {

constexpr absl::Duration kMinInterval = absl::Milliseconds(1);
constexpr absl::Duration kMaxInterval = absl::Hours(1);
constexpr size_t kWorthPieces = size_t{1} << 20;  // bytes; less is written at once

absl::Status AppendPieces(const RecordPieces& pieces, WritableFile* file) {
  if (pieces.size() < kWorthPieces) return file->Append(pieces.Join());
  GRADWIRE_RETURN_IF_ERROR(file->Append(pieces.head));
  for (const absl::string_view piece : pieces.body) {
    GRADWIRE_RETURN_IF_ERROR(file->Append(piece));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FsyncPolicy> ParseFsyncPolicy(absl::string_view text) {
  if (text == "always") return FsyncPolicy{.kind = FsyncPolicy::Kind::kAlways};
  if (text == "never") return FsyncPolicy{.kind = FsyncPolicy::Kind::kNever};
  absl::string_view duration = text;
  FsyncPolicy policy = {.kind = FsyncPolicy::Kind::kInterval};
  if (absl::ConsumePrefix(&duration, "interval:") &&
      absl::ParseDuration(duration, &policy.interval) && policy.interval >= kMinInterval &&
      policy.interval <= kMaxInterval) {
    return policy;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("fsync is \"", text, "\"; it may be always, never, or interval:DURATION from ",
                   absl::FormatDuration(kMinInterval), " to ", absl::FormatDuration(kMaxInterval),
                   ", as interval:100ms"));
}

absl::StatusOr<std::unique_ptr<LogStore>> LogStore::Open(LogStoreOptions options) {
  GRADWIRE_ASSIGN_OR_RETURN(RecoveredLog recovered,
                            RecoverLog(options.files, options.folder, options.schema_hash));
  return std::unique_ptr<LogStore>(new LogStore(std::move(options), std::move(recovered)));
}

LogStore::LogStore(LogStoreOptions options, RecoveredLog recovered)
    : options_(std::move(options)),
      cut_(recovered.cut),
      file_(std::move(recovered.newest_file)),
      log_(std::move(recovered)) {}

absl::Status LogStore::Append(const Record& record) {
  MutexLock writing(&writing_mu_);
  GRADWIRE_RETURN_IF_ERROR(CheckFollows(ViewOf(record), next_version(), newest_chain_hash()));
  const RecordPieces pieces = PiecesOf(record);
  if (file_ == nullptr || roll_ || tail_lost_ ||
      file_->size() + pieces.size() > options_.segment_bytes) {
    return StartSegment(&record, &pieces);
  }
  return AppendToSegment(record, pieces);
}

absl::Status LogStore::AppendToSegment(const Record& record, const RecordPieces& pieces) {
  const uint64_t offset = file_->size();
  const absl::Status appended = AppendPieces(pieces, file_.get());
  if (!appended.ok()) {
    if (!file_->Truncate(offset).ok()) tail_lost_ = true;
    return appended;
  }
  if (options_.fsync.kind == FsyncPolicy::Kind::kAlways) {
    const absl::Status synced = SyncFile(file_.get());
    if (!synced.ok()) {
      LogWarning(
          absl::StrCat(synced.message(), ": record ", record.version, " goes into a new file"));
      const absl::Status moved = StartSegment(&record, &pieces);
      // Nobody may find after a restart what Append has not promised.
      if (!moved.ok()) file_->Truncate(offset).IgnoreError();
      return moved;
    }
  } else if (!unsynced_.has_value()) {
    unsynced_ = record.version;
    unsynced_previous_ = newest_chain_hash();
  }
  MutexLock lock(&mu_);
  LogSegmentFile& segment = log_.segments.back();
  log_.places.push_back({.path = segment.path, .offset = offset, .size = pieces.size()});
  log_.newest_chain_hash = record.chain_hash;
  segment.bytes = offset + pieces.size();
  return absl::OkStatus();
}

absl::Status LogStore::StartSegment(const Record* record, const RecordPieces* pieces) {
  // Whatever fails below is begun again: under the name that a segment may have by then, no
  // other record may follow in the old one.
  roll_ = true;
  SyncTail();
  const uint64_t next = next_version();
  SegmentHeader header = {.apply_revision = kApplyRevision,
                          .first_version = next,
                          .schema_hash = options_.schema_hash,
                          .previous_chain_hash = newest_chain_hash()};
  if (unsynced_.has_value()) {
    header.first_version = *unsynced_;
    header.previous_chain_hash = unsynced_previous_;
  }
  GRADWIRE_ASSIGN_OR_RETURN(Written written, WriteSegment(header, next, pieces));
  file_ = std::move(written.file);
  roll_ = false;
  tail_lost_ = false;
  unsynced_.reset();
  MutexLock lock(&mu_);
  log_.segments.push_back({.path = written.places.front().path,
                           .first_version = header.first_version,
                           .bytes = written.bytes});
  log_.places.resize(header.first_version - log_.oldest);  // the others have moved
  log_.places.insert(log_.places.end(), written.places.begin(), written.places.end());
  if (record != nullptr) log_.newest_chain_hash = record->chain_hash;
  return absl::OkStatus();
}

absl::StatusOr<LogStore::Written> LogStore::WriteSegment(const SegmentHeader& header, uint64_t next,
                                                         const RecordPieces* pieces) const {
  const std::string path = SegmentPath(options_.folder, header.first_version);
  const std::string partial = PartialSegmentPath(path);
  Written written;
  GRADWIRE_ASSIGN_OR_RETURN(written.file, options_.files->Create(partial));
  absl::Status status = WriteRecords(header, next, pieces, &written);
  if (status.ok()) status = SyncFile(written.file.get());
  if (status.ok()) status = options_.files->Rename(partial, path);
  if (!status.ok()) {
    options_.files->Remove(partial).IgnoreError();  // the first error is the one to tell
    return status;
  }
  GRADWIRE_RETURN_IF_ERROR(options_.files->SyncFolder(options_.folder));
  // Its errors have to name it as it is called now.
  GRADWIRE_ASSIGN_OR_RETURN(written.file, options_.files->OpenToAppend(path));
  return written;
}

absl::Status LogStore::WriteRecords(const SegmentHeader& header, uint64_t next,
                                    const RecordPieces* pieces, Written* written) const {
  const auto path =
      std::make_shared<const std::string>(SegmentPath(options_.folder, header.first_version));
  GRADWIRE_RETURN_IF_ERROR(written->file->Append(EncodeSegmentHeader(header)));
  const auto begin = [&](size_t size) {
    written->places.push_back({.path = path, .offset = written->file->size(), .size = size});
  };
  for (uint64_t version = header.first_version; version < next; ++version) {
    GRADWIRE_ASSIGN_OR_RETURN(const LogPlace place, Find(version));
    GRADWIRE_ASSIGN_OR_RETURN(const std::string lost, ReadBytes(place, version));
    begin(lost.size());
    GRADWIRE_RETURN_IF_ERROR(written->file->Append(lost));
  }
  if (pieces != nullptr) {
    begin(pieces->size());
    GRADWIRE_RETURN_IF_ERROR(AppendPieces(*pieces, written->file.get()));
  }
  written->bytes = written->file->size();
  return absl::OkStatus();
}

absl::Status LogStore::Sync() {
  MutexLock writing(&writing_mu_);
  return SyncOrMove();
}

absl::Status LogStore::SyncDue(absl::Duration now) {
  MutexLock writing(&writing_mu_);
  if (options_.fsync.kind != FsyncPolicy::Kind::kInterval || !unsynced_.has_value() ||
      now - last_sync_ < options_.fsync.interval) {
    return absl::OkStatus();
  }
  GRADWIRE_RETURN_IF_ERROR(SyncOrMove());
  last_sync_ = now;
  return absl::OkStatus();
}

absl::Status LogStore::SyncFile(WritableFile* file) const {
  const Stopwatch watch;
  absl::Status status = file->Sync();
  if (options_.sync_times != nullptr) options_.sync_times->Add(watch.elapsed());
  return status;
}

absl::Status LogStore::SyncOrMove() {
  SyncTail();
  return unsynced_.has_value() ? StartSegment(nullptr, nullptr) : absl::OkStatus();
}

void LogStore::SyncTail() {
  if (!unsynced_.has_value() || tail_lost_) return;
  const absl::Status synced = SyncFile(file_.get());
  if (synced.ok()) {
    unsynced_.reset();
    return;
  }
  tail_lost_ = true;
  LogWarning(
      absl::StrCat(synced.message(), ": records from ", *unsynced_, " on go into a new file"));
}

void LogStore::Roll() {
  MutexLock writing(&writing_mu_);
  roll_ = true;
}

absl::Status LogStore::TrimBelow(uint64_t version) {
  MutexLock writing(&writing_mu_);
  bool removed = false;
  for (;;) {
    std::string path;
    {
      MutexLock lock(&mu_);
      if (log_.segments.size() < 2 || log_.segments[1].first_version > version) break;
      path = *log_.segments[0].path;
    }
    GRADWIRE_RETURN_IF_ERROR(options_.files->Remove(path));
    removed = true;
    MutexLock lock(&mu_);
    const uint64_t oldest = log_.segments[1].first_version;
    log_.places.erase(log_.places.begin(),
                      log_.places.begin() + static_cast<int64_t>(oldest - log_.oldest));
    log_.oldest = oldest;
    log_.segments.pop_front();
  }
  return removed ? options_.files->SyncFolder(options_.folder) : absl::OkStatus();
}

absl::Status LogStore::BeginAt(uint64_t version, const ChainHash& chain_hash) {
  MutexLock writing(&writing_mu_);
  if (next_version() > version + 1 || (next_version() == version + 1 && !range().empty)) {
    return absl::FailedPreconditionError(absl::StrCat("the log in ", options_.folder,
                                                      " reaches version ", next_version() - 1,
                                                      ": it cannot begin after ", version));
  }
  // Oldest first: what is left at any time is a log without gaps.
  for (;;) {
    std::string path;
    {
      MutexLock lock(&mu_);
      if (log_.segments.empty()) break;
      path = *log_.segments[0].path;
    }
    GRADWIRE_RETURN_IF_ERROR(options_.files->Remove(path));
    MutexLock lock(&mu_);
    log_.segments.pop_front();
    const uint64_t oldest =
        log_.segments.empty() ? log_.oldest + log_.places.size() : log_.segments[0].first_version;
    log_.places.erase(log_.places.begin(),
                      log_.places.begin() + static_cast<int64_t>(oldest - log_.oldest));
    log_.oldest = oldest;
  }
  file_.reset();
  unsynced_.reset();
  tail_lost_ = false;
  MutexLock lock(&mu_);
  log_.oldest = version + 1;
  log_.newest_chain_hash = chain_hash;
  return absl::OkStatus();
}

absl::StatusOr<LogPlace> LogStore::Find(uint64_t version) const {
  MutexLock lock(&mu_);
  const uint64_t next = log_.oldest + log_.places.size();
  if (version < log_.oldest || version >= next) {
    return absl::NotFoundError(absl::StrCat("record ", version, " is not in the log in ",
                                            options_.folder, ", which has ", log_.places.size(),
                                            " records from ", log_.oldest, " on"));
  }
  return log_.places[version - log_.oldest];
}

// Whole and verified.
absl::StatusOr<std::string> LogStore::ReadBytes(const LogPlace& place, uint64_t version) const {
  auto bytes = options_.files->ReadRange(*place.path, place.offset, place.size);
  if (!bytes.ok() && !absl::IsOutOfRange(bytes.status())) return bytes.status();
  absl::Status status = bytes.status();
  if (bytes.ok()) {
    const auto record = DecodeRecord(*bytes);
    if (record.ok() && record->version == version) return bytes;
    status = record.ok() ? absl::DataLossError(absl::StrCat("here is record ", record->version))
                         : record.status();
  }
  return absl::DataLossError(absl::StrCat(*place.path, ": at offset ", place.offset, ", version ",
                                          version, ": ", status.message(),
                                          ": restore the file from a copy"));
}

absl::StatusOr<std::shared_ptr<const Record>> LogStore::Read(uint64_t version) const {
  GRADWIRE_ASSIGN_OR_RETURN(const LogPlace place, Find(version));
  GRADWIRE_ASSIGN_OR_RETURN(const std::string bytes, ReadBytes(place, version));
  GRADWIRE_ASSIGN_OR_RETURN(const RecordView record, DecodeRecord(bytes));
  return CopyOf(record);
}

LogStore::Range LogStore::range() const {
  MutexLock lock(&mu_);
  if (log_.places.empty()) return {.oldest = log_.oldest};
  return {.empty = false,
          .oldest = log_.oldest,
          .newest = log_.oldest + log_.places.size() - 1,
          .newest_chain_hash = log_.newest_chain_hash};
}

uint64_t LogStore::next_version() const {
  MutexLock lock(&mu_);
  return log_.oldest + log_.places.size();
}

ChainHash LogStore::newest_chain_hash() const {
  MutexLock lock(&mu_);
  return log_.newest_chain_hash;
}

uint64_t LogStore::bytes() const {
  MutexLock lock(&mu_);
  uint64_t bytes = 0;
  for (const LogSegmentFile& segment : log_.segments) bytes += segment.bytes;
  return bytes;
}

}  // namespace gradwire
