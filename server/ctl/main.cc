// SPDX-License-Identifier: Apache-2.0
// gradwire: the command for those who start and watch jobs.
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/rpc/client_flags.h"
#include "server/ctl/certs_flags.h"
#include "server/ctl/commands.h"

namespace {
constexpr char kModelFile[] = "model.safetensors";
}  // namespace

ABSL_FLAG(std::string, server, "127.0.0.1:7070",
          "HOST:PORT of the server; of all shards, in order: a:1,b:2 or host-{0..1}:7070.");
ABSL_FLAG(absl::Duration, timeout, absl::Seconds(10), "Longest wait for the server's answer.");
ABSL_FLAG(std::string, out, kModelFile,
          "export, snapshot join: the file to write; certs: the folder to write into.");
ABSL_FLAG(std::string, state_dir, "", "log: the server's state directory.");
ABSL_FLAG(uint64_t, from, 0, "log show: the first version.");
ABSL_FLAG(uint64_t, to, UINT64_MAX, "log show: the last version.");
ABSL_FLAG(std::string, name, "job", "job: its name.");
ABSL_FLAG(std::string, model, "mlp:256,128",
          "job: logistic, mlp:WIDTH,WIDTH,... or quadratic_saddle:dimension=N,...");
ABSL_FLAG(std::string, codec, "random_k:0.01", "job: codec.");
ABSL_FLAG(std::string, optimizer, "sgd:lr=0.1", "job: optimizer.");
ABSL_FLAG(std::string, schedule, "", "job: factors on the learning rate, separated by ';'.");
ABSL_FLAG(std::string, perturbation, "", "job: noise on gradients, as in gaussian:0.001.");
ABSL_FLAG(std::string, error_feedback, "", "job: auto, none, classic, ef21 or ef21_sgdm:beta=B.");
ABSL_FLAG(std::string, downlink, "", "job: auto, aggregate or compressed.");
ABSL_FLAG(std::string, reset, "", "job: of residuals: none, reset:steps=N or flush:steps=N.");
ABSL_FLAG(std::string, clip, "", "job: of the aggregate: none, norm:LIMIT or value:LIMIT.");
ABSL_FLAG(std::string, aggregator, "",
          "job: mean, trimmed_mean:trim=T, coordinate_median or norm_clip:factor=F.");
ABSL_FLAG(double, max_norm_factor, 0,
          "job: payloads above so many times the median norm are left out; 0: none.");
ABSL_FLAG(std::string, tensors, "", "job: other codecs for some: '*.bias=identity;x=top_k:0.1'.");
ABSL_FLAG(uint64_t, steps, 2000, "job: how many.");
ABSL_FLAG(uint64_t, seed, 1, "job: of everything random.");
ABSL_FLAG(uint32_t, workers, 4, "job: the first step waits for so many.");
ABSL_FLAG(uint32_t, batch, 64, "job: samples per worker and step.");
ABSL_FLAG(uint64_t, eval_every, 200, "job: steps between evaluations.");
ABSL_FLAG(uint32_t, inputs, 784, "job: features of a sample.");
ABSL_FLAG(uint32_t, classes, 10, "job: of the samples.");

namespace gradwire {
namespace {

constexpr char kUsage[] =
    "gradwire COMMAND [--flag=value ...]\n"
    "  status            a table of the job and its workers   (--server)\n"
    "  health            ends with 0 when the server serves, else with 1      (--server, "
    "--timeout)\n"
    "  health worker     also that the server hears this host's worker, or the one named: "
    "health worker ID\n"
    "  export            the newest snapshot's parameters     (--server, --out)\n"
    "  set               changes the running job: set steps=5000 membership.min_workers=2 "
    "  (--server)\n"
    "  snapshot          the server writes a snapshot now     (--server)\n"
    "  drain             ends the server, the job saved       (--server)\n"
    "  stop              ends the job with the open step      (--server)\n"
    "  follow            version and loss of every update     (--server)\n"
    "  evaluate          accuracy, as the training goes on    (--server, --data, --every)\n"
    "  log show          a line for every record              (--state_dir, --from, --to)\n"
    "  log verify        checks and replays everything        (--state_dir)\n"
    "  snapshot inspect  metadata and tensors of FILE\n"
    "  snapshot join     one file of all shards' final.safetensors: join FILE0 FILE1 ...  (--out)\n"
    "  list              what there is to choose: list codecs | optimizers | aggregators | "
    "schedules | perturbations\n"
    "  job               prints a job file                    (--model, --codec, --optimizer, "
    "--steps, ...)\n"
    "  certs             a test authority, and certificates for server, workers, follower, admin\n"
    "                                                         (--out, --hosts, --worker_ids)\n"
    "log and snapshot only read, also beside a running server; they end with 2 when something is "
    "damaged.";

// Commands that the worker's program carries out.
bool IsRole(absl::string_view command) { return command == "follow" || command == "evaluate"; }

// 2: what was read is damaged, or does not belong together.
int ExitCode(const absl::Status& status) {
  if (status.ok()) return 0;
  return absl::IsDataLoss(status) || absl::IsFailedPrecondition(status) ? 2 : 1;
}

absl::Status PrintJobOfFlags() {
  return PrintJob({.name = absl::GetFlag(FLAGS_name),
                   .model = absl::GetFlag(FLAGS_model),
                   .codec = absl::GetFlag(FLAGS_codec),
                   .optimizer = absl::GetFlag(FLAGS_optimizer),
                   .schedule = absl::GetFlag(FLAGS_schedule),
                   .perturbation = absl::GetFlag(FLAGS_perturbation),
                   .error_feedback = absl::GetFlag(FLAGS_error_feedback),
                   .downlink = absl::GetFlag(FLAGS_downlink),
                   .reset = absl::GetFlag(FLAGS_reset),
                   .clip = absl::GetFlag(FLAGS_clip),
                   .aggregator = absl::GetFlag(FLAGS_aggregator),
                   .max_norm_factor = absl::GetFlag(FLAGS_max_norm_factor),
                   .tensors = absl::GetFlag(FLAGS_tensors),
                   .steps = absl::GetFlag(FLAGS_steps),
                   .seed = absl::GetFlag(FLAGS_seed),
                   .workers = absl::GetFlag(FLAGS_workers),
                   .batch = absl::GetFlag(FLAGS_batch),
                   .eval_every = absl::GetFlag(FLAGS_eval_every),
                   .inputs = absl::GetFlag(FLAGS_inputs),
                   .classes = absl::GetFlag(FLAGS_classes)});
}

absl::Status RunHealth(const std::vector<std::string>& operands) {
  if (operands.size() > 2 || (!operands.empty() && operands[0] != "worker")) {
    return absl::InvalidArgumentError(
        absl::StrCat("gradwire health, health worker or health worker ID is needed\n", kUsage));
  }
  GRADWIRE_ASSIGN_OR_RETURN(auto security, ClientSecurityFromFlags(absl::GetFlag(FLAGS_server)));
  return CheckHealth({.server = absl::GetFlag(FLAGS_server),
                      .of_worker = !operands.empty(),
                      .worker_id = operands.size() == 2 ? operands[1] : "",
                      .security = std::move(security),
                      .timeout = absl::GetFlag(FLAGS_timeout)});
}

absl::Status Operate(absl::Status (*what)(const OperateOptions&)) {
  GRADWIRE_ASSIGN_OR_RETURN(auto security, ClientSecurityFromFlags(absl::GetFlag(FLAGS_server)));
  return what({.server = absl::GetFlag(FLAGS_server),
               .security = std::move(security),
               .timeout = absl::GetFlag(FLAGS_timeout)});
}

// --out, where it is given.
std::string CertsFolder() {
  const std::string out = absl::GetFlag(FLAGS_out);
  return out == kModelFile ? "" : out;
}

// Commands of two words.
absl::Status RunOnFiles(const std::string& command, const std::vector<std::string>& operands) {
  if (command == "snapshot inspect" && operands.size() == 1) return InspectSnapshot(operands[0]);
  if (command == "snapshot join" && !operands.empty()) {
    return JoinSnapshotFiles(operands, absl::GetFlag(FLAGS_out));
  }
  const std::string state_dir = absl::GetFlag(FLAGS_state_dir);
  if (operands.empty() && (command == "log show" || command == "log verify")) {
    if (state_dir.empty()) return absl::InvalidArgumentError("log needs --state_dir=DIR");
    if (command == "log verify") return VerifyLog(state_dir);
    return ShowLog(
        {.state_dir = state_dir, .from = absl::GetFlag(FLAGS_from), .to = absl::GetFlag(FLAGS_to)});
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown command \"", command, "\", or with ",
                                                 operands.size(), " operands\n", kUsage));
}

absl::Status Run(const std::vector<std::string>& words) {
  if (words.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("one command is needed\n", kUsage));
  }
  const std::string& command = words[0];
  if (command == "list" && words.size() <= 2) return PrintList(words.size() == 2 ? words[1] : "");
  if (command == "set") {
    GRADWIRE_ASSIGN_OR_RETURN(auto security, ClientSecurityFromFlags(absl::GetFlag(FLAGS_server)));
    return SetJob({.server = absl::GetFlag(FLAGS_server),
                   .security = std::move(security),
                   .assignments = {words.begin() + 1, words.end()},
                   .timeout = absl::GetFlag(FLAGS_timeout)});
  }
  if (command == "health") return RunHealth({words.begin() + 1, words.end()});
  if (words.size() > 1) {
    return RunOnFiles(absl::StrCat(command, " ", words[1]), {words.begin() + 2, words.end()});
  }
  if (command == "status") {
    GRADWIRE_ASSIGN_OR_RETURN(auto security, ClientSecurityFromFlags(absl::GetFlag(FLAGS_server)));
    return PrintStatus({.server = absl::GetFlag(FLAGS_server),
                        .security = std::move(security),
                        .timeout = absl::GetFlag(FLAGS_timeout)});
  }
  if (command == "export") {
    GRADWIRE_ASSIGN_OR_RETURN(auto security, ClientSecurityFromFlags(absl::GetFlag(FLAGS_server)));
    return ExportModel({.server = absl::GetFlag(FLAGS_server),
                        .security = std::move(security),
                        .out = absl::GetFlag(FLAGS_out),
                        .timeout = absl::GetFlag(FLAGS_timeout)});
  }
  if (command == "snapshot") return Operate(&TakeSnapshots);
  if (command == "drain") return Operate(&DrainServers);
  if (command == "stop") return Operate(&StopJob);
  if (command == "certs") return MakeCertsOfFlags(CertsFolder(), absl::GetFlag(FLAGS_workers));
  if (command == "job") return PrintJobOfFlags();
  if (IsRole(command)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", command, "\" must stand before its flags: gradwire ", command, " --..."));
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown command \"", command, "\"\n", kUsage));
}

}  // namespace
}  // namespace gradwire

int main(int argc, char** argv) {
  absl::Status status;
  if (argc > 1 && gradwire::IsRole(argv[1])) {
    status = gradwire::BecomeWorker(argv[1], argv + 2);  // before its flags are taken for ours
  } else {
    absl::SetProgramUsageMessage(gradwire::kUsage);
    const std::vector<char*> arguments = absl::ParseCommandLine(argc, argv);
    gradwire::SetUpLogging("gradwire");
    status = gradwire::Run({arguments.begin() + 1, arguments.end()});
  }
  if (!status.ok()) {
    std::fflush(stdout);
    std::fprintf(stderr, "gradwire: %s\n", std::string(status.message()).c_str());
  }
  return gradwire::ExitCode(status);
}
