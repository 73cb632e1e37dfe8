// SPDX-License-Identifier: Apache-2.0
// gradwire-worker: trains a server's job on this machine's data.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/kernels/target.h"
#include "common/replica/job.h"
#include "worker/client/session.h"
#include "worker/client/stop_flag.h"
#include "worker/models/blas.h"
#include "worker/train/loop.h"

ABSL_FLAG(std::string, server, "127.0.0.1:7070", "host:port of the server.");
ABSL_FLAG(std::string, worker_id, "",
          "Names this worker, also after a restart; unique in the job.  Empty: the host's name.");
ABSL_FLAG(std::string, data, "",
          "Training and test data: a folder of IDX files, or LIBSVM files; models without data "
          "need none.");
ABSL_FLAG(std::string, job, "",
          "A job file.  The worker refuses a server whose job has another model, codec, optimizer "
          "or seed.  Empty: takes whatever job the server has.");
ABSL_FLAG(std::string, kernel, "auto", "Instruction set of the kernels; all give the same bits.");
ABSL_FLAG(absl::Duration, give_up_after, absl::Minutes(5),
          "How long to try without a word from the server.");
ABSL_FLAG(std::string, metrics, "", "Writes a JSON line for every step to this file.");
ABSL_FLAG(absl::Duration, step_delay, absl::ZeroDuration(),
          "For tests: waits so long before each payload is sent.");

namespace gradwire {
namespace {

StopFlag stop;  // for the signal handler, which knows nothing else

// Not a thread that waits for signals: BLAS starts threads before main, and a signal
// would end the process through one of those.
extern "C" void OnSignal(int signal) { stop.Request(signal); }

void HandleSignals() {
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART | SA_RESETHAND;  // the second signal ends the process at once
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);  // a reader of our output that is gone stops no training
}

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 && name[0] != '\0' ? name : "worker";
}

// The only place that reads flags.
struct WorkerOptions {
  SessionOptions session;
  LoopOptions loop;
  std::string job_path;
  std::string kernel;
};

absl::StatusOr<WorkerOptions> OptionsFromFlags() {
  WorkerOptions options;
  options.session.server = absl::GetFlag(FLAGS_server);
  options.session.worker_id = absl::GetFlag(FLAGS_worker_id);
  if (options.session.worker_id.empty()) options.session.worker_id = HostName();
  options.session.give_up_after = absl::GetFlag(FLAGS_give_up_after);
  options.session.stop = &stop;
  options.loop.data = absl::GetFlag(FLAGS_data);
  options.loop.metrics_path = absl::GetFlag(FLAGS_metrics);
  options.loop.step_delay = absl::GetFlag(FLAGS_step_delay);
  options.loop.stop = &stop;
  options.job_path = absl::GetFlag(FLAGS_job);
  options.kernel = absl::GetFlag(FLAGS_kernel);
  if (options.session.give_up_after < absl::ZeroDuration()) {
    return absl::InvalidArgumentError("--give_up_after is negative");
  }
  if (options.loop.step_delay < absl::ZeroDuration()) {
    return absl::InvalidArgumentError("--step_delay is negative");
  }
  return options;
}

absl::Status RunWorker(WorkerOptions options) {
  GRADWIRE_RETURN_IF_ERROR(SetKernelTarget(options.kernel));
  UseOneBlasThread();
  options.session.build = absl::StrCat("gradwire ", GRADWIRE_VERSION, ", kernels ", KernelTarget(),
                                       ", BLAS core ", BlasCoreName());
  if (!options.job_path.empty()) {
    GRADWIRE_ASSIGN_OR_RETURN(v1::JobConfig config, ReadJobFile(options.job_path));
    GRADWIRE_ASSIGN_OR_RETURN(const std::shared_ptr<const Job> job, MakeJob(std::move(config)));
    options.session.schema_hash = job->schema_hash;
  }
  GRADWIRE_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session,
                            Session::Connect(std::move(options.session)));
  GRADWIRE_RETURN_IF_ERROR(Train(options.loop, session.get()));
  std::printf("final version=%llu parameters=%s\n",
              static_cast<unsigned long long>(session->version()),
              HashText(session->ParametersHash()).c_str());
  return absl::OkStatus();
}

int ReportError(absl::string_view message) {
  std::string line(message);
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::fflush(stdout);
  std::fprintf(stderr, "gradwire-worker: %s\n", line.c_str());
  return 1;
}

int Main(int argc, char** argv) {
  HandleSignals();
  SetUpLogging("gradwire-worker");
  absl::SetProgramUsageMessage(
      "Trains the job of a gradwire server.\n  gradwire-worker --server=host:7070 --data=DIR");
  const std::vector<char*> rest = absl::ParseCommandLine(argc, argv);
  if (rest.size() > 1) {
    return ReportError(
        absl::StrCat("unknown argument \"", rest[1], "\": there are only flags, see --help"));
  }
  absl::StatusOr<WorkerOptions> options = OptionsFromFlags();
  if (!options.ok()) return ReportError(options.status().message());
  const absl::Status status = RunWorker(*std::move(options));
  if (status.ok()) return 0;
  const int signal = stop.requested();
  if (signal != 0 && absl::IsCancelled(status)) {
    LogInfo(absl::StrCat("stopped by signal ", signal));
    return 128 + signal;
  }
  return ReportError(status.message());
}

}  // namespace
}  // namespace gradwire

int main(int argc, char** argv) { return gradwire::Main(argc, argv); }
