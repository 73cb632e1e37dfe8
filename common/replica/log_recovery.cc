// SPDX-License-Identifier: Apache-2.0
// Implementation of log_recovery.h.  Files are changed only after all of them were read and
// found good.
#include "common/replica/log_recovery.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/replica/job.h"

namespace gradwire {
namespace {

using Kind = SegmentScanner::Found::Kind;

constexpr char kSuffix[] = ".log";
constexpr char kPartialSuffix[] = ".log.partial";
constexpr char kRemedy[] =
    ": restore the file from a copy, or start from an older copy of the whole folder";

class Recovery {
 public:
  Recovery(FileSystem* files, const std::string& folder, uint64_t schema_hash)
      : files_(files), folder_(folder), schema_hash_(schema_hash) {}

  absl::StatusOr<RecoveredLog> Run() {
    GRADWIRE_RETURN_IF_ERROR(files_->MakeFolders(folder_));
    GRADWIRE_RETURN_IF_ERROR(ListSegments());
    GRADWIRE_RETURN_IF_ERROR(LeaveOutUnusable());
    for (size_t i = 0; i < log_.segments.size(); ++i) GRADWIRE_RETURN_IF_ERROR(Scan(i));
    GRADWIRE_RETURN_IF_ERROR(MakeLast());
    return std::move(log_);
  }

 private:
  absl::Status ListSegments();
  absl::Status LeaveOutUnusable();
  absl::StatusOr<bool> IsUsable(const LogSegmentFile& segment);
  absl::Status Scan(size_t index);
  absl::Status CheckHeader(const LogSegmentFile& segment, const SegmentHeader& header) const {
    return CheckSegmentHeader(*segment.path, segment.first_version, header, schema_hash_);
  }
  absl::Status Begin(size_t index, const SegmentHeader& header);
  absl::Status Damaged(size_t index, SegmentScanner* scanner, SegmentScanner::Found found);
  absl::Status MakeLast();

  uint64_t next_version() const { return log_.oldest + log_.places.size(); }
  // A later one is about an earlier version.
  void NoteCut(uint64_t version, const LogSegmentFile& segment, uint64_t offset,
               std::string reason) {
    log_.cut = {
        .version = version, .file = *segment.path, .offset = offset, .reason = std::move(reason)};
  }

  FileSystem* const files_;
  const std::string& folder_;
  const uint64_t schema_hash_;
  std::vector<std::string> to_remove_;
  RecoveredLog log_;
};

absl::Status Lost(const std::string& path, uint64_t offset, uint64_t version,
                  absl::string_view reason) {
  return absl::DataLossError(
      absl::StrCat(path, ": at offset ", offset, ", version ", version, ": ", reason, kRemedy));
}

absl::Status Recovery::ListSegments() {
  GRADWIRE_ASSIGN_OR_RETURN(const std::vector<std::string> names, files_->List(folder_));
  for (const std::string& name : names) {
    const std::string path = absl::StrCat(folder_, "/", name);
    if (absl::EndsWith(name, kPartialSuffix)) to_remove_.push_back(path);
    uint64_t version = 0;
    if (!ParseSegmentName(name, &version)) continue;
    GRADWIRE_ASSIGN_OR_RETURN(const uint64_t bytes, files_->Size(path));
    log_.segments.push_back({.path = std::make_shared<const std::string>(path),
                             .first_version = version,
                             .bytes = bytes});
  }
  // By number: a name may have more than twelve digits.
  std::sort(log_.segments.begin(), log_.segments.end(),
            [](const LogSegmentFile& a, const LogSegmentFile& b) {
              return a.first_version < b.first_version;
            });
  return absl::OkStatus();
}

// From the newest on: a segment without a whole record overrides nothing.
absl::Status Recovery::LeaveOutUnusable() {
  while (!log_.segments.empty()) {
    GRADWIRE_ASSIGN_OR_RETURN(const bool usable, IsUsable(log_.segments.back()));
    if (usable) return absl::OkStatus();
    to_remove_.push_back(*log_.segments.back().path);
    log_.segments.pop_back();
  }
  return absl::OkStatus();
}

// Whether its header and first record are whole.  An error when they are not, but a later record
// is.
absl::StatusOr<bool> Recovery::IsUsable(const LogSegmentFile& segment) {
  SegmentScanner scanner(files_, *segment.path, segment.bytes);
  const auto header = scanner.ReadHeader();
  if (!header.ok() && !absl::IsDataLoss(header.status())) return header.status();
  uint64_t offset = 0;
  std::string reason(header.status().message());
  if (header.ok()) {
    GRADWIRE_RETURN_IF_ERROR(CheckHeader(segment, *header));
    offset = kSegmentHeaderBytes;
    GRADWIRE_ASSIGN_OR_RETURN(SegmentScanner::Found first, scanner.ReadRecord(offset));
    if (first.kind == Kind::kRecord) return true;
    reason = first.kind == Kind::kEnd ? "the segment has no record" : std::move(first.reason);
  }
  GRADWIRE_ASSIGN_OR_RETURN(const SegmentScanner::Found later, scanner.FindRecord(offset));
  if (later.kind == Kind::kRecord) {
    return Lost(*segment.path, offset, segment.first_version,
                absl::StrCat(reason, ", and a whole record (", later.record.version,
                             ") follows at offset ", later.offset));
  }
  NoteCut(segment.first_version, segment, offset, std::move(reason));
  return false;
}

absl::Status Recovery::Begin(size_t index, const SegmentHeader& header) {
  const LogSegmentFile& segment = log_.segments[index];
  GRADWIRE_RETURN_IF_ERROR(CheckHeader(segment, header));
  if (index == 0) {
    log_.oldest = header.first_version;
    log_.newest_chain_hash = header.previous_chain_hash;
    return absl::OkStatus();
  }
  if (header.first_version != next_version()) {
    return Lost(*segment.path, 0, next_version(),
                absl::StrCat("records ", next_version(), " to ", header.first_version - 1,
                             " are missing before this segment"));
  }
  if (header.previous_chain_hash != log_.newest_chain_hash) {
    return Lost(*segment.path, 0, next_version(),
                "the segment does not follow the one before it, whose last chain hash is " +
                    HashText(log_.newest_chain_hash));
  }
  return absl::OkStatus();
}

absl::Status Recovery::Scan(size_t index) {
  LogSegmentFile& segment = log_.segments[index];
  SegmentScanner scanner(files_, *segment.path, segment.bytes);
  const auto header = scanner.ReadHeader();
  if (absl::IsDataLoss(header.status())) {
    return Lost(*segment.path, 0, segment.first_version,
                absl::StrCat(header.status().message(), ", and whole records follow in ",
                             *log_.segments.back().path));
  }
  GRADWIRE_RETURN_IF_ERROR(header.status());
  GRADWIRE_RETURN_IF_ERROR(Begin(index, *header));
  const bool newest = index + 1 == log_.segments.size();
  uint64_t offset = kSegmentHeaderBytes;
  // What the next segment has overrides what is here.
  while (newest || next_version() < log_.segments[index + 1].first_version) {
    GRADWIRE_ASSIGN_OR_RETURN(SegmentScanner::Found found, scanner.ReadRecord(offset));
    if (found.kind == Kind::kEnd) break;  // what is missing is seen where the next begins
    if (found.kind == Kind::kDamaged) {
      GRADWIRE_RETURN_IF_ERROR(Damaged(index, &scanner, std::move(found)));
      break;
    }
    const absl::Status follows = CheckFollows(found.record, next_version(), log_.newest_chain_hash);
    if (!follows.ok()) return Lost(*segment.path, offset, next_version(), follows.message());
    log_.places.push_back({.path = segment.path, .offset = offset, .size = found.size});
    log_.newest_chain_hash = found.record.chain_hash;
    offset += found.size;
  }
  if (newest) segment.bytes = offset;
  return absl::OkStatus();
}

absl::Status Recovery::Damaged(size_t index, SegmentScanner* scanner, SegmentScanner::Found found) {
  const LogSegmentFile& segment = log_.segments[index];
  if (index + 1 != log_.segments.size()) {
    return Lost(*segment.path, found.offset, next_version(),
                absl::StrCat(found.reason, ", and whole records follow in ",
                             *log_.segments[index + 1].path));
  }
  GRADWIRE_ASSIGN_OR_RETURN(const SegmentScanner::Found later,
                            scanner->FindRecord(found.offset + 1));
  if (later.kind == Kind::kRecord) {
    return Lost(*segment.path, found.offset, next_version(),
                absl::StrCat(found.reason, ", and a whole record (", later.record.version,
                             ") follows at offset ", later.offset));
  }
  NoteCut(next_version(), segment, found.offset, std::move(found.reason));
  return absl::OkStatus();
}

// A process that was killed may have written records and names that it never synced.
absl::Status Recovery::MakeLast() {
  for (const std::string& path : to_remove_) GRADWIRE_RETURN_IF_ERROR(files_->Remove(path));
  if (!log_.segments.empty()) {
    const LogSegmentFile& newest = log_.segments.back();
    GRADWIRE_ASSIGN_OR_RETURN(log_.newest_file, files_->OpenToAppend(*newest.path));
    if (log_.newest_file->size() != newest.bytes) {
      GRADWIRE_RETURN_IF_ERROR(log_.newest_file->Truncate(newest.bytes));
    }
    GRADWIRE_RETURN_IF_ERROR(log_.newest_file->Sync());
  }
  return files_->SyncFolder(folder_);
}

}  // namespace

std::string SegmentPath(const std::string& folder, uint64_t first_version) {
  return absl::StrCat(folder, "/", absl::Dec(first_version, absl::kZeroPad12), kSuffix);
}

std::string PartialSegmentPath(const std::string& segment_path) {
  return absl::StrCat(absl::StripSuffix(segment_path, kSuffix), kPartialSuffix);
}

bool ParseSegmentName(absl::string_view name, uint64_t* version) {
  absl::string_view digits = name;
  return absl::ConsumeSuffix(&digits, kSuffix) && absl::SimpleAtoi(digits, version) &&
         SegmentPath("", *version) == absl::StrCat("/", name);
}

absl::Status CheckSegmentHeader(const std::string& path, uint64_t first_version,
                                const SegmentHeader& header, uint64_t schema_hash) {
  if (header.schema_hash != schema_hash) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is of another job: its schema hash is ", HashText(header.schema_hash),
                     ", this job's ", HashText(schema_hash), ": give this job another folder"));
  }
  if (header.apply_revision != kApplyRevision) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, " is of apply revision ", header.apply_revision, ", this build of ", kApplyRevision,
        ": stop the build that wrote it with a snapshot, then start this one"));
  }
  if (header.first_version != first_version) {
    return Lost(path, 0, first_version,
                absl::StrCat("the segment begins with version ", header.first_version,
                             ", and has another's name"));
  }
  return absl::OkStatus();
}

absl::StatusOr<RecoveredLog> RecoverLog(FileSystem* files, const std::string& folder,
                                        uint64_t schema_hash) {
  return Recovery(files, folder, schema_hash).Run();
}

}  // namespace gradwire
