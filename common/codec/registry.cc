// SPDX-License-Identifier: Apache-2.0
// Implementation of registry.h: the table of codecs.
#include "common/codec/registry.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"

// One line a codec.  Its file defines `CodecEntry NAMEEntry()`.
#define GRADWIRE_CODECS(CODEC) \
  CODEC(Identity)              \
  CODEC(RandomK)               \
  CODEC(TopK)                  \
  CODEC(Bf16)                  \
  CODEC(Fp16)                  \
  CODEC(Int8)                  \
  CODEC(Threshold)             \
  CODEC(Dgc)                   \
  CODEC(Sign)                  \
  CODEC(SignMajority)          \
  CODEC(OneBit)                \
  CODEC(Qsgd)                  \
  CODEC(Terngrad)              \
  CODEC(TwoBit)                \
  CODEC(CountSketch)           \
  CODEC(Powersgd)              \
  CODEC(Natural)

namespace gradwire {

#define GRADWIRE_DECLARE(NAME) CodecEntry NAME##Entry();
GRADWIRE_CODECS(GRADWIRE_DECLARE)
#undef GRADWIRE_DECLARE

absl::Span<const CodecEntry> CodecRegistry() {
#define GRADWIRE_ROW(NAME) NAME##Entry(),
  static const CodecEntry entries[] = {GRADWIRE_CODECS(GRADWIRE_ROW)};
#undef GRADWIRE_ROW
  return entries;
}

absl::StatusOr<std::unique_ptr<Codec>> MakeCodec(absl::string_view spec) {
  for (const CodecEntry& entry : CodecRegistry()) {
    if (SpecName(spec) != entry.name) continue;
    GRADWIRE_ASSIGN_OR_RETURN(const SpecValues values,
                              ParseSpecArguments(spec, entry.parameters()));
    absl::StatusOr<std::unique_ptr<Codec>> made = entry.make(values);
    if (made.ok()) return made;
    return absl::InvalidArgumentError(absl::StrCat("\"", spec, "\": ", made.status().message()));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", spec, "\": no codec has this name; known: ",
      absl::StrJoin(CodecRegistry(), ", ",
                    [](std::string* out, const CodecEntry& entry) { out->append(entry.name); })));
}

}  // namespace gradwire
