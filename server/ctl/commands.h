// SPDX-License-Identifier: Apache-2.0
// The commands of gradwire, one function each.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/replica/job.h"
#include "common/rpc/client_security.h"

namespace gradwire {

struct StatusOptions {
  std::string server;  // or several, as of ParseAddresses; so of ExportOptions
  std::shared_ptr<ClientSecurity> security;
  absl::Duration timeout;
};
// Prints a table of the job and its workers on stdout.
absl::Status PrintStatus(const StatusOptions& options);

struct HealthOptions {
  std::string server;  // or several, all of which must be healthy
  bool of_worker = false;
  std::string worker_id;  // empty: this host's name, as the worker has it
  std::shared_ptr<ClientSecurity> security;
  absl::Duration timeout;
};
// Whether the server says that it serves; of a worker, also that it hears that one.  Unavailable
// says what is wrong.  Each call may take `timeout`.
absl::Status CheckHealth(const HealthOptions& options);

struct ExportOptions {
  std::string server;
  std::shared_ptr<ClientSecurity> security;
  std::string out;  // a safetensors file; written whole or not at all
  absl::Duration timeout;
};
// Fetches the newest snapshot's parameters; of several shards, those at one version.
absl::Status ExportModel(const ExportOptions& options);
// The same of files: the shards' final.safetensors, in order.
absl::Status JoinSnapshotFiles(const std::vector<std::string>& paths, const std::string& out);

struct SetOptions {
  std::string server;  // of several shards, the first is asked
  std::shared_ptr<ClientSecurity> security;
  std::vector<std::string> assignments;  // NAME=VALUE, by the names of the job file
  absl::Duration timeout;
};
// Changes operational fields of the running job, and waits until the change is on the log.
// InvalidArgument: a name or a value; FailedPrecondition: the job has ended.
absl::Status SetJob(const SetOptions& options);

struct OperateOptions {
  std::string server;  // or several
  std::shared_ptr<ClientSecurity> security;
  absl::Duration timeout;
};
// Each server writes a snapshot now, and is waited for.  FailedPrecondition: no step was made yet.
absl::Status TakeSnapshots(const OperateOptions& options);
// Each server ends, its job saved, to be started again.
absl::Status DrainServers(const OperateOptions& options);
// The job ends with the open step; of several shards, the first is asked.  FailedPrecondition: it
// has not begun, or has ended.
absl::Status StopJob(const OperateOptions& options);

struct LogOptions {
  std::string state_dir;
  uint64_t from = 0;  // versions, both included
  uint64_t to = UINT64_MAX;
};
// Prints the log's segments, and a line for every record.  It only reads, as the next two: the
// server may be at work in the folder.  DataLoss: damaged, with file, offset, version and remedy.
absl::Status ShowLog(const LogOptions& options);
// Checks and replays everything that a state directory holds, and prints where it ends.  DataLoss:
// the first damage.  Aborted: the server removes files faster than they are read.
absl::Status VerifyLog(const std::string& state_dir);
// Prints a snapshot's metadata and tensors, and checks it against the manifest beside it, if there
// is one.  DataLoss: damaged.
absl::Status InspectSnapshot(const std::string& path);
// The job of a state directory.  NotFound: the folder is none.
absl::StatusOr<std::shared_ptr<const Job>> ReadStateJob(const std::string& state_dir);

// Replaces this process by gradwire-worker with --role=ROLE and `flags`, which end with a null.
// Returns only when that cannot be started.
absl::Status BecomeWorker(absl::string_view role, char** flags);

// A job for the trainer's models, in the notation of the command line.
struct JobOptions {
  std::string name;
  std::string model;  // logistic | mlp:256,128 | quadratic_saddle:dimension=1000,...
  std::string codec;
  std::string optimizer;
  std::string schedule;  // several, separated by ";"
  std::string perturbation;
  std::string error_feedback;
  std::string downlink;
  std::string reset;
  std::string clip;
  std::string aggregator;
  double max_norm_factor = 0;
  std::string tensors;  // PATTERN=CODEC, separated by ';'
  uint64_t steps = 0;
  uint64_t seed = 0;
  uint32_t workers = 0;
  uint32_t batch = 0;
  uint64_t eval_every = 0;
  uint32_t inputs = 0;
  uint32_t classes = 0;
};
// Prints the job file on stdout, after checking it as the server would.
// A table of a registry as it stands in README (Markdown).  `what`: codecs, optimizers, schedules
// or perturbations.
absl::Status PrintList(absl::string_view what);

absl::Status PrintJob(const JobOptions& options);

}  // namespace gradwire
