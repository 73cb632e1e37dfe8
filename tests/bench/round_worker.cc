// SPDX-License-Identifier: Apache-2.0
// One worker of the benchmark `round`: pushes a gradient that is ready in memory, and times rounds
// from one turn to the next.  It prints a line "begin" after the first rounds, "end" after the
// last, and what it measured as JSON.
//
//   round_worker SERVER WORKER_ID WARM_UP ROUNDS
#include <sys/resource.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/allocator.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/kernels/vector.h"
#include "worker/client/session.h"

namespace gradwire {
namespace {

double CpuSeconds() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Values of about the size that gradients have, the same in every run; others at other workers.
void Fill(const std::string& worker, std::vector<float>* gradient) {
  uint32_t state = 1 + static_cast<uint32_t>(std::hash<std::string>()(worker));
  for (float& value : *gradient) {
    state = state * 1664525u + 1013904223u;
    value = (static_cast<float>(state >> 8) / float{1 << 24} - 0.5f) * 1e-3f;
  }
}

// What remains of a worker's step when all else is free: the gradient is read, and added to a
// residual that is read and written.
double ResidualPass(const std::vector<float>& gradient, const Clock& clock) {
  std::vector<float> residual(gradient.size());
  constexpr int kTimes = 15;
  double total = 0;
  for (int i = -2; i < kTimes; ++i) {
    const absl::Duration begin = clock.Now();
    AddScaled(1e-3f, gradient.data(), residual.data(), residual.size());
    if (i >= 0) total += absl::ToDoubleSeconds(clock.Now() - begin);
  }
  return total / kTimes;
}

absl::Status Run(const std::string& server, const std::string& worker, int warm_up, int rounds) {
  const SteadyClock clock;
  SessionOptions options;
  options.server = server;
  options.worker_id = worker;
  GRADWIRE_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, Session::Connect(options));
  std::vector<float> gradient(session->job()->layout.dimension());
  Fill(worker, &gradient);
  std::vector<double> seconds;
  double cpu = 0;
  double residual_pass = 0;
  absl::Duration last = clock.Now();
  for (int round = -warm_up; round < rounds; ++round) {
    GRADWIRE_ASSIGN_OR_RETURN(const Turn turn, session->NextTurn());
    if (turn.kind == Turn::Kind::kFinished) return absl::InternalError("the job is too short");
    // All workers of the step do it at the same time.
    if (round == -warm_up) residual_pass = ResidualPass(gradient, clock);
    const absl::Duration now = clock.Now();
    if (round > 0) seconds.push_back(absl::ToDoubleSeconds(now - last));
    if (round == 0) {
      std::cout << "begin" << std::endl;
      cpu = CpuSeconds();
    }
    last = clock.Now();
    StepReport report;
    report.samples = 1;
    GRADWIRE_RETURN_IF_ERROR(session->Push(absl::MakeSpan(gradient), report));
  }
  GRADWIRE_ASSIGN_OR_RETURN(const Turn turn, session->NextTurn());
  seconds.push_back(absl::ToDoubleSeconds(clock.Now() - last));
  cpu = CpuSeconds() - cpu;
  std::cout << "end" << std::endl;
  std::cout << "{\"rounds\": [" << absl::StrJoin(seconds, ", ") << "], \"cpu\": " << cpu
            << ", \"residual_pass\": " << residual_pass << "}" << std::endl;
  return turn.kind == Turn::Kind::kFinished ? session->Leave("finished", std::nullopt)
                                            : absl::InternalError("the job is too long");
}

}  // namespace
}  // namespace gradwire

int main(int argc, char** argv) {
  int warm_up = 0;
  int rounds = 0;
  if (argc != 5 || !absl::SimpleAtoi(argv[3], &warm_up) || !absl::SimpleAtoi(argv[4], &rounds) ||
      warm_up < 1 || rounds < 1) {
    std::cerr << "usage: round_worker SERVER WORKER_ID WARM_UP ROUNDS\n";
    return 2;
  }
  gradwire::KeepFreedMemory();  // as gradwire-worker does
  gradwire::SetUpLogging("round_worker");
  const absl::Status status = gradwire::Run(argv[1], argv[2], warm_up, rounds);
  if (status.ok()) return 0;
  std::cerr << status << "\n";
  return 1;
}
