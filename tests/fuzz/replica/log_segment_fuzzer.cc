// SPDX-License-Identifier: Apache-2.0
// A segment of any bytes: a log opens with records that follow one another and can be read and
// continued, or it is refused with the file as it was.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "common/replica/log_segment.h"
#include "common/replica/log_store.h"
#include "gradwire/v1/gradient.pb.h"
#include "tests/common/replica/crashing_file_system.h"

namespace {

constexpr uint64_t kSchema = 0x1122334455667788;

void Check(bool good) {
  if (!good) std::abort();
}

void CheckLog(gradwire::CrashingFileSystem* disk, const std::string& bytes) {
  const std::string path = gradwire::SegmentPath("/log", 0);
  auto store = gradwire::LogStore::Open({.files = disk, .folder = "/log", .schema_hash = kSchema});
  if (!store.ok()) {
    Check(*disk->Read(path, bytes.size()) == bytes);
    return;
  }
  const uint64_t next = (*store)->next_version();
  gradwire::ChainHash previous = {};
  for (uint64_t version = 0; version < next; ++version) {
    const auto record = (*store)->Read(version);
    Check(record.ok());
    Check(gradwire::CheckFollows(gradwire::ViewOf(**record), version, previous).ok());
    Check(gradwire::DecodeRecord(gradwire::EncodeRecord(**record)).ok());
    previous = (*record)->chain_hash;
  }
  gradwire::v1::UpdatePart part;
  part.mutable_header();
  if (next != 0) {
    part.mutable_header()->set_previous_chain_hash(std::string(gradwire::AsView(previous)));
  }
  Check((*store)->Append(*gradwire::MakeRecord(next, {part.SerializeAsString()})).ok());
  store->reset();
  store = gradwire::LogStore::Open({.files = disk, .folder = "/log", .schema_hash = kSchema});
  Check(store.ok() && (*store)->next_version() == next + 1 && !(*store)->cut().has_value());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  gradwire::CrashingFileSystem disk;
  Check(disk.MakeFolders("/log").ok());
  const auto file = disk.Create(gradwire::SegmentPath("/log", 0));
  Check(file.ok() && (*file)->Append(bytes).ok());
  gradwire::SegmentScanner scanner(&disk, gradwire::SegmentPath("/log", 0), size);
  const auto found = scanner.FindRecord(0);
  Check(found.ok());
  if (found->kind == gradwire::SegmentScanner::Found::Kind::kRecord) {
    Check(gradwire::EncodeRecord(*gradwire::CopyOf(found->record)) ==
          bytes.substr(found->offset, found->size));
  }
  CheckLog(&disk, bytes);
  return 0;
}
