// SPDX-License-Identifier: Apache-2.0
// What a job says of each block: its codec, and what follows from it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/codec/codec.h"
#include "common/codec/feedback.h"
#include "common/optimizer/clip.h"
#include "common/optimizer/optimizer.h"
#include "common/optimizer/perturbation.h"
#include "common/replica/layout.h"
#include "gradwire/v1/job.pb.h"

namespace gradwire {

struct BlockPlan {
  const Codec* codec = nullptr;
  CodecTraits traits;
  Feedback feedback = Feedback::kClassic;
  Units units = Units::kUpdate;
  bool noise_at_server = false;  // drawn when a coordinate is sent; else by the workers
  bool compress_down = false;    // the aggregate is compressed again, by the same codec
  size_t basis_offset = 0;       // in the replica's bases
  size_t basis_size = 0;

  bool keeps_mean() const { return feedback == Feedback::kEf21 || feedback == Feedback::kEf21Sgdm; }
};

// The codecs of a job: the one of `codec`, then those of the rules that differ.
struct CodecChoice {
  std::vector<std::unique_ptr<Codec>> codecs;
  std::vector<std::string> specs;  // canonical, of each codec
  std::vector<size_t> of_tensor;   // index of each tensor's codec
};

// InvalidArgument names the field; a rule that fits no tensor is one.
absl::StatusOr<CodecChoice> ChooseCodecs(const v1::JobConfig& config, const Layout& layout);

// Cuts the layout into the segments that the choice asks for: maximal runs of tensors with one
// codec; a tensor by itself where the codec works on matrices.
void CutForCodecs(const CodecChoice& choice, Layout* layout);

// The job's other choices, which apply to every block.
struct PlanOptions {
  ErrorFeedback feedback;
  DownlinkChoice downlink = DownlinkChoice::kAuto;
  Units units = Units::kUpdate;  // of the optimizer
  Perturbation perturbation;
  Clip clip;
};

// One plan a block of `layout`, which CutForCodecs has cut.  InvalidArgument when a codec does
// not go with an option, with both named.
absl::StatusOr<std::vector<BlockPlan>> PlanBlocks(const CodecChoice& choice,
                                                  const PlanOptions& options, const Layout& layout);

}  // namespace gradwire
