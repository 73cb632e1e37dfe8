// SPDX-License-Identifier: Apache-2.0
// gradwire-server: reads the flags, serves one job, ends when it has ended.
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/allocator.h"
#include "common/base/exit_code.h"
#include "common/base/log.h"
#include "common/base/log_flag.h"
#include "common/base/machine.h"
#include "common/base/parallel.h"
#include "common/base/status_macros.h"
#include "common/kernels/target.h"
#include "common/replica/job.h"
#include "common/replica/snapshot.h"
#include "common/rpc/grpc_log.h"
#include "server/admin/http_flags.h"
#include "server/security_flags.h"
#include "server/server.h"
#include "server/server_memory.h"
#include "server/summary.h"

ABSL_FLAG(std::string, job, "", "Job file, .textproto or .json; required.");
ABSL_FLAG(std::string, listen, "127.0.0.1:7070", "HOST:PORT to serve on; port 0 picks a free one.");
ABSL_FLAG(std::string, state_dir, "",
          "Folder for the log and snapshots, from which a restarted server goes on; a temporary "
          "one, removed at the end, when empty.");
ABSL_FLAG(std::string, shard, "0/1",
          "INDEX/COUNT: this server has one of COUNT runs of the job's blocks; shard 0 leads.");
ABSL_FLAG(std::string, fsync, "interval:100ms",
          "When the log is made to last over a power cut: always (before an update is published), "
          "interval:DURATION, or never.  A killed process loses nothing in any case.");
ABSL_FLAG(uint64_t, log_retain, uint64_t{1} << 30,
          "Bytes of log kept at most for workers that may come back with a saved state.");
ABSL_FLAG(uint32_t, snapshots, 2, "So many snapshots are kept.");
ABSL_FLAG(uint64_t, snapshot_after, uint64_t{128} << 20,
          "A snapshot at the latest after so many bytes of log, whatever snapshot_every says; the "
          "training waits for a disk that lets twice as many come between two.");
ABSL_FLAG(double, snapshot_rate, 100,
          "MB/s at which snapshots are sent to all who ask for one together, so that the training "
          "does not wait for them: at most a sixth of the network's speed; 0: no bound.");
ABSL_FLAG(
    std::string, when_done, "exit",
    "When the job has ended: exit, or serve the final model until SIGTERM (for an orchestrator "
    "that starts again whatever exits).");
ABSL_FLAG(std::string, summary, "", "File for a JSON summary when the job ends.");
ABSL_FLAG(std::string, kernel, "auto",
          "Instruction set: auto, scalar, sse4, avx2, avx512 or neon.");
ABSL_FLAG(std::string, memory_limit, "auto",
          "A job that needs more memory is refused at start, with the sum shown: auto (the control "
          "group's, or the machine's), none, or bytes, as 16GiB.");
ABSL_FLAG(absl::Duration, drain, absl::Seconds(5), "Longest wait for the open step at SIGTERM.");

namespace gradwire {
namespace {

constexpr size_t kLeastSnapshotAfter = size_t{1} << 16;

// A folder that goes with the process.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) {}
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }

 private:
  const std::string path_;
};

absl::StatusOr<std::string> MakeTemporaryFolder() {
  std::string path = std::filesystem::temp_directory_path().string() + "/gradwire-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("no temporary folder can be made as ", path, "; name one with --state_dir"));
  }
  return path;
}

// Or an operator's call did.
bool SignalCame(const sigset_t& signals, const Coordinator& coordinator) {
  const timespec poll = {.tv_sec = 0, .tv_nsec = 50'000'000};
  return sigtimedwait(&signals, nullptr, &poll) > 0 || coordinator.drain_asked();
}

absl::Status CheckMemory(const Job& job, const ServerOptions& options) {
  const MemoryNeed need =
      ServerMemoryNeed(job, {.in_flight = CoordinatorOptions().max_waiting_bytes,
                             .stream_window = options.stream_window,
                             .cached_log = options.history.max_cached_bytes,
                             .threads = ParallelThreads()});
  GRADWIRE_ASSIGN_OR_RETURN(const MemoryLimit limit,
                            ParseMemoryLimit(absl::GetFlag(FLAGS_memory_limit)));
  GRADWIRE_RETURN_IF_ERROR(CheckMemory("the server", need, limit));
  LogInfo(absl::StrCat("memory: at most about ", need.total(), " bytes: ", need.Text()));
  return absl::OkStatus();
}

// The summary, and, if the job has ended, the line that says with what.
absl::Status ReportEnd(const Job& job, const Coordinator::Result& result,
                       const ServerCounters& counters) {
  if (const std::string path = absl::GetFlag(FLAGS_summary); !path.empty()) {
    GRADWIRE_RETURN_IF_ERROR(WriteFileAtomically(path, SummaryJson(job, result, counters)));
  }
  if (result.phase != Phase::kFinished) return absl::OkStatus();
  std::printf("final version=%llu parameters=%s\n", static_cast<unsigned long long>(result.version),
              HashText(result.parameters_hash).c_str());
  std::fflush(stdout);
  return absl::OkStatus();
}

absl::Status Run(const sigset_t& signals) {
  if (absl::GetFlag(FLAGS_job).empty()) {
    return absl::InvalidArgumentError("--job=FILE is required");
  }
  const bool serves = absl::GetFlag(FLAGS_when_done) == "serve";
  if (!serves && absl::GetFlag(FLAGS_when_done) != "exit") {
    return absl::InvalidArgumentError(
        absl::StrCat("--when_done=", absl::GetFlag(FLAGS_when_done), " is neither exit nor serve"));
  }
  GRADWIRE_RETURN_IF_ERROR(SetKernelTarget(absl::GetFlag(FLAGS_kernel)));
  GRADWIRE_ASSIGN_OR_RETURN(const Shard shard, ParseShard(absl::GetFlag(FLAGS_shard)));
  GRADWIRE_ASSIGN_OR_RETURN(v1::JobConfig config, ReadJobFile(absl::GetFlag(FLAGS_job)));
  GRADWIRE_ASSIGN_OR_RETURN(std::shared_ptr<const Job> job, MakeJob(std::move(config), shard));
  ServerOptions options;
  options.listen = absl::GetFlag(FLAGS_listen);
  options.security = SecurityFromFlags();
  options.history.state_dir = absl::GetFlag(FLAGS_state_dir);
  options.history.log_retain = absl::GetFlag(FLAGS_log_retain);
  options.history.snapshots_kept = absl::GetFlag(FLAGS_snapshots);
  if (options.history.snapshots_kept == 0) {
    return absl::InvalidArgumentError("--snapshots=0: at least 1 is kept, to start from");
  }
  options.history.snapshot_bytes = absl::GetFlag(FLAGS_snapshot_after);
  if (options.history.snapshot_bytes < kLeastSnapshotAfter) {
    return absl::InvalidArgumentError(
        absl::StrCat("--snapshot_after=", options.history.snapshot_bytes, ": at least ",
                     kLeastSnapshotAfter, " bytes are needed"));
  }
  const double snapshot_rate = absl::GetFlag(FLAGS_snapshot_rate);
  if (!(snapshot_rate >= 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--snapshot_rate=", snapshot_rate, ": MB/s, at least 0 (no bound)"));
  }
  options.models.bytes_per_second = snapshot_rate * 1e6;
  GRADWIRE_ASSIGN_OR_RETURN(options.history.fsync, ParseFsyncPolicy(absl::GetFlag(FLAGS_fsync)));
  GRADWIRE_RETURN_IF_ERROR(CheckMemory(*job, options));
  std::string temporary;
  if (options.history.state_dir.empty()) {
    GRADWIRE_ASSIGN_OR_RETURN(temporary, MakeTemporaryFolder());
    options.history.state_dir = temporary;
  }
  const TemporaryFolder cleanup(temporary);
  GRADWIRE_RETURN_IF_ERROR(CheckHttpFlags());
  GRADWIRE_ASSIGN_OR_RETURN(std::unique_ptr<Server> server, Server::Start(options, job));
  GRADWIRE_ASSIGN_OR_RETURN(
      const HttpEdge http,
      StartHttp(&server->coordinator(), &server->counters(), options.history.state_dir));
  LogInfo(absl::StrCat("job \"", job->config.name(), "\": ", job->layout.dimension(),
                       " parameters, codec ", job->config.codec(), ", optimizer ",
                       job->config.optimizer(), ", kernels ", KernelTarget()));
  if (!shard.alone()) {
    LogInfo(absl::StrCat("shard ", ShardText(shard), ": blocks ", job->layout.first_block(), " to ",
                         job->layout.first_block() + job->layout.blocks() - 1, " of the job"));
  }
  for (const std::string& warning : JobWarnings(*job)) LogWarning(warning);
  std::printf("listening on %s\n", server->address().c_str());
  std::fflush(stdout);

  bool signalled = false;
  Coordinator::Result result;
  do {
    signalled = SignalCame(signals, server->coordinator());
    result = server->coordinator().WaitForEnd(absl::ZeroDuration());
  } while (!signalled && result.phase != Phase::kFinished && result.phase != Phase::kFailed);
  if (result.phase == Phase::kFinished) {
    GRADWIRE_RETURN_IF_ERROR(ReportEnd(*job, result, server->counters()));
    if (serves) {
      LogInfo("serving the final model until SIGTERM (--when_done=serve)");
      while (!signalled) signalled = SignalCame(signals, server->coordinator());
    }
  } else if (signalled) {
    LogInfo("shutting down: the open step may finish");
    GRADWIRE_RETURN_IF_ERROR(server->coordinator().Drain(absl::GetFlag(FLAGS_drain)));
    result = server->coordinator().WaitForEnd(absl::ZeroDuration());
  }
  server->Shutdown(absl::Seconds(2));
  if (result.phase != Phase::kFinished) {
    GRADWIRE_RETURN_IF_ERROR(ReportEnd(*job, result, server->counters()));
  }
  return result.failure;
}

}  // namespace
}  // namespace gradwire

int main(int argc, char** argv) {
  gradwire::KeepFreedMemory();
  // gRPC's locks are as they are; Debian's build looks for cycles in every one that is taken.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  // Before any thread exists, so that all of them leave these signals to us.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  absl::SetProgramUsageMessage("gradwire-server --job=FILE [--listen=HOST:PORT] ...");
  gradwire::ReadingFlags(true);
  const std::vector<char*> rest = absl::ParseCommandLine(argc, argv);
  gradwire::ReadingFlags(false);
  gradwire::SetUpLogging("gradwire-server", absl::GetFlag(FLAGS_log_format));
  gradwire::ForwardGrpcLog();
  gradwire::SetParallelThreads(gradwire::UsableCores());
  if (rest.size() > 1) {
    gradwire::LogEnd(absl::StrCat("unexpected argument \"", rest[1], "\""));
    return gradwire::kExitNever;
  }
  const absl::Status status = gradwire::Run(signals);
  if (!status.ok()) {
    gradwire::LogEnd(status.message());
  }
  return gradwire::ExitCodeOf(status);
}
