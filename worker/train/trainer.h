// SPDX-License-Identifier: Apache-2.0
// A job's model with its data: what a worker computes between two updates.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/replica/job.h"
#include "gradwire/v1/gradient.pb.h"
#include "worker/data/dataset.h"
#include "worker/models/model.h"

namespace gradwire {

struct StepResult {
  double loss = 0;       // mean over the samples; not a number if the model gave that
  uint64_t samples = 0;  // 1 for models that need no data
};

// One thread at a time.
class Trainer {
 public:
  // Reads the data that `data_source` (--data; see LoadData) names and checks that
  // they fit the model and that every worker gets a sample.  Models that need no
  // data ignore it.  InvalidArgument or NotFound say what to change.
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(std::shared_ptr<const Job> job,
                                                         absl::string_view data_source);

  // The gradient of step `step` (from 1) for the worker with rank `rank`, at
  // `parameters`; both spans hold the layout's dimension.  A function of its
  // arguments, the job and the data: computed again, it gives the same bits.
  StepResult Step(uint64_t step, uint32_t rank, absl::Span<const float> parameters,
                  absl::Span<float> gradient);

  // On the whole test set.
  v1::Evaluation Evaluate(uint64_t version, absl::Span<const float> parameters);

 private:
  Trainer(std::shared_ptr<const Job> job, std::unique_ptr<Model> model)
      : job_(std::move(job)), model_(std::move(model)) {}

  absl::Status CheckData(absl::string_view data_source) const;

  const std::shared_ptr<const Job> job_;
  const std::unique_ptr<Model> model_;
  DataPair data_;                     // constant after Create
  std::vector<uint32_t> batch_rows_;  // of the current step
};

}  // namespace gradwire
