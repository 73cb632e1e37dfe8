// SPDX-License-Identifier: Apache-2.0
// Implementation of wire_writer.h.
#include "common/base/wire_writer.h"

#include "common/base/wire_reader.h"

namespace gradwire {
namespace {

void AppendVarint(uint64_t value, std::string* out) {
  for (; value >= 0x80; value >>= 7) out->push_back(static_cast<char>(value | 0x80));
  out->push_back(static_cast<char>(value));
}

void AppendTag(int field, WireField::Type type, std::string* out) {
  AppendVarint(static_cast<uint64_t>(field) << 3 | type, out);
}

}  // namespace

void AppendNumberField(int field, uint64_t value, std::string* out) {
  if (value == 0) return;
  AppendTag(field, WireField::kVarint, out);
  AppendVarint(value, out);
}

void AppendBytesHead(int field, uint64_t length, std::string* out) {
  AppendTag(field, WireField::kBytes, out);
  AppendVarint(length, out);
}

}  // namespace gradwire
