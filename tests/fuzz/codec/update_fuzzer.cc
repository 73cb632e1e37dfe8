// SPDX-License-Identifier: Apache-2.0
// Fuzzes Codec::DecodeUpdate: an update is sound and encodes to the same meaning
// again, or it is refused and what was there stays.
#include "tests/fuzz/codec/fuzz_case.h"

namespace gradwire {
namespace {

void CheckUpdate(const FuzzCase& fuzz) {
  BlockValues update = {.dense = true, .indices = {7}, .values = {1.0f, 2.0f}};
  if (!fuzz.codec->DecodeUpdate(fuzz.key, fuzz.payload, &update).ok()) {
    Require(update.dense && update.indices == std::vector<uint32_t>{7} &&
            update.values == std::vector<float>{1.0f, 2.0f});
    return;
  }
  Require(IsSound(update, fuzz.key.size));
  std::string bytes;
  fuzz.codec->EncodeUpdate(fuzz.key, update, &bytes);
  BlockValues again;
  Require(fuzz.codec->DecodeUpdate(fuzz.key, bytes, &again).ok());
  Require(again.dense == update.dense && again.indices == update.indices);
  if (fuzz.key.columns > 0) return;  // factors of a product are not found again to the bit
  Require(again.values == update.values);
}

}  // namespace
}  // namespace gradwire

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  gradwire::FuzzCase fuzz;
  if (gradwire::ReadFuzzCase(data, size, &fuzz)) gradwire::CheckUpdate(fuzz);
  return 0;
}
