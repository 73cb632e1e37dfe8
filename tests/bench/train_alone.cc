// SPDX-License-Identifier: Apache-2.0
// The training that a worker does, with communication switched off: its own gradients, computed and
// subtracted, for the time that `link` compares a step with.
//
//   train_alone JOB DATA RANK STEPS METRICS     a line for each step in the file METRICS
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "common/base/status_macros.h"
#include "common/replica/job.h"
#include "common/replica/replica.h"
#include "worker/models/blas.h"
#include "worker/train/metrics_file.h"
#include "worker/train/trainer.h"

namespace gradwire {
namespace {

constexpr float kLearningRate = 0.1f;

absl::Status TrainAlone(const std::string& job_path, const std::string& data, uint32_t rank,
                        uint64_t steps, const std::string& metrics_path) {
  UseOneBlasThread();
  GRADWIRE_ASSIGN_OR_RETURN(v1::JobConfig config, ReadJobFile(job_path));
  GRADWIRE_ASSIGN_OR_RETURN(const std::shared_ptr<const Job> job, MakeJob(std::move(config)));
  GRADWIRE_ASSIGN_OR_RETURN(const std::unique_ptr<Trainer> trainer, Trainer::Create(job, data));
  const Replica first(job);
  std::vector<float> parameters(first.parameters().begin(), first.parameters().end());
  std::vector<float> gradient(parameters.size());
  GRADWIRE_ASSIGN_OR_RETURN(const std::unique_ptr<MetricsFile> metrics,
                            MetricsFile::Create(metrics_path));
  for (uint64_t step = 1; step <= steps; ++step) {
    const StepResult result = trainer->Step(step, rank, parameters, absl::MakeSpan(gradient));
    for (size_t i = 0; i < parameters.size(); ++i) parameters[i] -= kLearningRate * gradient[i];
    GRADWIRE_RETURN_IF_ERROR(metrics->Write(step, result.loss, nullptr));
  }
  return metrics->Close();
}

}  // namespace
}  // namespace gradwire

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fprintf(stderr, "usage: train_alone JOB DATA RANK STEPS METRICS\n");
    return 64;
  }
  const absl::Status status = gradwire::TrainAlone(
      argv[1], argv[2], static_cast<uint32_t>(std::strtoul(argv[3], nullptr, 10)),
      std::strtoull(argv[4], nullptr, 10), argv[5]);
  if (status.ok()) return 0;
  std::fprintf(stderr, "train_alone: %s\n", std::string(status.message()).c_str());
  return 1;
}
