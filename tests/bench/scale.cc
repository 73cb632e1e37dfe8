// SPDX-License-Identifier: Apache-2.0
// What a round costs a server, with as many workers and parameters as you like.
//
//   scale SERVER WORKERS DIMENSION KEPT [SECONDS [SNAPSHOTS]]     5 seconds, no snapshot
//
// Starts the program SERVER (gradwire-server) with a job of one tensor, codec random_k that keeps
// KEPT coordinates of DIMENSION in all, and plain sgd, and gives it WORKERS simulated workers: each
// with a connection, a lease, heartbeats and a Train stream.  After a second of warming up it
// counts rounds for so long, and prints a JSON object: the server's CPU time (all its threads, as
// the kernel counts it), its resident memory, and what a worker sends and receives in a round.
// Exit code 1 and a line on stderr when anything went wrong: no worker may be lost, no payload left
// out.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/base/clock.h"
#include "common/replica/job.h"
#include "tests/bench/simulated_workers.h"

extern char** environ;

namespace gradwire {
namespace {

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "scale: %s\n", std::string(status.message()).c_str());
  std::exit(1);
}

// The server's process, ended with this object.
class ServerProcess {
 public:
  ServerProcess(const std::string& program, const std::string& folder, const std::string& job,
                bool snapshots) {
    std::vector<std::string> flags = {program, "--job=" + folder + "/job.textproto",
                                      "--listen=127.0.0.1:0", "--state_dir=" + folder + "/s"};
    if (!snapshots) flags.push_back("--snapshot_after=1000000000000");
    std::ofstream(folder + "/job.textproto") << job;
    int out[2];
    if (pipe2(out, O_CLOEXEC) != 0) Require(absl::UnavailableError("no pipe"));
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    const std::string errors = folder + "/server.err";
    posix_spawn_file_actions_addopen(&actions, 2, errors.c_str(), O_WRONLY | O_CREAT, 0600);
    std::vector<char*> argv;
    for (const std::string& flag : flags) argv.push_back(const_cast<char*>(flag.c_str()));
    argv.push_back(nullptr);
    if (posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv.data(), environ) != 0) {
      Require(absl::NotFoundError(absl::StrCat(program, " cannot be started")));
    }
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    FILE* const lines = fdopen(out[0], "r");
    char line[256] = {};
    absl::string_view text = std::fgets(line, sizeof(line), lines) == nullptr ? "" : line;
    if (!absl::ConsumePrefix(&text, "listening on ")) {
      Require(absl::UnavailableError(absl::StrCat("the server does not start: see ", errors)));
    }
    address_ = std::string(absl::StripSuffix(text, "\n"));
    clock_getcpuclockid(pid_, &cpu_clock_);
  }
  ~ServerProcess() { End(); }

  const std::string& address() const { return address_; }

  absl::Duration CpuTime() const {
    timespec time = {};
    clock_gettime(cpu_clock_, &time);
    return absl::DurationFromTimespec(time);
  }

  // Kilobytes, by its name in /proc/PID/status.
  double Memory(const std::string& name) const {
    std::ifstream status(absl::StrCat("/proc/", pid_, "/status"));
    for (std::string word; status >> word;) {
      double kilobytes = 0;
      if (word == name + ":" && status >> kilobytes) return kilobytes;
    }
    return 0;
  }

  // Its exit code.
  int End() {
    if (pid_ == 0) return 0;
    int status = 0;
    kill(pid_, SIGTERM);
    waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  pid_t pid_ = 0;
  clockid_t cpu_clock_ = 0;
  std::string address_;
};

struct Arguments {
  std::string server;
  size_t workers = 1;
  size_t dimension = 1000000;
  size_t kept = 10000;
  double seconds = 5;
  bool snapshots = false;
};

std::string JobFile(const Arguments& arguments) {
  return absl::StrFormat(
      "name: 'scale' model { tensors { tensor { name: 'w' shape: %d init: 'constant:1' } } }\n"
      "steps: 1000000000 codec: 'random_k:%.17g' optimizer: 'sgd:lr=0.1' snapshot_every: %d\n"
      "membership { workers: %d }\n",
      arguments.dimension,
      static_cast<double>(arguments.kept) / static_cast<double>(arguments.dimension),
      arguments.snapshots ? 1000 : 1000000000, arguments.workers);
}

// Sends every worker's heartbeat three times a lease, spread evenly, until told to stop.
class Heartbeats {
 public:
  explicit Heartbeats(std::vector<std::unique_ptr<SimulatedWorker>>* workers)
      : thread_([this, workers] {
          constexpr double kThirdOfLease = 10.0 / 3;
          const auto pause = std::chrono::duration<double>(kThirdOfLease / workers->size());
          for (size_t i = 0; !stop_; i = (i + 1) % workers->size()) {
            (*workers)[i]->Beat();
            std::this_thread::sleep_for(std::min<std::chrono::duration<double>>(
                pause, std::chrono::duration<double>(kThirdOfLease)));
          }
        }) {}
  ~Heartbeats() {
    stop_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// Sleeps, and ends the program when a worker has failed.
void Wait(double seconds, const SharedSteps& steps) {
  const absl::Duration end = SteadyClock().Now() + absl::Seconds(seconds);
  while (SteadyClock().Now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    Require(steps.failure());
  }
}

struct Measured {
  absl::Duration wall;
  absl::Duration cpu;
  uint64_t rounds = 0;
};

Measured Measure(const ServerProcess& server, double seconds, const SharedSteps& steps) {
  const absl::Duration begin = SteadyClock().Now();
  const absl::Duration cpu = server.CpuTime();
  const uint64_t version = steps.counts().version;
  Wait(seconds, steps);
  return {.wall = SteadyClock().Now() - begin,
          .cpu = server.CpuTime() - cpu,
          .rounds = steps.counts().version - version};
}

void Print(const Arguments& arguments, const Measured& measured, const ServerProcess& server,
           double memory_before, const SharedSteps& steps) {
  const SharedSteps::Counts counts = steps.counts();
  const auto rounds = static_cast<double>(measured.rounds);
  std::printf(
      "{\"workers\": %zu, \"dimension\": %zu, \"kept\": %zu, \"rounds\": %.0f, "
      "\"rounds_per_second\": %.2f, \"cpu_ms_per_round\": %.4f, \"cpu_share\": %.3f, "
      "\"memory_mb\": %.1f, \"peak_mb\": %.1f, \"mb_for_workers\": %.1f, \"messages_up\": %zu, "
      "\"messages_down\": %zu, \"up_bytes\": %zu, \"down_bytes\": %zu}\n",
      arguments.workers, arguments.dimension, arguments.kept, rounds,
      rounds / absl::ToDoubleSeconds(measured.wall),
      absl::ToDoubleMilliseconds(measured.cpu) / rounds,
      absl::FDivDuration(measured.cpu, measured.wall), server.Memory("VmRSS") / 1024,
      server.Memory("VmHWM") / 1024, (server.Memory("VmHWM") - memory_before) / 1024,
      counts.messages_up, counts.messages_down, counts.up_bytes, counts.down_bytes);
}

void Run(const Arguments& arguments, const std::string& folder) {
  const std::string text = JobFile(arguments);
  auto config = ParseJobText(text);
  Require(config.status());
  auto job = MakeJob(*std::move(config));
  Require(job.status());
  ServerProcess server(arguments.server, folder, text, arguments.snapshots);
  const double memory_before = server.Memory("VmHWM");
  SharedSteps steps(*std::move(job), arguments.workers);
  std::vector<std::unique_ptr<SimulatedWorker>> workers;
  for (size_t i = 0; i < arguments.workers; ++i) {
    const std::string id = absl::StrFormat("worker-%04d", i);
    workers.push_back(std::make_unique<SimulatedWorker>(server.address(), id, &steps));
    Require(workers.back()->Join());
  }
  {
    const Heartbeats heartbeats(&workers);
    for (const auto& worker : workers) worker->Start();
    while (steps.counts().version < 3) Wait(0.01, steps);
    Wait(1, steps);
    const Measured measured = Measure(server, arguments.seconds, steps);
    if (measured.rounds == 0) Require(absl::DeadlineExceededError("no round has ended"));
    Print(arguments, measured, server, memory_before, steps);
  }
  for (const auto& worker : workers) worker->Stop();
  const int code = server.End();
  if (code != 0) Require(absl::InternalError(absl::StrCat("the server ended with ", code)));
}

int Main(int argc, char** argv) {
  Arguments arguments;
  if (argc < 5 || !absl::SimpleAtoi(argv[2], &arguments.workers) || arguments.workers == 0 ||
      !absl::SimpleAtoi(argv[3], &arguments.dimension) ||
      !absl::SimpleAtoi(argv[4], &arguments.kept)) {
    std::fprintf(stderr, "usage: scale SERVER WORKERS DIMENSION KEPT [SECONDS [SNAPSHOTS]]\n");
    return 2;
  }
  arguments.server = argv[1];
  if (argc > 5) arguments.seconds = std::strtod(argv[5], nullptr);
  arguments.snapshots = argc > 6 && std::strtol(argv[6], nullptr, 10) != 0;
  std::string folder = std::filesystem::temp_directory_path().string() + "/gradwire-scale-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) Require(absl::UnavailableError("no temporary folder"));
  Run(arguments, folder);
  std::filesystem::remove_all(folder);
  return 0;
}

}  // namespace
}  // namespace gradwire

int main(int argc, char** argv) { return gradwire::Main(argc, argv); }
