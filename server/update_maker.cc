// SPDX-License-Identifier: Apache-2.0
// Implementation of update_maker.h.
#include "server/update_maker.h"

#include "absl/strings/str_cat.h"
#include "common/base/float_environment.h"
#include "common/kernels/vector.h"
#include "common/rpc/limits.h"

namespace gradwire {
namespace {

constexpr size_t kMaxHeaderBesideBlocks = (kMaxMessageBytes - kMaxPayloadBytesPerMessage) / 2;

// Fills messages up to their limit and serialises them.
class PartWriter {
 public:
  PartWriter(const Job& job, uint64_t version) : job_(job), version_(version) { Clear(); }

  void Add(uint32_t block, std::string payload) {
    if (bytes_ > 0 && bytes_ + payload.size() > kMaxPayloadBytesPerMessage) Flush();
    bytes_ += payload.size();
    made_.payload_bytes += payload.size();
    v1::BlockPayload* added = part_.add_blocks();
    added->set_block(block);
    added->set_payload(std::move(payload));
  }

  MadeUpdate Finish(const v1::Header& header) {
    // One that names many members has a part of its own.
    if (bytes_ > 0 && header.ByteSizeLong() > kMaxHeaderBesideBlocks) Flush();
    *part_.mutable_header() = header;
    Flush();
    return std::move(made_);
  }

 private:
  void Clear() {
    part_.Clear();
    part_.set_version(version_);
    part_.set_codec(job_.codec->id());
    bytes_ = 0;
  }
  void Flush() {
    made_.parts.push_back(part_.SerializeAsString());
    Clear();
  }

  const Job& job_;
  const uint64_t version_;
  v1::UpdatePart part_;
  size_t bytes_ = 0;
  MadeUpdate made_;
};

absl::Status CheckFinite(const Job& job, const BlockKey& key, const BlockValues& mean) {
  const size_t bad = FirstNonFinite(mean.values.data(), mean.values.size());
  if (bad == mean.values.size()) return absl::OkStatus();
  const size_t in_block = mean.dense ? bad : mean.indices[bad];
  return absl::OutOfRangeError(absl::StrCat(
      "step ", key.step, ", block ", key.block, ": the sum of finite payloads overflows at ",
      job.layout.CoordinateName(job.layout.block_offset(key.block) + in_block),
      "; the training has diverged: lower the learning rate"));
}

}  // namespace

absl::StatusOr<MadeUpdate> MakeUpdate(const Job& job, const Round& round, const v1::Header& header,
                                      LazyNoise* noise) {
  SetFloatEnvironment();
  PartWriter writer(job, round.step());
  BlockValues mean;
  noise->BeginStep(header.learning_rate());
  for (size_t block = 0; block < round.blocks(); ++block) {
    const BlockKey key = round.key(block);
    job.codec->Mean(key, round.sum(block), &mean);
    noise->AddTo(key, job.layout.block_offset(block), &mean);
    if (absl::Status status = CheckFinite(job, key, mean); !status.ok()) return status;
    std::string payload;
    job.codec->EncodeUpdate(key, mean, &payload);
    writer.Add(key.block, std::move(payload));
  }
  return writer.Finish(header);
}

MadeUpdate MakeEmptyUpdate(const Job& job, uint64_t version, const v1::Header& header) {
  return PartWriter(job, version).Finish(header);
}

}  // namespace gradwire
