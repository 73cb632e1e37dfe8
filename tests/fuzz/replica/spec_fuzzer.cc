// SPDX-License-Identifier: Apache-2.0
// Every text that a job may choose its parts by, from any bytes.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "common/base/spec.h"
#include "common/codec/feedback.h"
#include "common/codec/registry.h"
#include "common/optimizer/clip.h"
#include "common/optimizer/perturbation.h"
#include "common/optimizer/registry.h"
#include "common/optimizer/schedule.h"
#include "common/replica/initializer.h"

namespace gradwire {
namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

// What is taken must be such that it can work.
void CheckChoices(absl::string_view spec) {
  const auto feedback = ParseErrorFeedback(spec);
  if (feedback.ok()) Require(feedback->beta >= 0 && feedback->beta <= 1);
  const auto reset = ParseResidualReset(spec);
  if (reset.ok() && reset->action != ResidualReset::Action::kNone) {
    Require(reset->radius >= 0 && (reset->radius > 0 || reset->steps > 0));
  }
  const auto clip = ParseClip(spec);
  if (clip.ok() && clip->kind != Clip::Kind::kNone) {
    Require(clip->limit > 0 && std::isfinite(clip->limit));
  }
  (void)ParseDownlink(spec);
  const auto perturbation = MakePerturbation(spec);
  if (!perturbation.ok()) return;
  if (perturbation->every_step()) {
    Require(perturbation->std > 0 && std::isfinite(perturbation->std));
  }
  if (perturbation->kind == Perturbation::Kind::kOnDemand) {
    Require(perturbation->radius > 0 && perturbation->threshold > 0 && perturbation->wait > 0);
  }
}

// Before any evaluation, after one, and after one whose numbers are none.
void CheckSchedule(absl::string_view spec) {
  const auto schedule = MakeSchedule(spec);
  if (!schedule.ok()) return;
  std::vector<double> state((*schedule)->state_size(), 0.0);
  for (const double loss : {1.0, 2.0, std::nan("")}) {
    for (const uint64_t step : {uint64_t{1}, uint64_t{1000}, uint64_t{1} << 40}) {
      const double factor = (*schedule)->Factor(step, state);
      Require(factor >= 0 && factor <= 1);
    }
    v1::Evaluation evaluation;
    evaluation.set_version(1000);
    evaluation.set_loss(loss);
    (*schedule)->Observe(evaluation, absl::MakeSpan(state));
  }
}

}  // namespace
}  // namespace gradwire

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view spec(reinterpret_cast<const char*>(data), size);
  if (gradwire::SpecName(spec).size() > size) std::abort();
  (void)gradwire::MakeCodec(spec);
  (void)gradwire::MakeOptimizer(spec);
  (void)gradwire::MakeInitializer(spec, {3, 5});
  gradwire::CheckChoices(spec);
  gradwire::CheckSchedule(spec);
  return 0;
}
