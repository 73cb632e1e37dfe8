// SPDX-License-Identifier: Apache-2.0
// Implementation of wire_reader.h.
#include "common/base/wire_reader.h"

#include <limits>

namespace gradwire {

bool WireReader::Next(WireField* field) {
  if (left_.empty() || !ok_) return false;
  uint64_t tag = 0;
  ok_ = ReadVarint(&tag) && tag <= std::numeric_limits<uint32_t>::max() && tag >> 3 != 0;
  if (!ok_) return false;
  field->number = static_cast<uint32_t>(tag >> 3);
  field->type = static_cast<WireField::Type>(tag & 7);
  ok_ = ReadValue(field);
  return ok_;
}

bool WireReader::ReadValue(WireField* field) {
  switch (field->type) {
    case WireField::kVarint:
      return ReadVarint(&field->varint);
    case WireField::kFixed64:
      return Skip(8);
    case WireField::kFixed32:
      return Skip(4);
    case WireField::kBytes: {
      uint64_t length = 0;
      if (!ReadVarint(&length) || length > left_.size()) return false;
      field->bytes = left_.substr(0, length);
      return Skip(length);
    }
  }
  return false;
}

bool WireReader::ReadVarint(uint64_t* value) {
  constexpr size_t kMaxBytes = 10;
  *value = 0;
  for (size_t i = 0; i < kMaxBytes && i < left_.size(); ++i) {
    const auto byte = static_cast<uint8_t>(left_[i]);
    *value |= uint64_t{byte & 0x7fu} << (7 * i);
    if (byte < 0x80) return Skip(i + 1);
  }
  return false;
}

bool WireReader::Skip(size_t bytes) {
  if (bytes > left_.size()) return false;
  left_.remove_prefix(bytes);
  return true;
}

}  // namespace gradwire
