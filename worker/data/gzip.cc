// SPDX-License-Identifier: Apache-2.0
// Readers of plain and gzip bytes; the latter through zlib.
#include "worker/data/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace gradwire {
namespace {

class PlainReader final : public ByteReader {
 public:
  explicit PlainReader(absl::string_view bytes) : bytes_(bytes) {}

  absl::StatusOr<size_t> Read(char* out, size_t n) override {
    const size_t count = std::min(n, bytes_.size());
    if (count > 0) std::memcpy(out, bytes_.data(), count);
    bytes_.remove_prefix(count);
    return count;
  }

  size_t max_remaining() const override { return bytes_.size(); }

 private:
  absl::string_view bytes_;
};

class GzipReader final : public ByteReader {
 public:
  explicit GzipReader(absl::string_view bytes) {
    // zlib reads through a pointer that is not const and does not write to it.
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream_.avail_in = static_cast<uInt>(bytes.size());
    constexpr int kGzipOnly = 16;
    ready_ = inflateInit2(&stream_, MAX_WBITS + kGzipOnly) == Z_OK;
  }
  ~GzipReader() override {
    if (ready_) inflateEnd(&stream_);
  }
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;

  bool ready() const { return ready_; }

  absl::StatusOr<size_t> Read(char* out, size_t n) override {
    stream_.next_out = reinterpret_cast<Bytef*>(out);
    stream_.avail_out = static_cast<uInt>(std::min<size_t>(n, std::numeric_limits<uInt>::max()));
    const size_t wanted = stream_.avail_out;
    while (stream_.avail_out > 0 && !ended_) {
      const int result = inflate(&stream_, Z_NO_FLUSH);
      if (result == Z_STREAM_END) {
        // A gzip file may consist of several members (RFC 1952, section 2.2).
        ended_ = stream_.avail_in == 0 || inflateReset(&stream_) != Z_OK;
      } else if (result != Z_OK) {
        return absl::InvalidArgumentError(absl::StrCat(
            "damaged or truncated gzip: ", stream_.msg != nullptr ? stream_.msg : zError(result)));
      }
    }
    return wanted - stream_.avail_out;
  }

  size_t max_remaining() const override {
    // Deflate yields at most 258 bytes for two bits; the last window may be pending.
    constexpr size_t kMaxRatio = 1032;
    constexpr size_t kPending = size_t{1} << 16;
    return ended_ ? 0 : stream_.avail_in * kMaxRatio + kPending;
  }

 private:
  z_stream stream_ = {};
  bool ready_ = false;
  bool ended_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ByteReader>> MakeByteReader(absl::string_view bytes) {
  if (!absl::StartsWith(bytes, "\x1f\x8b")) return std::make_unique<PlainReader>(bytes);
  if (bytes.size() > std::numeric_limits<uInt>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("gzip of ", bytes.size(), " bytes; the limit is ",
                     std::numeric_limits<uInt>::max(), "; unpack it with gunzip"));
  }
  auto reader = std::make_unique<GzipReader>(bytes);
  if (!reader->ready()) return absl::ResourceExhaustedError("zlib: no memory to unpack gzip");
  return std::unique_ptr<ByteReader>(std::move(reader));
}

}  // namespace gradwire
