// SPDX-License-Identifier: Apache-2.0
// Implementation of block_plan.h.
#include "common/replica/block_plan.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/codec/registry.h"
#include "common/replica/canonical_spec.h"

namespace gradwire {
namespace {

// Every rule is held against every tensor.
constexpr int kMaxRules = 1000;
constexpr size_t kMaxPatternBytes = 200;  // as tensors' names

absl::Status Wrong(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", what));
}

// "*" stands for any characters, none included.
bool Fits(absl::string_view pattern, absl::string_view name) {
  const std::vector<absl::string_view> pieces = absl::StrSplit(pattern, '*');
  if (pieces.size() == 1) return pattern == name;
  if (!absl::ConsumePrefix(&name, pieces.front())) return false;
  if (!absl::ConsumeSuffix(&name, pieces.back())) return false;
  for (size_t i = 1; i + 1 < pieces.size(); ++i) {
    const size_t at = name.find(pieces[i]);
    if (at == absl::string_view::npos) return false;
    name.remove_prefix(at + pieces[i].size());
  }
  return true;
}

// The index of the codec that `spec` names; a new one if there is none yet.
absl::StatusOr<size_t> CodecIndex(absl::string_view field, const std::string& spec,
                                  CodecChoice* choice) {
  absl::StatusOr<std::unique_ptr<Codec>> codec = MakeCodec(spec);
  if (!codec.ok()) return Wrong(field, codec.status().message());
  const std::string canonical = CanonicalSpec(spec, CodecRegistry());
  const auto found = std::find(choice->specs.begin(), choice->specs.end(), canonical);
  const size_t index = static_cast<size_t>(found - choice->specs.begin());
  if (found == choice->specs.end()) {
    choice->codecs.push_back(*std::move(codec));
    choice->specs.push_back(canonical);
  }
  return index;
}

// What the residual of the block's codec is to be, or why it cannot.
absl::StatusOr<Feedback> FeedbackOf(const CodecTraits& traits, const ErrorFeedback& choice,
                                    absl::string_view spec) {
  if (choice.automatic || traits.lossless) return traits.feedback;
  if (!traits.only_its_feedback || choice.kind == traits.feedback) return choice.kind;
  return Wrong("error_feedback",
               absl::StrCat("codec ", spec, " takes only ",
                            traits.feedback == Feedback::kNone ? "none" : "classic",
                            "; choose that, or auto"));
}

absl::StatusOr<BlockPlan> PlanFor(const Codec& codec, absl::string_view spec,
                                  const PlanOptions& options) {
  BlockPlan plan = {.codec = &codec, .traits = codec.traits()};
  GRADWIRE_ASSIGN_OR_RETURN(plan.feedback, FeedbackOf(plan.traits, options.feedback, spec));
  const bool gradient_units = plan.keeps_mean() || plan.traits.unit_free;
  plan.units = gradient_units ? Units::kGradient : options.units;
  const bool whole = plan.traits.lossless || plan.feedback == Feedback::kClassic;
  plan.noise_at_server =
      options.perturbation.kind == Perturbation::Kind::kGaussian && plan.traits.linear && whole;
  plan.compress_down = options.downlink == DownlinkChoice::kCompressed ||
                       (options.downlink == DownlinkChoice::kAuto && !plan.traits.compact);
  if (plan.traits.lossless || plan.traits.unit_free) plan.compress_down = false;
  const bool clips = options.clip.kind != Clip::Kind::kNone;
  const bool looks_at_norm = options.perturbation.kind == Perturbation::Kind::kOnDemand;
  if ((clips || looks_at_norm) && (plan.keeps_mean() || plan.traits.unit_free)) {
    return Wrong(clips ? "clip" : "perturbation",
                 absl::StrCat("the aggregate of codec ", spec,
                              " is no gradient (signs, or differences by EF21) and ",
                              clips ? "cannot be clipped; choose none"
                                    : "its norm says nothing; choose none, gaussian or sphere"));
  }
  if (!plan.keeps_mean()) return plan;
  if (options.downlink == DownlinkChoice::kCompressed) {
    return Wrong("downlink", absl::StrCat("compressed does not go with error_feedback ef21 (codec ",
                                          spec, "); choose aggregate"));
  }
  plan.compress_down = false;
  return plan;
}

}  // namespace

absl::StatusOr<CodecChoice> ChooseCodecs(const v1::JobConfig& config, const Layout& layout) {
  CodecChoice choice;
  GRADWIRE_RETURN_IF_ERROR(CodecIndex("codec", config.codec(), &choice).status());
  choice.of_tensor.assign(layout.tensors().size(), 0);
  std::vector<bool> decided(layout.tensors().size(), false);
  if (config.tensors_size() > kMaxRules) {
    return Wrong("tensors", absl::StrCat(config.tensors_size(), " rules are more than ", kMaxRules,
                                         "; use patterns, as in \"*.bias\""));
  }
  for (int r = 0; r < config.tensors_size(); ++r) {
    const v1::TensorRule& rule = config.tensors(r);
    const std::string field = absl::StrCat("tensors[", r, "]");
    if (rule.name().size() > kMaxPatternBytes) {
      return Wrong(absl::StrCat(field, ".name"),
                   absl::StrCat(rule.name().size(), " bytes are more than ", kMaxPatternBytes));
    }
    GRADWIRE_ASSIGN_OR_RETURN(const size_t index,
                              CodecIndex(absl::StrCat(field, ".codec"), rule.codec(), &choice));
    bool fits = false;
    for (size_t t = 0; t < decided.size(); ++t) {
      if (!Fits(rule.name(), layout.tensors()[t].name)) continue;
      fits = true;
      if (!decided[t]) choice.of_tensor[t] = index;
      decided[t] = true;
    }
    if (!fits) {
      return Wrong(absl::StrCat(field, ".name"),
                   absl::StrCat("no tensor fits \"", rule.name(), "\"; the first is \"",
                                layout.tensors().front().name, "\""));
    }
  }
  return choice;
}

void CutForCodecs(const CodecChoice& choice, Layout* layout) {
  std::vector<Segment> segments;
  for (size_t t = 0; t < choice.of_tensor.size(); ++t) {
    const bool matrix = choice.codecs[choice.of_tensor[t]]->traits().matrix;
    const bool joins = t > 0 && !matrix && choice.of_tensor[t] == choice.of_tensor[t - 1];
    if (joins) {
      segments.back().end = t + 1;
      continue;
    }
    const bool whole_rows = matrix && layout->tensors()[t].shape.size() > 1;
    segments.push_back({.first = t, .end = t + 1, .whole_rows = whole_rows});
  }
  layout->Cut(segments);
}

absl::StatusOr<std::vector<BlockPlan>> PlanBlocks(const CodecChoice& choice,
                                                  const PlanOptions& options,
                                                  const Layout& layout) {
  std::vector<BlockPlan> of_codec;
  for (size_t i = 0; i < choice.codecs.size(); ++i) {
    GRADWIRE_ASSIGN_OR_RETURN(BlockPlan plan, PlanFor(*choice.codecs[i], choice.specs[i], options));
    of_codec.push_back(plan);
  }
  std::vector<BlockPlan> plans;
  size_t tensor = 0;
  size_t basis_offset = 0;
  for (size_t b = 0; b < layout.blocks(); ++b) {
    const Block& block = layout.block(b);
    const auto tensors = layout.tensors();
    while (block.offset >= tensors[tensor].offset + tensors[tensor].size) ++tensor;
    BlockPlan plan = of_codec[choice.of_tensor[tensor]];
    plan.basis_offset = basis_offset;
    plan.basis_size = plan.codec->basis_size({.size = block.size, .columns = block.columns});
    basis_offset += plan.basis_size;
    plans.push_back(plan);
  }
  return plans;
}

}  // namespace gradwire
