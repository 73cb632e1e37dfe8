// SPDX-License-Identifier: Apache-2.0
// Fuzzes Codec::Accumulate: a payload is taken, and then everything that follows from it
// is finite and comes back, or it is refused and the sum stays as it was.
#include "tests/fuzz/codec/fuzz_case.h"

namespace gradwire {
namespace {

// As the first payload of a round, and behind another whose values are large enough for sums
// to overflow.
void CheckAccumulate(const FuzzCase& fuzz, Accumulator sum) {
  const Accumulator before = sum;
  if (!fuzz.codec->Accumulate(fuzz.key, fuzz.payload, &sum).ok()) {
    Require(sum.payloads == before.payloads && sum.sums == before.sums && sum.bits == before.bits);
    return;
  }
  Require(sum.payloads == before.payloads + 1);
  Require(fuzz.payload.size() <= fuzz.codec->MaxPayloadBytes(fuzz.key.size));
  Require(AllFinite(sum.sums));
  BlockValues mean;
  fuzz.codec->Mean(fuzz.key, sum, &mean);
  Require(IsSound(mean, fuzz.key.size));
  std::vector<float> state(fuzz.codec->server_state_size(fuzz.key), 0.0f);
  fuzz.codec->Aggregate(fuzz.key, sum, absl::MakeSpan(state), &mean);
  Require(IsSound(mean, fuzz.key.size) && AllFinite(state));
  std::string update_bytes;
  fuzz.codec->EncodeUpdate(fuzz.key, mean, &update_bytes);
  Require(update_bytes.size() <= 4 * fuzz.key.size + 64);
  BlockValues update;
  Require(fuzz.codec->DecodeUpdate(fuzz.key, update_bytes, &update).ok());
  Require(update.dense == mean.dense && update.indices == mean.indices);
}

}  // namespace
}  // namespace gradwire

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  gradwire::FuzzCase fuzz;
  if (!gradwire::ReadFuzzCase(data, size, &fuzz)) return 0;
  gradwire::Accumulator sum;
  gradwire::CheckAccumulate(fuzz, sum);

  std::vector<float> large(fuzz.key.size, 3e38f);
  std::string payload;
  fuzz.codec->Encode(fuzz.key, absl::MakeSpan(large), &payload);
  gradwire::Require(fuzz.codec->Accumulate(fuzz.key, payload, &sum).ok());
  gradwire::CheckAccumulate(fuzz, sum);
  return 0;
}
