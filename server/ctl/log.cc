// SPDX-License-Identifier: Apache-2.0
// gradwire log show: a line for every record of a log.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/replica/job.h"
#include "common/replica/settings.h"
#include "gradwire/v1/gradient.pb.h"
#include "server/ctl/commands.h"
#include "server/ctl/log_reader.h"
#include "server/state_directory.h"

namespace gradwire {
namespace {

constexpr size_t kShortHash = 8;  // digits

// What a record says of its update depends on the header before it.
class Printer {
 public:
  Printer(uint64_t from, uint64_t to) : from_(from), to_(to) {}

  absl::Status Print(const RecordView& record) {
    uint64_t payload_bytes = 0;
    v1::UpdatePart part;
    for (const absl::string_view bytes : record.parts) {
      if (!part.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
        return absl::DataLossError(
            absl::StrCat("record ", record.version, " has a part that is no UpdatePart"));
      }
      for (const v1::BlockPayload& block : part.blocks()) payload_bytes += block.payload().size();
    }
    if (record.version >= from_ && record.version <= to_) {
      std::printf("%s\n", Line(record, part.header(), payload_bytes).c_str());
      ++printed_;
    }
    before_ = std::move(*part.mutable_header());
    has_before_ = true;
    return absl::OkStatus();
  }

  uint64_t printed() const { return printed_; }

 private:
  std::string Line(const RecordView& record, const v1::Header& header,
                   uint64_t payload_bytes) const {
    std::string line = absl::StrFormat("version=%d chain=%s", record.version,
                                       HashText(record.chain_hash).substr(0, kShortHash));
    if (record.version == 0) {
      absl::StrAppendFormat(&line, " begins with %d members", header.members_size());
    } else {
      absl::StrAppendFormat(&line, " used=%s rate=%.6g loss=%.6g payload=%d server=%d",
                            UsedText(header), header.learning_rate(), header.loss(), payload_bytes,
                            record.server_part.size());
    }
    if (header.has_answer()) {
      absl::StrAppendFormat(&line, " rank=%d step=%d weight=%.6g", header.answer().rank(),
                            header.answer().step(), header.answer().weight());
    }
    if (header.has_evaluation()) absl::StrAppend(&line, EvaluationText(header.evaluation()));
    const std::vector<std::string> flags = Flags(record.version, header);
    if (record.version > 0 && header.has_settings()) {
      absl::StrAppend(&line, " set ", absl::CHexEscape(SettingsText(header.settings())));
    }
    if (!flags.empty()) absl::StrAppend(&line, " ", absl::StrJoin(flags, ","));
    return line;
  }

  static bool Names(const google::protobuf::RepeatedPtrField<v1::Contributor>& contributors,
                    const v1::Member& member) {
    return std::any_of(
        contributors.begin(), contributors.end(),
        [&member](const v1::Contributor& one) { return one.rank() == member.rank(); });
  }

  // "4/4", or with those who are missing: "3/4 (without worker-2)"; ASYNC: "1/4".
  std::string UsedText(const v1::Header& header) const {
    if (!has_before_) return absl::StrCat(header.used_size(), "/?");
    std::string text = absl::StrCat(header.used_size(), "/", before_.members_size());
    std::vector<std::string> missing;
    for (const v1::Member& member : before_.members()) {
      if (Names(header.used(), member)) continue;
      const bool too_large = Names(header.too_large(), member);
      missing.push_back(
          absl::StrCat(absl::CHexEscape(member.id()), too_large ? ": too large" : ""));
    }
    if (missing.empty() || header.has_answer()) return text;
    return absl::StrCat(text, " (without ", absl::StrJoin(missing, ", "), ")");
  }

  static std::string EvaluationText(const v1::Evaluation& evaluation) {
    std::string text = absl::StrCat(" evaluated=", evaluation.version());
    for (const v1::Metric& metric : evaluation.metrics()) {
      absl::StrAppendFormat(&text, " %s=%.6g", absl::CHexEscape(metric.name()), metric.value());
    }
    return text;
  }

  std::vector<std::string> Flags(uint64_t version, const v1::Header& header) const {
    std::vector<std::string> flags;
    if (header.flushed()) flags.emplace_back("flushed");
    const bool known = has_before_ || version == 0;
    if (known && header.reset_id() != before_.reset_id()) flags.emplace_back("reset");
    if (header.perturbation_scale() != 0) {
      flags.push_back(absl::StrFormat("perturbed=%.6g", header.perturbation_scale()));
    }
    if (header.finished()) flags.emplace_back("finished");
    return flags;
  }

  const uint64_t from_;
  const uint64_t to_;
  uint64_t printed_ = 0;
  bool has_before_ = false;
  v1::Header before_;
};

void PrintHead(const Job& job, const std::vector<LogReader::Segment>& segments) {
  std::printf("job \"%s\", schema %s, apply revision %u\n",
              absl::CHexEscape(job.config.name()).c_str(), HashText(job.schema_hash).c_str(),
              kApplyRevision);
  for (const LogReader::Segment& segment : segments) {
    std::printf("segment %s: from version %llu, %llu bytes\n", segment.path.c_str(),
                static_cast<unsigned long long>(segment.first_version),
                static_cast<unsigned long long>(segment.bytes));
  }
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Job>> ReadStateJob(const std::string& state_dir) {
  const absl::StatusOr<v1::JobConfig> config = ReadJobFile(state_dir + "/job.textproto");
  if (absl::IsNotFound(config.status())) {
    return absl::NotFoundError(
        absl::StrCat("\"", state_dir, "\" is no state directory of a server (",
                     config.status().message(), "): name one with --state_dir=DIR"));
  }
  GRADWIRE_RETURN_IF_ERROR(config.status());
  GRADWIRE_ASSIGN_OR_RETURN(const Shard shard, ReadShard(PosixFileSystem(), state_dir));
  return MakeJob(*config, shard);
}

absl::Status ShowLog(const LogOptions& options) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::shared_ptr<const Job> job, ReadStateJob(options.state_dir));
  GRADWIRE_ASSIGN_OR_RETURN(
      LogReader reader,
      LogReader::Open(PosixFileSystem(), options.state_dir + "/log", job->schema_hash));
  PrintHead(*job, reader.segments());
  Printer printer(options.from, options.to);
  const absl::Status status =
      reader.Read(options.from, options.to,
                  [&printer](const RecordView& record) { return printer.Print(record); });
  std::printf("%llu records\n", static_cast<unsigned long long>(printer.printed()));
  if (!reader.unfinished().empty()) std::printf("%s\n", reader.unfinished().c_str());
  return status;
}

}  // namespace gradwire
