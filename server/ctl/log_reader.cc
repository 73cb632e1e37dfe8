// SPDX-License-Identifier: Apache-2.0
// Implementation of log_reader.h.
#include "server/ctl/log_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace gradwire {
namespace {

using Kind = SegmentScanner::Found::Kind;

constexpr char kRestore[] =
    ": restore the file from a copy, or start from an older copy of the whole folder";

absl::Status Damage(const std::string& path, uint64_t offset, uint64_t version,
                    absl::string_view reason, absl::string_view remedy = kRestore) {
  return absl::DataLossError(
      absl::StrCat(path, ": at offset ", offset, ", version ", version, ": ", reason, remedy));
}

// A file that was listed and is no longer there, or is shorter now.
absl::Status MeanwhileGone(const absl::Status& status) {
  if (!absl::IsNotFound(status) && !absl::IsOutOfRange(status)) return status;
  return absl::AbortedError(absl::StrCat(
      status.message(), ": the server works in this folder; give the command once more"));
}

}  // namespace

absl::StatusOr<LogReader> LogReader::Open(FileSystem* files, const std::string& folder,
                                          uint64_t schema_hash) {
  LogReader reader(files, schema_hash);
  GRADWIRE_RETURN_IF_ERROR(reader.List(folder));
  GRADWIRE_RETURN_IF_ERROR(reader.LeaveOutUnfinished());
  return reader;
}

absl::Status LogReader::List(const std::string& folder) {
  const absl::StatusOr<std::vector<std::string>> names = files_->List(folder);
  if (absl::IsNotFound(names.status())) return absl::OkStatus();
  GRADWIRE_RETURN_IF_ERROR(names.status());
  for (const std::string& name : *names) {
    Segment segment = {.path = absl::StrCat(folder, "/", name)};
    if (!ParseSegmentName(name, &segment.first_version)) continue;
    const absl::StatusOr<uint64_t> bytes = files_->Size(segment.path);
    if (absl::IsNotFound(bytes.status())) continue;  // given up by the server just now
    GRADWIRE_RETURN_IF_ERROR(bytes.status());
    segment.bytes = *bytes;
    segments_.push_back(std::move(segment));
  }
  std::sort(segments_.begin(), segments_.end(),
            [](const Segment& a, const Segment& b) { return a.first_version < b.first_version; });
  return absl::OkStatus();
}

// From the newest on: a segment without a whole record overrides nothing.
absl::Status LogReader::LeaveOutUnfinished() {
  while (!segments_.empty()) {
    const Segment& segment = segments_.back();
    SegmentScanner scanner(files_, segment.path, segment.bytes);
    const absl::StatusOr<SegmentHeader> header = scanner.ReadHeader();
    SegmentScanner::Found first = {.kind = Kind::kDamaged, .record = {}, .reason = {}};
    if (header.ok()) {
      GRADWIRE_RETURN_IF_ERROR(CheckHeader(segment, *header));
      absl::StatusOr<SegmentScanner::Found> found = scanner.ReadRecord(kSegmentHeaderBytes);
      if (!found.ok()) return MeanwhileGone(found.status());
      first = *std::move(found);
      if (first.kind == Kind::kRecord) return absl::OkStatus();
    } else if (absl::IsDataLoss(header.status())) {
      first.reason = std::string(header.status().message());
    } else {
      return MeanwhileGone(header.status());
    }
    GRADWIRE_RETURN_IF_ERROR(CheckTail(segment, &scanner, first, segment.first_version));
    segments_.pop_back();
  }
  return absl::OkStatus();
}

size_t LogReader::SegmentBelow(uint64_t version) const {
  size_t index = 0;
  while (index + 1 < segments_.size() && segments_[index + 1].first_version < version) ++index;
  return index;
}

absl::Status LogReader::Read(uint64_t from, uint64_t to, const Visit& visit) {
  Cursor cursor;
  for (size_t i = SegmentBelow(from); i < segments_.size(); ++i) {
    if (cursor.begun && cursor.next > to) break;
    const absl::Status status = ReadSegment(i, to, visit, &cursor);
    // Old segments go while the server works: then the log begins with the next one.
    const bool given_up = absl::IsAborted(status) && !cursor.begun && i + 1 < segments_.size();
    if (!given_up) GRADWIRE_RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

absl::Status LogReader::ReadSegment(size_t index, uint64_t to, const Visit& visit, Cursor* cursor) {
  const Segment& segment = segments_[index];
  SegmentScanner scanner(files_, segment.path, segment.bytes);
  const absl::StatusOr<SegmentHeader> header = scanner.ReadHeader();
  if (absl::IsDataLoss(header.status())) {
    return Damage(segment.path, 0, segment.first_version, header.status().message());
  }
  if (!header.ok()) return MeanwhileGone(header.status());
  GRADWIRE_RETURN_IF_ERROR(Begin(segment, *header, cursor));
  const bool newest = index + 1 == segments_.size();
  const uint64_t last = newest ? to : std::min(to, segments_[index + 1].first_version - 1);
  for (uint64_t offset = kSegmentHeaderBytes; cursor->next <= last;) {
    const absl::StatusOr<SegmentScanner::Found> found = scanner.ReadRecord(offset);
    if (!found.ok()) return MeanwhileGone(found.status());
    if (found->kind == Kind::kEnd) break;  // what is missing is seen where the next begins
    if (found->kind == Kind::kDamaged && newest) {
      return CheckTail(segment, &scanner, *found, cursor->next);
    }
    if (found->kind == Kind::kDamaged) {
      return Damage(segment.path, offset, cursor->next, found->reason);
    }
    const absl::Status follows = CheckFollows(found->record, cursor->next, cursor->chain_hash);
    if (!follows.ok()) return Damage(segment.path, offset, cursor->next, follows.message());
    GRADWIRE_RETURN_IF_ERROR(visit(found->record));
    cursor->chain_hash = found->record.chain_hash;
    ++cursor->next;
    offset += found->size;
  }
  return absl::OkStatus();
}

absl::Status LogReader::Begin(const Segment& segment, const SegmentHeader& header,
                              Cursor* cursor) const {
  GRADWIRE_RETURN_IF_ERROR(CheckHeader(segment, header));
  if (!cursor->begun) {
    *cursor = {true, header.first_version, header.previous_chain_hash};
    return absl::OkStatus();
  }
  if (header.first_version != cursor->next) {
    return Damage(segment.path, 0, cursor->next,
                  absl::StrCat("records ", cursor->next, " to ", header.first_version - 1,
                               " are missing before this segment"));
  }
  if (header.previous_chain_hash == cursor->chain_hash) return absl::OkStatus();
  return Damage(segment.path, 0, cursor->next,
                "the segment does not follow the one before it, whose last chain hash is " +
                    HashText(cursor->chain_hash));
}

absl::Status LogReader::CheckTail(const Segment& segment, SegmentScanner* scanner,
                                  const SegmentScanner::Found& found, uint64_t version) {
  const bool header_is_cut =
      found.offset < kSegmentHeaderBytes && segment.bytes < kSegmentHeaderBytes;
  if (found.cut || header_is_cut) {
    unfinished_ = absl::StrCat(
        "an unfinished record at the end: ", segment.path, ", offset ", found.offset, ", version ",
        version, ", ", segment.bytes - found.offset,
        " bytes: a server is writing it, or was killed in it and cuts it off at its next start");
    return absl::OkStatus();
  }
  const absl::StatusOr<SegmentScanner::Found> later = scanner->FindRecord(found.offset + 1);
  if (!later.ok()) return MeanwhileGone(later.status());
  if (later->kind == Kind::kRecord) {
    return Damage(segment.path, found.offset, version,
                  absl::StrCat(found.reason, ", and a whole record (", later->record.version,
                               ") follows at offset ", later->offset));
  }
  return Damage(
      segment.path, found.offset, version, found.reason,
      absl::StrCat(", and nothing whole follows: the server's next start cuts the log "
                   "here; version ",
                   version, " may have been acknowledged: a copy of the file may still have it"));
}

}  // namespace gradwire
