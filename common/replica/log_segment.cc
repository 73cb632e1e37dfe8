// SPDX-License-Identifier: Apache-2.0
// Implementation of log_segment.h: nothing is believed before its hash was checked.
#include "common/replica/log_segment.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/little_endian.h"
#include "common/base/status_macros.h"
#include "common/base/wire_reader.h"
#include "gradwire/v1/gradient.pb.h"

namespace gradwire {
namespace {

constexpr char kSegmentMagic[] = "GWSEGMNT";
constexpr size_t kSegmentMagicBytes = 8;
constexpr char kRecordMagic[] = "GWRC";
constexpr size_t kRecordMagicBytes = 4;
constexpr size_t kHashBytes = sizeof(uint64_t);
constexpr size_t kMaxPartBytes = std::numeric_limits<int>::max();  // protobuf reads no more
constexpr uint64_t kReadAheadBytes = uint64_t{4} << 20;

struct RecordHeader {
  uint32_t parts = 0;
  uint64_t version = 0;
  ChainHash chain_hash = {};
  uint64_t parts_bytes = 0;
  uint64_t server_bytes = 0;
  uint64_t body_hash = 0;

  uint64_t sizes_bytes() const { return uint64_t{parts} * sizeof(uint32_t); }
  // The caller has checked that it does not overflow.
  uint64_t body_bytes() const { return sizes_bytes() + parts_bytes + server_bytes; }
};

ChainHash LoadChainHash(const char* bytes) {
  ChainHash hash;
  std::memcpy(hash.data(), bytes, hash.size());
  return hash;
}

// Of a header that ends with the hash of what is before.
bool HashIsRight(absl::string_view header) {
  const size_t hashed = header.size() - kHashBytes;
  return LoadLittleEndian<uint64_t>(header.data() + hashed) == Hash64(header.substr(0, hashed));
}

// `after_header`: bytes of the file behind the header, the most that the lengths may add up to.
absl::StatusOr<RecordHeader> DecodeRecordHeader(absl::string_view bytes, uint64_t after_header) {
  if (bytes.substr(0, kRecordMagicBytes) != kRecordMagic) {
    return absl::DataLossError("no record begins here");
  }
  if (!HashIsRight(bytes)) return absl::DataLossError("the record's header is damaged");
  RecordHeader header;
  header.parts = LoadLittleEndian<uint32_t>(bytes.data() + 4);
  header.version = LoadLittleEndian<uint64_t>(bytes.data() + 8);
  header.chain_hash = LoadChainHash(bytes.data() + 16);
  header.parts_bytes = LoadLittleEndian<uint64_t>(bytes.data() + 32);
  header.server_bytes = LoadLittleEndian<uint64_t>(bytes.data() + 40);
  header.body_hash = LoadLittleEndian<uint64_t>(bytes.data() + 48);
  // Each is compared with what the others leave: no sum can overflow.
  if (header.sizes_bytes() > after_header ||
      header.parts_bytes > after_header - header.sizes_bytes() ||
      header.server_bytes > after_header - header.sizes_bytes() - header.parts_bytes) {
    return absl::DataLossError(absl::StrCat(
        "the record wants ", header.sizes_bytes(), " + ", header.parts_bytes, " + ",
        header.server_bytes, " bytes after its header, but ", after_header, " are there"));
  }
  return header;
}

absl::Status SplitBody(const RecordHeader& header, absl::string_view body, RecordView* record) {
  const char* sizes = body.data();
  uint64_t left = header.parts_bytes;
  body.remove_prefix(header.sizes_bytes());
  record->parts.reserve(header.parts);
  for (uint32_t part = 0; part < header.parts; ++part) {
    const uint64_t size = LoadLittleEndian<uint32_t>(sizes + part * sizeof(uint32_t));
    if (size > left) return absl::DataLossError("the sizes of the record's parts are wrong");
    record->parts.push_back(body.substr(0, size));
    body.remove_prefix(size);
    left -= size;
  }
  if (left != 0) return absl::DataLossError("the sizes of the record's parts are wrong");
  record->server_part = body;
  return absl::OkStatus();
}

absl::StatusOr<RecordView> DecodeBody(const RecordHeader& header, absl::string_view body) {
  if (Hash64(body) != header.body_hash) {
    return absl::DataLossError("the record's body is damaged");
  }
  RecordView record;
  record.version = header.version;
  record.chain_hash = header.chain_hash;
  GRADWIRE_RETURN_IF_ERROR(SplitBody(header, body, &record));
  ChainHasher hasher;
  for (const absl::string_view part : record.parts) hasher.Add(part);
  if (hasher.Finish() != header.chain_hash) {
    return absl::DataLossError("the record's chain hash is not that of its parts");
  }
  return record;
}

// The last value of a length-delimited field of a message, as protobuf would take it for a bytes
// field; nothing is copied.  False unless the bytes are fields from end to end.
bool FindField(absl::string_view message, uint32_t number, absl::string_view* value) {
  if (message.size() > kMaxPartBytes) return false;
  WireReader reader(message);
  for (WireField field; reader.Next(&field);) {
    if (field.number == number && field.type == WireField::kBytes) *value = field.bytes;
  }
  return reader.ok();
}

}  // namespace

std::string EncodeSegmentHeader(const SegmentHeader& header) {
  std::string bytes(kSegmentMagic, kSegmentMagicBytes);
  AppendLittleEndian(kSegmentFormat, &bytes);
  AppendLittleEndian(header.apply_revision, &bytes);
  AppendLittleEndian(header.first_version, &bytes);
  AppendLittleEndian(header.schema_hash, &bytes);
  bytes.append(header.previous_chain_hash.data(), header.previous_chain_hash.size());
  AppendLittleEndian(Hash64(bytes), &bytes);
  return bytes;
}

absl::StatusOr<SegmentHeader> DecodeSegmentHeader(absl::string_view bytes) {
  if (bytes.size() < kSegmentHeaderBytes) {
    return absl::DataLossError(absl::StrCat("the segment's header is cut: ", bytes.size(), " of ",
                                            kSegmentHeaderBytes, " bytes"));
  }
  bytes = bytes.substr(0, kSegmentHeaderBytes);
  if (bytes.substr(0, kSegmentMagicBytes) != kSegmentMagic || !HashIsRight(bytes)) {
    return absl::DataLossError("the segment's header is damaged");
  }
  const auto format = LoadLittleEndian<uint32_t>(bytes.data() + 8);
  if (format != kSegmentFormat) {
    return absl::UnimplementedError(absl::StrCat("the segment is of format ", format,
                                                 ", this build reads format ", kSegmentFormat,
                                                 ": start the build that wrote it"));
  }
  SegmentHeader header;
  header.apply_revision = LoadLittleEndian<uint32_t>(bytes.data() + 12);
  header.first_version = LoadLittleEndian<uint64_t>(bytes.data() + 16);
  header.schema_hash = LoadLittleEndian<uint64_t>(bytes.data() + 24);
  header.previous_chain_hash = LoadChainHash(bytes.data() + 32);
  return header;
}

RecordView ViewOf(const Record& record) {
  return {.version = record.version,
          .chain_hash = record.chain_hash,
          .parts = {record.parts.begin(), record.parts.end()},
          .server_part = record.server_part};
}

std::shared_ptr<const Record> CopyOf(const RecordView& view) {
  auto record = std::make_shared<Record>();
  record->version = view.version;
  record->parts.reserve(view.parts.size());
  for (const absl::string_view part : view.parts) {
    record->parts.emplace_back(part);
    record->bytes += part.size();
  }
  record->chain_hash = view.chain_hash;
  record->server_part = std::string(view.server_part);
  return record;
}

size_t RecordPieces::size() const {
  size_t size = head.size();
  for (const absl::string_view piece : body) size += piece.size();
  return size;
}

std::string RecordPieces::Join() const {
  std::string bytes;
  bytes.reserve(size());
  bytes += head;
  for (const absl::string_view piece : body) bytes.append(piece.data(), piece.size());
  return bytes;
}

RecordPieces PiecesOf(const Record& record) {
  RecordPieces pieces;
  std::string sizes;
  for (const std::string& part : record.parts) {
    AppendLittleEndian(static_cast<uint32_t>(part.size()), &sizes);
  }
  pieces.body.emplace_back(sizes);  // to be hashed with the rest
  uint64_t parts_bytes = 0;
  for (const std::string& part : record.parts) {
    pieces.body.emplace_back(part);
    parts_bytes += part.size();
  }
  pieces.body.emplace_back(record.server_part);

  std::string& head = pieces.head;
  head.assign(kRecordMagic, kRecordMagicBytes);
  AppendLittleEndian(static_cast<uint32_t>(record.parts.size()), &head);
  AppendLittleEndian(record.version, &head);
  head.append(record.chain_hash.data(), record.chain_hash.size());
  AppendLittleEndian(parts_bytes, &head);
  AppendLittleEndian(uint64_t{record.server_part.size()}, &head);
  AppendLittleEndian(Hash64(absl::MakeConstSpan(pieces.body)), &head);
  AppendLittleEndian(Hash64(absl::string_view(head)), &head);
  head += sizes;
  pieces.body.erase(pieces.body.begin());
  return pieces;
}

std::string EncodeRecord(const Record& record) { return PiecesOf(record).Join(); }

absl::StatusOr<RecordView> DecodeRecord(absl::string_view bytes) {
  if (bytes.size() < kRecordHeaderBytes) {
    return absl::DataLossError(absl::StrCat("the record's header is cut: ", bytes.size(), " of ",
                                            kRecordHeaderBytes, " bytes"));
  }
  const absl::string_view body = bytes.substr(kRecordHeaderBytes);
  GRADWIRE_ASSIGN_OR_RETURN(const RecordHeader header,
                            DecodeRecordHeader(bytes.substr(0, kRecordHeaderBytes), body.size()));
  if (header.body_bytes() != body.size()) {
    return absl::DataLossError(
        absl::StrCat("bytes follow the record: ", body.size() - header.body_bytes()));
  }
  return DecodeBody(header, body);
}

absl::Status CheckFollows(const RecordView& record, uint64_t version,
                          const ChainHash& previous_chain_hash) {
  if (record.version != version) {
    return absl::FailedPreconditionError(
        absl::StrCat("record ", record.version, " does not follow: the log's next is ", version));
  }
  absl::string_view header;
  absl::string_view named;
  if (record.parts.empty() ||
      !FindField(record.parts.back(), v1::UpdatePart::kHeaderFieldNumber, &header) ||
      !FindField(header, v1::Header::kPreviousChainHashFieldNumber, &named)) {
    return absl::FailedPreconditionError(
        absl::StrCat("record ", version, " is not made of UpdateParts"));
  }
  const absl::string_view wanted = version == 0 ? "" : AsView(previous_chain_hash);
  if (named != wanted) {
    return absl::FailedPreconditionError(
        absl::StrCat("record ", version, " does not follow the one before it, whose chain hash is ",
                     HashText(previous_chain_hash)));
  }
  return absl::OkStatus();
}

SegmentScanner::SegmentScanner(FileSystem* files, std::string path, uint64_t file_bytes)
    : files_(files), path_(std::move(path)), file_bytes_(file_bytes) {}

absl::StatusOr<absl::string_view> SegmentScanner::Buffered(uint64_t offset, uint64_t size) {
  const uint64_t buffer_end = buffer_offset_ + buffer_.size();
  const bool inside = offset >= buffer_offset_ && offset <= buffer_end;
  if (!inside || size > buffer_end - offset) {
    std::string kept = inside ? buffer_.substr(offset - buffer_offset_) : std::string();
    const uint64_t wanted = std::max(size, std::min(kReadAheadBytes, file_bytes_ - offset));
    GRADWIRE_ASSIGN_OR_RETURN(const std::string more,
                              files_->ReadRange(path_, offset + kept.size(), wanted - kept.size()));
    kept += more;
    buffer_ = std::move(kept);
    buffer_offset_ = offset;
  }
  return absl::string_view(buffer_).substr(offset - buffer_offset_);
}

absl::StatusOr<SegmentHeader> SegmentScanner::ReadHeader() {
  GRADWIRE_ASSIGN_OR_RETURN(const absl::string_view bytes,
                            Buffered(0, std::min<uint64_t>(file_bytes_, kSegmentHeaderBytes)));
  return DecodeSegmentHeader(bytes);
}

absl::StatusOr<SegmentScanner::Found> SegmentScanner::ReadRecord(uint64_t offset) {
  Found found = {.kind = Found::Kind::kDamaged, .offset = offset, .record = {}, .reason = {}};
  if (offset >= file_bytes_) {
    found.kind = Found::Kind::kEnd;
    return found;
  }
  const uint64_t left = file_bytes_ - offset;
  if (left < kRecordHeaderBytes) {
    found.reason =
        absl::StrCat("the record's header is cut: ", left, " of ", kRecordHeaderBytes, " bytes");
    GRADWIRE_ASSIGN_OR_RETURN(const absl::string_view begun, Buffered(offset, left));
    const size_t magic = std::min<size_t>(left, kRecordMagicBytes);
    found.cut = begun.substr(0, magic) == absl::string_view(kRecordMagic, magic);
    return found;
  }
  GRADWIRE_ASSIGN_OR_RETURN(absl::string_view bytes, Buffered(offset, kRecordHeaderBytes));
  const auto header =
      DecodeRecordHeader(bytes.substr(0, kRecordHeaderBytes), left - kRecordHeaderBytes);
  if (!header.ok()) {
    found.reason = std::string(header.status().message());
    // Right, but it asks for more than there is.
    found.cut = HashIsRight(bytes.substr(0, kRecordHeaderBytes));
    return found;
  }
  found.size = kRecordHeaderBytes + header->body_bytes();
  GRADWIRE_ASSIGN_OR_RETURN(bytes, Buffered(offset, found.size));
  auto record = DecodeBody(*header, bytes.substr(kRecordHeaderBytes, header->body_bytes()));
  if (!record.ok()) {
    found.reason = std::string(record.status().message());
    return found;
  }
  found.kind = Found::Kind::kRecord;
  found.record = *std::move(record);
  return found;
}

absl::StatusOr<SegmentScanner::Found> SegmentScanner::FindRecord(uint64_t offset) {
  while (offset + kRecordHeaderBytes <= file_bytes_) {
    GRADWIRE_ASSIGN_OR_RETURN(const absl::string_view bytes, Buffered(offset, kRecordHeaderBytes));
    const size_t at = bytes.find(kRecordMagic);
    if (at == absl::string_view::npos) {
      offset += bytes.size() - (kRecordMagicBytes - 1);  // a magic may be cut by the buffer's end
      continue;
    }
    offset += at;
    GRADWIRE_ASSIGN_OR_RETURN(Found found, ReadRecord(offset));
    if (found.kind == Found::Kind::kRecord) return found;
    ++offset;
  }
  return Found{.kind = Found::Kind::kEnd, .offset = file_bytes_, .record = {}, .reason = {}};
}

}  // namespace gradwire
