// SPDX-License-Identifier: Apache-2.0
// Reads bytes one piece after the other from memory, plain or gzip.
#pragma once

#include <cstddef>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gradwire {

class ByteReader {
 public:
  virtual ~ByteReader() = default;

  // Up to `n` bytes into `out`; fewer only at the end.  InvalidArgument when the
  // bytes are not valid gzip.
  virtual absl::StatusOr<size_t> Read(char* out, size_t n) = 0;

  // No more than so many bytes can still come: memory may be taken for them.
  virtual size_t max_remaining() const = 0;
};

// gzip when `bytes` begin with its magic number (RFC 1952), else as they are.
// `bytes` must outlive the reader.
absl::StatusOr<std::unique_ptr<ByteReader>> MakeByteReader(absl::string_view bytes);

}  // namespace gradwire
