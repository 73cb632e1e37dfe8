// SPDX-License-Identifier: Apache-2.0
// Puts model, data and batches together.
#include "worker/train/trainer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/data/batches.h"
#include "worker/data/load.h"

namespace gradwire {
namespace {

// MakeJob fills in both; a Job made by hand may lack them.
uint32_t Batch(const Job& job) { return std::max(1u, job.config.trainer().batch()); }
uint32_t Shards(const Job& job) { return std::max(1u, job.config.membership().workers()); }

absl::Status WithPlace(const absl::Status& status, absl::string_view place) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(place, ": ", status.message()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(std::shared_ptr<const Job> job,
                                                         absl::string_view data_source) {
  GRADWIRE_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, MakeModel(job->config.model()));
  if (model->dimension() != job->layout.dimension()) {
    return absl::InternalError(absl::StrCat("the model has ", model->dimension(),
                                            " parameters, the job's layout ",
                                            job->layout.dimension()));
  }
  std::unique_ptr<Trainer> trainer(new Trainer(std::move(job), std::move(model)));
  if (!trainer->model_->needs_data()) return trainer;
  if (data_source.empty()) {
    return absl::InvalidArgumentError(
        "this job's model needs data: name them with --data=FOLDER (IDX files, such as "
        "/usr/share/datasets/fashion-mnist) or --data=libsvm:TRAIN,TEST");
  }
  GRADWIRE_ASSIGN_OR_RETURN(trainer->data_, LoadData(data_source));
  GRADWIRE_RETURN_IF_ERROR(trainer->CheckData(data_source));
  return trainer;
}

absl::Status Trainer::CheckData(absl::string_view data_source) const {
  const size_t rows = data_.train.rows;
  const absl::string_view train = "training data of ";
  GRADWIRE_RETURN_IF_ERROR(
      WithPlace(model_->CheckData(data_.train), absl::StrCat(train, data_source)));
  GRADWIRE_RETURN_IF_ERROR(
      WithPlace(model_->CheckData(data_.test), absl::StrCat("test data of ", data_source)));
  if (rows < Shards(*job_) || rows > std::numeric_limits<uint32_t>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat(train, data_source, ": ", rows, " samples for ", Shards(*job_),
                     " workers (membership.workers); at least one each, at most 2^32 - 1"));
  }
  if (Batch(*job_) > kMaxDatasetValues / data_.train.features) {
    return absl::InvalidArgumentError(
        absl::StrCat("trainer.batch: ", Batch(*job_), " samples of ", data_.train.features,
                     " features; a batch holds at most ", kMaxDatasetValues, " values"));
  }
  return absl::OkStatus();
}

StepResult Trainer::Step(uint64_t step, uint32_t rank, absl::Span<const float> parameters,
                         absl::Span<float> gradient) {
  if (model_->needs_data()) {
    FillBatch(job_->config.seed(), step, rank, Shards(*job_),
              static_cast<uint32_t>(data_.train.rows), Batch(*job_), &batch_rows_);
  }
  const double loss = model_->LossAndGradient(parameters, data_.train, batch_rows_, gradient);
  return {.loss = loss, .samples = model_->needs_data() ? batch_rows_.size() : 1};
}

v1::Evaluation Trainer::Evaluate(uint64_t version, absl::Span<const float> parameters) {
  v1::Evaluation evaluation = model_->Evaluate(parameters, data_.test);
  evaluation.set_version(version);
  return evaluation;
}

}  // namespace gradwire
