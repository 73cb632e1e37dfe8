// SPDX-License-Identifier: Apache-2.0
// Implementation of registry.h: the table of codecs.
#include "common/codec/registry.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/codec/identity.h"
#include "common/codec/random_k.h"
#include "common/codec/top_k.h"

namespace gradwire {
namespace {

constexpr CodecEntry kCodecs[] = {
    {"identity", v1::CODEC_IDENTITY, "everything, as it is", IdentityParameters, MakeIdentity},
    {"random_k", v1::CODEC_RANDOM_K, "coordinates drawn alike at every worker", RandomKParameters,
     MakeRandomK},
    {"top_k", v1::CODEC_TOP_K, "the values of greatest magnitude", TopKParameters, MakeTopK},
};

}  // namespace

absl::Span<const CodecEntry> CodecRegistry() { return kCodecs; }

absl::StatusOr<std::unique_ptr<Codec>> MakeCodec(absl::string_view spec) {
  for (const CodecEntry& entry : kCodecs) {
    if (SpecName(spec) != entry.name) continue;
    GRADWIRE_ASSIGN_OR_RETURN(const SpecValues values,
                              ParseSpecArguments(spec, entry.parameters()));
    return entry.make(values);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", spec, "\": no codec has this name; known: ",
      absl::StrJoin(kCodecs, ", ",
                    [](std::string* out, const CodecEntry& entry) { out->append(entry.name); })));
}

}  // namespace gradwire
