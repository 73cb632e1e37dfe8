// SPDX-License-Identifier: Apache-2.0
// The wire's sizes, for both sides, without gRPC: see proto/README.md "Limits".
#pragma once

#include <cstddef>

namespace gradwire {

// Of one serialised message; both sides set it.
inline constexpr size_t kMaxMessageBytes = (size_t{5} << 20) / 4;  // 1.25 MiB

// Of the payloads in one message together.  One block is always let in: a dense one may
// be 64 bytes longer than this.
inline constexpr size_t kMaxPayloadBytesPerMessage = size_t{1} << 20;

// A serialised Header that is longer travels in a message without blocks.
inline constexpr size_t kMaxHeaderBesideBlocks =
    (kMaxMessageBytes - kMaxPayloadBytesPerMessage) / 2;

// Of small tensors: what stands around each block's payload is up to 20 bytes.
inline constexpr int kMaxBlocksPerMessage = 4096;

// Of the headers of one call together.
inline constexpr size_t kMaxMetadataBytes = 8192;

// What gRPC puts before every message: a compression flag and a length.
inline constexpr size_t kFrameHeaderBytes = 5;

// Of a worker id, a reason, a build.
inline constexpr size_t kMaxTextBytes = 256;

// How far a sender may run ahead of a reader of its stream, in bytes.
inline constexpr size_t kMaxStreamWindow = size_t{2} << 20;
inline constexpr size_t kMinStreamWindow = size_t{64} << 10;

}  // namespace gradwire
