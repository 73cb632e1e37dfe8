// SPDX-License-Identifier: Apache-2.0
// How long a server takes to come back, beside the least that it could take.
//
//   recovery_times [MEGABYTES [RECORDS [FOLDER]]]     100 1000 a temporary folder
//
// Makes a state directory of a model of so many MB of parameters, its snapshot at version 0 + 1 and
// so many records of random_k 1 %.  Then, in one process and several times:
//   recover   History::Open: claim, verify, load the snapshot, replay
//   floor     reading the same files, plus applying the same records from memory
// Prints both, and their ratio, as JSON.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/replica/snapshot.h"
#include "server/history.h"
#include "server/round.h"

namespace gradwire {
namespace {

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "recovery_times: %s\n", std::string(status.message()).c_str());
  std::exit(1);
}

std::shared_ptr<const Job> MakeBenchJob(size_t megabytes) {
  auto config = ParseJobText(absl::StrCat(
      "model { tensors { tensor { name: 'w' shape: ", megabytes * 250000,
      " init: 'normal:1' } } } ",
      "steps: 1000000 codec: 'random_k:0.01' snapshot_every: 1000000 hash_every: 1000000"));
  Require(config.status());
  auto job = MakeJob(*std::move(config));
  Require(job.status());
  return *std::move(job);
}

HistoryOptions Options(const std::string& folder) {
  HistoryOptions options;
  options.state_dir = folder;
  options.fsync.kind = FsyncPolicy::Kind::kNever;
  options.snapshot_bytes = SIZE_MAX;
  return options;
}

v1::Gradient PayloadOf(const Job& job, uint64_t step) {
  v1::Gradient message;
  message.set_step(step);
  for (uint32_t b = 0; b < job.layout.blocks(); ++b) {
    const BlockKey key = job.Key(step, b);
    std::vector<float> values(key.size, 1e-3f * static_cast<float>(step % 7));
    std::string payload;
    job.plans[b].codec->Encode(key, absl::MakeSpan(values), &payload);
    message.set_codec(job.plans[b].codec->id());
    v1::BlockPayload* block = message.add_blocks();
    block->set_block(b);
    block->set_payload(std::move(payload));
  }
  message.mutable_end()->set_samples(1);
  return message;
}

void CommitStep(const std::shared_ptr<const Job>& job, History* history) {
  const Replica& replica = history->replica();
  v1::Header header;
  v1::Member* member = header.add_members();
  member->set_id("w");
  member->set_incarnation(1);
  MadeUpdate made;
  uint64_t version = 0;
  if (!replica.started()) {
    made = *history->state().MakeFirst(&header);
  } else {
    version = replica.version() + 1;
    Round round(job);
    round.Open(version, {*member}, {.bases = replica.bases()});
    Require(round.Add(0, 1, PayloadOf(*job, version)).status());
    header.set_previous_chain_hash(std::string(AsView(replica.chain_hash())));
    header.add_used()->set_incarnation(1);
    header.set_learning_rate(replica.header().next_learning_rate());
    auto update = history->state().Make(round, replica, &header);
    Require(update.status());
    made = *std::move(update);
  }
  Require(history->Commit(
      MakeRecord(version, std::move(made.parts), made.payload_bytes, std::move(made.server_part)),
      header));
}

void MakeDirectory(const std::shared_ptr<const Job>& job, const std::string& folder,
                   uint64_t records) {
  auto history = History::Open(job, Options(folder));
  Require(history.status());
  CommitStep(job, history->get());
  CommitStep(job, history->get());
  Require((*history)->SaveSnapshot());
  for (uint64_t i = 0; i < records; ++i) CommitStep(job, history->get());
}

double Seconds(absl::Duration begin) { return absl::ToDoubleSeconds(SteadyClock().Now() - begin); }

double ReadAllFiles(const std::string& folder) {
  const absl::Duration begin = SteadyClock().Now();
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    Require(PosixFileSystem()->Read(entry.path().string(), SIZE_MAX).status());
  }
  return Seconds(begin);
}

// Both from the replica at the snapshot's version on.
double ApplyFromMemory(const std::shared_ptr<const Job>& job, const std::string& folder) {
  auto history = History::Open(job, Options(folder));
  Require(history.status());
  const UpdateLog::Range range = (*history)->log().range();
  Replica replica(job);
  std::vector<std::shared_ptr<const Record>> records;
  for (uint64_t v = 0; v <= range.newest; ++v) records.push_back((*history)->log().Find(v));
  Require(replica.Apply(*records[0]));
  Require(replica.Apply(*records[1]));
  const absl::Duration begin = SteadyClock().Now();
  for (size_t v = 2; v < records.size(); ++v) Require(replica.Apply(*records[v]));
  return Seconds(begin);
}

double Recovery(const std::shared_ptr<const Job>& job, const std::string& folder) {
  const absl::Duration begin = SteadyClock().Now();
  Require(History::Open(job, Options(folder)).status());
  return Seconds(begin);
}

int Main(int argc, char** argv) {
  const size_t megabytes = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 100;
  const uint64_t records = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 1000;
  const std::string folder =
      argc > 3 ? argv[3]
               : std::filesystem::temp_directory_path().string() + "/gradwire-recovery-times";
  std::filesystem::remove_all(folder);
  const std::shared_ptr<const Job> job = MakeBenchJob(megabytes);
  MakeDirectory(job, folder, records);
  for (int i = 0; i < 3; ++i) {
    const double apply = ApplyFromMemory(job, folder);
    const double read = ReadAllFiles(folder);
    const double recover = Recovery(job, folder);
    std::printf("{\"recover_s\": %.3f, \"read_s\": %.3f, \"apply_s\": %.3f, \"ratio\": %.2f}\n",
                recover, read, apply, recover / (read + apply));
    std::fflush(stdout);
  }
  std::filesystem::remove_all(folder);
  return 0;
}

}  // namespace
}  // namespace gradwire

int main(int argc, char** argv) { return gradwire::Main(argc, argv); }
