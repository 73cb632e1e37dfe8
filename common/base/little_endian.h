// SPDX-License-Identifier: Apache-2.0
// Numbers in payloads and files: little-endian, at any alignment.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "absl/base/config.h"
#include "absl/strings/string_view.h"

namespace gradwire {

static_assert(
#ifdef ABSL_IS_LITTLE_ENDIAN
    true,
#else
    false,
#endif
    "payloads are little-endian and are copied as they are");

template <typename T>
void AppendLittleEndian(T value, std::string* out) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// The caller has checked that sizeof(T) bytes are there.
template <typename T>
T LoadLittleEndian(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

}  // namespace gradwire
