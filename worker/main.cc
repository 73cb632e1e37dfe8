// SPDX-License-Identifier: Apache-2.0
// gradwire-worker: trains a server's job on this machine's data.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/allocator.h"
#include "common/base/exit_code.h"
#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/base/log_flag.h"
#include "common/base/machine.h"
#include "common/base/status_macros.h"
#include "common/kernels/target.h"
#include "common/replica/job.h"
#include "common/replica/memory_need.h"
#include "common/rpc/client_flags.h"
#include "common/rpc/grpc_log.h"
#include "worker/client/sharded_session.h"
#include "worker/client/stop_flag.h"
#include "worker/client/worker_memory.h"
#include "worker/client/worker_state.h"
#include "worker/data/load.h"
#include "worker/models/blas.h"
#include "worker/train/loop.h"
#include "worker/train/watch.h"

ABSL_FLAG(std::string, server, "127.0.0.1:7070",
          "host:port of the server; of all shards, in order: a:1,b:2 or host-{0..1}:7070.");
ABSL_FLAG(std::string, worker_id, "",
          "Names this worker, also after a restart; unique in the job.  Empty: the name that is in "
          "--state_dir, else the host's.");
ABSL_FLAG(std::string, state_dir, "",
          "Keeps here what a killed worker needs to have its residual again, bit for bit.  Empty: "
          "a worker that comes back begins with an empty residual.");
ABSL_FLAG(uint64_t, state_every, 100,
          "Saves the state so often, in versions; a worker that comes back computes up to so many "
          "steps again.");
ABSL_FLAG(std::string, data, "",
          "Training and test data: a folder of IDX files, or LIBSVM files; models without data "
          "need none.");
ABSL_FLAG(std::string, job, "",
          "A job file.  The worker refuses a server whose job has another model, codec, optimizer "
          "or seed.  Empty: takes whatever job the server has.");
ABSL_FLAG(std::string, kernel, "auto", "Instruction set of the kernels; all give the same bits.");
ABSL_FLAG(absl::Duration, give_up_after, absl::Minutes(5),
          "How long to try without a word from the server.");
ABSL_FLAG(std::string, memory_limit, "auto",
          "A job that needs more memory is refused at start, with the sum shown: auto (the control "
          "group's, or the machine's), none, or bytes, as 16GiB.");
ABSL_FLAG(std::string, metrics, "", "Writes a JSON line for every step to this file.");
ABSL_FLAG(
    std::string, role, "train",
    "train; or, as a reader of the job's updates that takes no part: follow prints version and "
    "loss, evaluate the accuracy on the test data.");
ABSL_FLAG(uint64_t, every, 200, "--role=evaluate: versions between evaluations.");
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

// The only place that reads flags.
struct WorkerOptions {
  SessionOptions session;
  LoopOptions loop;
  std::string role;
  uint64_t every = 0;
  std::string job_path;
  std::string kernel;
};

absl::Status CheckMemory(const Job& job, const std::string& data, const MemoryLimit& limit) {
  MemoryNeed need = WorkerMemoryNeed(job);
  need.Add("data set", DataBytes(data));
  GRADWIRE_RETURN_IF_ERROR(CheckMemory("this worker", need, limit));
  LogInfo(absl::StrCat("memory: at most about ", need.total(), " bytes: ", need.Text()));
  return absl::OkStatus();
}

absl::StatusOr<WorkerOptions> OptionsFromFlags() {
  WorkerOptions options;
  options.session.server = absl::GetFlag(FLAGS_server);
  options.session.worker_id = absl::GetFlag(FLAGS_worker_id);
  options.session.state_dir = absl::GetFlag(FLAGS_state_dir);
  options.session.state_every = absl::GetFlag(FLAGS_state_every);
  if (options.session.worker_id.empty() && !options.session.state_dir.empty()) {
    GRADWIRE_ASSIGN_OR_RETURN(
        options.session.worker_id,
        SavedWorkerIdOfShards(options.session.state_dir, options.session.files));
  }
  if (options.session.worker_id.empty()) options.session.worker_id = HostName();
  options.session.give_up_after = absl::GetFlag(FLAGS_give_up_after);
  options.session.stop = &stop;
  GRADWIRE_ASSIGN_OR_RETURN(options.session.security,
                            ClientSecurityFromFlags(options.session.server));
  options.loop.data = absl::GetFlag(FLAGS_data);
  options.loop.metrics_path = absl::GetFlag(FLAGS_metrics);
  options.loop.step_delay = absl::GetFlag(FLAGS_step_delay);
  options.loop.stop = &stop;
  options.role = absl::GetFlag(FLAGS_role);
  options.every = absl::GetFlag(FLAGS_every);
  options.job_path = absl::GetFlag(FLAGS_job);
  options.kernel = absl::GetFlag(FLAGS_kernel);
  GRADWIRE_ASSIGN_OR_RETURN(const MemoryLimit limit,
                            ParseMemoryLimit(absl::GetFlag(FLAGS_memory_limit)));
  options.session.admit = [data = options.loop.data, limit](const Job& job) {
    return CheckMemory(job, data, limit);
  };
  if (options.session.give_up_after < absl::ZeroDuration()) {
    return absl::InvalidArgumentError("--give_up_after is negative");
  }
  if (options.loop.step_delay < absl::ZeroDuration()) {
    return absl::InvalidArgumentError("--step_delay is negative");
  }
  if (options.role != "train" && options.role != "follow" && options.role != "evaluate") {
    return absl::InvalidArgumentError(
        absl::StrCat("--role=", options.role, " is neither train, follow nor evaluate"));
  }
  return options;
}

absl::Status RunWorker(WorkerOptions options) {
  GRADWIRE_RETURN_IF_ERROR(SetKernelTarget(options.kernel));
  UseOneBlasThread();
  if (!options.job_path.empty()) {
    GRADWIRE_ASSIGN_OR_RETURN(v1::JobConfig config, ReadJobFile(options.job_path));
    GRADWIRE_ASSIGN_OR_RETURN(const std::shared_ptr<const Job> job, MakeJob(std::move(config)));
    options.session.schema_hash = job->schema_hash;
  }
  if (options.role != "train") {
    return Watch({.observer = {.server = options.session.server,
                               .name = options.session.worker_id,
                               .give_up_after = options.session.give_up_after,
                               .schema_hash = options.session.schema_hash,
                               .stop = &stop,
                               .security = options.session.security},
                  .evaluate = options.role == "evaluate",
                  .data = options.loop.data,
                  .every = options.every});
  }
  options.session.build = absl::StrCat("gradwire ", GRADWIRE_VERSION, ", kernels ", KernelTarget(),
                                       ", BLAS core ", BlasCoreName());
  GRADWIRE_ASSIGN_OR_RETURN(const std::unique_ptr<ShardedSession> session,
                            ShardedSession::Connect(std::move(options.session)));
  const absl::Status trained = Train(options.loop, session.get());
  // Not for what this worker is or has: another try may go better.
  if (!trained.ok() && session->stopped()) return absl::AbortedError(trained.message());
  GRADWIRE_RETURN_IF_ERROR(trained);
  std::printf("final version=%llu parameters=%s\n",
              static_cast<unsigned long long>(session->version()),
              HashText(session->ParametersHash()).c_str());
  return absl::OkStatus();
}

// Returns the exit code.
int Report(const absl::Status& error) {
  std::string line(error.message());
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::fflush(stdout);
  LogEnd(line);
  return ExitCodeOf(error);
}

int Main(int argc, char** argv) {
  HandleSignals();
  SetUpLogging("gradwire-worker");
  ForwardGrpcLog();
  absl::SetProgramUsageMessage(
      "Trains the job of a gradwire server.\n  gradwire-worker --server=host:7070 --data=DIR");
  ReadingFlags(true);
  const std::vector<char*> rest = absl::ParseCommandLine(argc, argv);
  ReadingFlags(false);
  SetUpLogging("gradwire-worker", absl::GetFlag(FLAGS_log_format));
  if (rest.size() > 1) {
    return Report(absl::InvalidArgumentError(
        absl::StrCat("unknown argument \"", rest[1], "\": there are only flags, see --help")));
  }
  absl::StatusOr<WorkerOptions> options = OptionsFromFlags();
  if (!options.ok()) return Report(options.status());
  const absl::Status status = RunWorker(*std::move(options));
  if (status.ok()) return kExitDone;
  const int signal = stop.requested();
  if (signal != 0 && absl::IsCancelled(status)) {
    LogInfo(absl::StrCat("stopped by signal ", signal));
    return 128 + signal;
  }
  return Report(status);
}

}  // namespace
}  // namespace gradwire

int main(int argc, char** argv) {
  gradwire::KeepFreedMemory();
  // gRPC's locks are as they are; Debian's build looks for cycles in every one that is taken.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  return gradwire::Main(argc, argv);
}
