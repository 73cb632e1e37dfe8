// SPDX-License-Identifier: Apache-2.0
// Writes fields of a serialised protobuf message, the counterpart of wire_reader.h: for messages
// whose payloads are not to be copied into a message object first.
#pragma once

#include <cstdint>
#include <string>

namespace gradwire {

// Appends the tag and the varint.  As proto3 does, a zero is not written.
void AppendNumberField(int field, uint64_t value, std::string* out);

// Appends the tag and the length of a field of bytes; the bytes are the caller's to append.
void AppendBytesHead(int field, uint64_t length, std::string* out);

}  // namespace gradwire
