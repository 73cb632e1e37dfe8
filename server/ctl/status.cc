// SPDX-License-Identifier: Apache-2.0
// gradwire status: the job and its workers as a table.
#include <grpcpp/grpcpp.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/address_list.h"
#include "common/base/status_macros.h"
#include "gradwire/v1/admin.grpc.pb.h"
#include "server/ctl/call.h"
#include "server/ctl/commands.h"

namespace gradwire {
namespace {

double PerStep(uint64_t bytes, uint64_t steps) {
  return steps == 0 ? 0 : static_cast<double>(bytes) / static_cast<double>(steps);
}

// "0: 12, 1: 30"; nothing for a job that is not ASYNC.
template <typename Counts>
std::string Histogram(absl::string_view name, const Counts& counts) {
  std::vector<std::string> bars;
  for (int i = 0; i < counts.size(); ++i) {
    if (counts[i] > 0) bars.push_back(absl::StrCat(i, ": ", counts[i]));
  }
  if (bars.empty()) return "";
  return absl::StrFormat("%-10s %s payloads\n", name, absl::StrJoin(bars, ", "));
}

std::string ShardName(const v1::GetStatusResponse& status) {
  if (!status.has_shard()) return "";
  return absl::StrFormat(", shard %d/%d", status.shard().index(), status.shard().count());
}

std::string JobTable(const v1::GetStatusResponse& status) {
  std::string out = absl::StrFormat(
      "job        %s%s (%s)\n"
      "version    %d of %d, %.1f steps/s\n"
      "model      %d parameters, codec %s, optimizer %s\n"
      "loss       %.4f\n",
      status.job().name(), ShardName(status), status.phase(), status.point().version(),
      status.job().steps(), status.steps_per_second(), status.dimension(), status.job().codec(),
      status.job().optimizer(), status.loss());
  if (status.job().learning_rate() > 0) {
    absl::StrAppendFormat(&out, "rate       %g in place of the optimizer's\n",
                          status.job().learning_rate());
  }
  for (const v1::Metric& metric : status.evaluation().metrics()) {
    absl::StrAppendFormat(&out, "%-10s %.4f at version %d\n", metric.name(), metric.value(),
                          status.evaluation().version());
  }
  const v1::Traffic& traffic = status.traffic();
  absl::StrAppendFormat(&out, "traffic    %.0f bytes up, %.0f down, per worker and step\n",
                        PerStep(traffic.up_wire_bytes(), traffic.worker_steps()),
                        PerStep(traffic.down_wire_bytes(), traffic.worker_steps()));
  absl::StrAppendFormat(&out,
                        "payloads   %d late, %d duplicate blocks, %d refused, %d abstained, "
                        "%d too large\n",
                        status.payloads_late(), status.payloads_duplicate(),
                        status.payloads_refused(), status.payloads_abstained(),
                        status.payloads_too_large());
  return absl::StrCat(out, Histogram("staleness", status.staleness()),
                      Histogram("lead", status.lead()));
}

// "  3 refused, 12 too large"; mostly nothing.
std::string RejectsText(const v1::WorkerStatus& worker) {
  std::vector<std::string> rejects;
  if (worker.payloads_refused() > 0) {
    rejects.push_back(absl::StrCat(worker.payloads_refused(), " refused"));
  }
  if (worker.payloads_too_large() > 0) {
    rejects.push_back(absl::StrCat(worker.payloads_too_large(), " too large"));
  }
  return rejects.empty() ? "" : absl::StrCat("  ", absl::StrJoin(rejects, ", "));
}

std::string WorkerTable(const v1::GetStatusResponse& status) {
  std::string out = absl::StrFormat("\n%-24s %5s %5s %-13s %9s %10s  %s\n", "worker", "rank",
                                    "inc.", "state", "step", "heard", "peer");
  for (const v1::WorkerStatus& worker : status.workers()) {
    absl::StrAppendFormat(&out, "%-24s %5d %5d %-13s %9d %8.1f s  %s%s%s%s\n", worker.id(),
                          worker.rank(), worker.incarnation(), worker.state(), worker.step(),
                          worker.last_heard_seconds(), worker.peer(), RejectsText(worker),
                          worker.note().empty() ? "" : "  ", worker.note());
  }
  return out;
}

absl::Status PrintStatusOf(const std::string& server, const StatusOptions& options) {
  const auto stub = v1::Admin::NewStub(options.security->NewChannel(server));
  grpc::ClientContext context;
  PrepareCall(options.security.get(), options.timeout, &context);
  v1::GetStatusResponse status;
  const grpc::Status answer = stub->GetStatus(&context, v1::GetStatusRequest(), &status);
  if (!answer.ok()) return CallError(options.security.get(), server, answer);
  std::fputs((JobTable(status) + WorkerTable(status)).c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace

// What one shard does not answer hides nothing of the others.
absl::Status PrintStatus(const StatusOptions& options) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::vector<std::string> servers, ParseAddresses(options.server));
  absl::Status first;
  for (size_t k = 0; k < servers.size(); ++k) {
    if (k > 0) std::fputs("\n", stdout);
    const absl::Status status = PrintStatusOf(servers[k], options);
    if (first.ok()) first = status;
  }
  return first;
}

}  // namespace gradwire
