// SPDX-License-Identifier: Apache-2.0
// Walks over the fields of a serialised protobuf message in place: nothing is copied.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace gradwire {

// One field: by its number and wire type, as the encoding of protobuf has them.
struct WireField {
  enum Type : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
  uint32_t number = 0;
  Type type = kVarint;
  uint64_t varint = 0;      // of kVarint
  absl::string_view bytes;  // of kBytes; lies within the message
};

// Groups and field number 0 count as damage.
class WireReader {
 public:
  explicit WireReader(absl::string_view message) : left_(message) {}

  // False at the end, and where the bytes are no field: ok() tells which.
  bool Next(WireField* field);
  bool ok() const { return ok_; }

 private:
  bool ReadVarint(uint64_t* value);
  bool Skip(size_t bytes);
  bool ReadValue(WireField* field);

  absl::string_view left_;
  bool ok_ = true;
};

}  // namespace gradwire
