// SPDX-License-Identifier: Apache-2.0
// A worker with a valid place in the job that means harm: it sends its gradients, which it computes
// like everybody, times a factor.
//
//   hostile_worker SERVER WORKER_ID DATA FACTOR [FIRST_STEP]   honest before FIRST_STEP
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "common/base/status_macros.h"
#include "worker/client/sharded_session.h"
#include "worker/models/blas.h"
#include "worker/train/trainer.h"

namespace gradwire {
namespace {

absl::Status TakePart(SessionOptions options, const std::string& data, float factor,
                      uint64_t first_step) {
  UseOneBlasThread();
  GRADWIRE_ASSIGN_OR_RETURN(const std::unique_ptr<ShardedSession> session,
                            ShardedSession::Connect(std::move(options)));
  GRADWIRE_ASSIGN_OR_RETURN(const std::unique_ptr<Trainer> trainer,
                            Trainer::Create(session->job(), data));
  std::vector<float> gradient(session->job()->layout.dimension());
  while (true) {
    GRADWIRE_ASSIGN_OR_RETURN(const Turn turn, session->NextTurn());
    if (turn.kind == Turn::Kind::kFinished) return session->Leave("finished", std::nullopt);
    const StepResult result =
        trainer->Step(turn.batch, turn.rank, session->parameters(), absl::MakeSpan(gradient));
    if (turn.step >= first_step) {
      for (float& value : gradient) value *= factor;
    }
    GRADWIRE_RETURN_IF_ERROR(
        session->Push(absl::MakeSpan(gradient), {.loss = result.loss, .samples = result.samples}));
  }
}

}  // namespace
}  // namespace gradwire

int main(int argc, char** argv) {
  if (argc != 5 && argc != 6) {
    std::fprintf(stderr, "usage: hostile_worker SERVER WORKER_ID DATA FACTOR [FIRST_STEP]\n");
    return 64;
  }
  gradwire::SessionOptions options;
  options.server = argv[1];
  options.worker_id = argv[2];
  const absl::Status status =
      gradwire::TakePart(std::move(options), argv[3], std::strtof(argv[4], nullptr),
                         argc == 6 ? std::strtoull(argv[5], nullptr, 10) : 1);
  if (status.ok()) return 0;
  std::fprintf(stderr, "hostile_worker: %s\n", std::string(status.message()).c_str());
  return 1;
}
