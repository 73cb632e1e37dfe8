// SPDX-License-Identifier: Apache-2.0
// Segments of the log on disk: consecutive records, checksummed and chained.
//
//   segment        = segment_header *record
//   segment_header = "GWSEGMNT" format (u32) apply_revision (u32) first_version (u64)
//                    schema_hash (u64) previous_chain_hash (16 bytes) header_hash (u64)
//   record         = record_header body
//   record_header  = "GWRC" parts (u32) version (u64) chain_hash (16 bytes) parts_bytes (u64)
//                    server_bytes (u64) body_hash (u64) header_hash (u64)
//   body           = parts times size (u32), the parts (parts_bytes together), the server part
//                    (server_bytes)
//
// Numbers are little-endian.  header_hash is the xxh3-64 of the header before it, and is verified
// before any length is believed; body_hash is the xxh3-64 of the body.  previous_chain_hash is that
// of record first_version - 1 (zeros before record 0); each record's own stands in the Header in
// its last part, which makes a chain of the segment.  A segment has at least one record.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/file_system.h"
#include "common/base/hash.h"
#include "common/replica/update_log.h"

namespace gradwire {

inline constexpr uint32_t kSegmentFormat = 1;
inline constexpr size_t kSegmentHeaderBytes = 56;
inline constexpr size_t kRecordHeaderBytes = 64;

struct SegmentHeader {
  uint32_t apply_revision = 0;
  uint64_t first_version = 0;
  uint64_t schema_hash = 0;
  ChainHash previous_chain_hash = {};
};

std::string EncodeSegmentHeader(const SegmentHeader& header);
// DataLoss, with the reason, unless the first bytes are a header; Unimplemented for one of another
// format.
absl::StatusOr<SegmentHeader> DecodeSegmentHeader(absl::string_view bytes);

// A record where it lies in somebody's buffer.
struct RecordView {
  uint64_t version = 0;
  ChainHash chain_hash = {};
  std::vector<absl::string_view> parts;
  absl::string_view server_part;
};

RecordView ViewOf(const Record& record);
std::shared_ptr<const Record> CopyOf(const RecordView& view);

// A record's bytes on the log, one after the other.
struct RecordPieces {
  std::string head;
  std::vector<absl::string_view> body;  // the record's parts, and the server's, where they lie

  size_t size() const;
  std::string Join() const;
};

// The pieces are of `record`, which has to live as long.
RecordPieces PiecesOf(const Record& record);
// The same in one string.
std::string EncodeRecord(const Record& record);
// Any byte string is decoded in full or refused with DataLoss and the reason.  The view is of
// `bytes`.
absl::StatusOr<RecordView> DecodeRecord(absl::string_view bytes);

// FailedPrecondition, with the reason, unless the record is `version` and names
// `previous_chain_hash` (none for version 0) as that of the one before it.
absl::Status CheckFollows(const RecordView& record, uint64_t version,
                          const ChainHash& previous_chain_hash);

// Reads a segment of a file that nobody writes meanwhile, a few MiB at a time.  Not thread-safe.
class SegmentScanner {
 public:
  // `file_bytes`: its size.  `files` outlives the scanner.
  SegmentScanner(FileSystem* files, std::string path, uint64_t file_bytes);

  // As DecodeSegmentHeader; other codes: the file cannot be read.
  absl::StatusOr<SegmentHeader> ReadHeader();

  struct Found {
    enum class Kind { kRecord, kEnd, kDamaged };
    Kind kind = Kind::kEnd;
    uint64_t offset = 0;
    uint64_t size = 0;   // of kRecord, with its header
    RecordView record;   // of kRecord; good until the scanner's next use
    std::string reason;  // of kDamaged
    bool cut = false;    // kDamaged, because the file ends in a record that begins well
  };
  // What begins at `offset`, where the file's end is the segment's.  An error: cannot be read.
  absl::StatusOr<Found> ReadRecord(uint64_t offset);
  // The first whole record that begins at `offset` or later, whatever lies before it; else kEnd.
  absl::StatusOr<Found> FindRecord(uint64_t offset);

 private:
  // All that is buffered from `offset` on, at least `size` bytes: they are in the file.
  absl::StatusOr<absl::string_view> Buffered(uint64_t offset, uint64_t size);

  FileSystem* const files_;
  const std::string path_;
  const uint64_t file_bytes_;
  uint64_t buffer_offset_ = 0;
  std::string buffer_;
};

}  // namespace gradwire
