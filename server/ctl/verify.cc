// SPDX-License-Identifier: Apache-2.0
// gradwire log verify: everything in a state directory is read, and the log replayed in memory; at
// every snapshot's version the replay must give what the snapshot has.
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/replica/job.h"
#include "common/replica/replica.h"
#include "server/ctl/commands.h"
#include "server/ctl/log_reader.h"
#include "server/server_state.h"
#include "server/snapshots.h"

namespace gradwire {
namespace {

constexpr int kTries = 10;  // beside a server that removes what it no longer needs
constexpr uint64_t kAll = UINT64_MAX;

// A whole snapshot, and what the replay is compared with.
struct Checkpoint {
  Manifest manifest;
  uint64_t replica_hash = 0;
  bool compared = false;
};

absl::Status MeanwhileGone(uint64_t version) {
  return absl::AbortedError(absl::StrCat("version ", version, " was given up while it was read: ",
                                         "the server works here; give the command once more"));
}

class Verification {
 public:
  Verification(FileSystem* files, std::string state_dir, std::shared_ptr<const Job> job)
      : files_(files), state_dir_(std::move(state_dir)), job_(std::move(job)) {}

  absl::Status Run() {
    // The log first: what a server adds or removes meanwhile is then no gap between the two.
    GRADWIRE_ASSIGN_OR_RETURN(LogReader log,
                              LogReader::Open(files_, state_dir_ + "/log", job_->schema_hash));
    GRADWIRE_RETURN_IF_ERROR(CheckSnapshots());
    GRADWIRE_RETURN_IF_ERROR(Begin(log));
    GRADWIRE_RETURN_IF_ERROR(
        log.Read(0, kAll, [this](const RecordView& record) { return Take(record); }));
    GRADWIRE_RETURN_IF_ERROR(CheckFinal());
    Report(log);
    return absl::OkStatus();
  }

 private:
  std::string PathOf(uint64_t version, absl::string_view ending) const {
    return SnapshotPath(state_dir_, version, ending);
  }
  absl::Status CheckSnapshots();
  // Fills in replica_ and state_ too.
  absl::StatusOr<Manifest> Load(uint64_t version);
  absl::Status Damaged(uint64_t version, absl::string_view reason) const;
  // A server that no longer needs a snapshot removes the manifest first.
  bool IsGivenUp(uint64_t version) const {
    return absl::IsNotFound(files_->Size(PathOf(version, ".manifest")).status());
  }
  absl::Status Begin(const LogReader& log);
  absl::Status Take(const RecordView& view);
  absl::Status Compare(uint64_t version, Checkpoint* checkpoint) const;
  absl::Status CheckFinal() const;
  void Report(const LogReader& log) const;

  FileSystem* const files_;
  const std::string state_dir_;
  const std::shared_ptr<const Job> job_;
  std::map<uint64_t, Checkpoint> checkpoints_;
  std::unique_ptr<Replica> replica_;
  std::unique_ptr<ServerState> state_;
  uint64_t from_ = 0;  // version of the beginning
};

absl::Status Verification::Damaged(uint64_t version, absl::string_view reason) const {
  return absl::DataLossError(absl::StrCat(
      reason, "; the server passes the snapshot of version ", version,
      " over and starts from the one before it, or from the seed where the log reaches it; move ",
      PathOf(version, ".*"), " away when one of them verifies"));
}

absl::StatusOr<Manifest> Verification::Load(uint64_t version) {
  GRADWIRE_ASSIGN_OR_RETURN(LoadedSnapshot loaded,
                            LoadSnapshot(files_, state_dir_, *job_, version));
  replica_ = std::make_unique<Replica>(job_);
  state_ = std::make_unique<ServerState>(job_);
  const absl::Status fits = state_->Load(loaded.server_state, version, loaded.manifest.chain_hash);
  if (!fits.ok()) {
    return absl::DataLossError(absl::StrCat(PathOf(version, ".server"), ": ", fits.message()));
  }
  GRADWIRE_RETURN_IF_ERROR(replica_->Load(std::move(loaded.contents)));
  return loaded.manifest;
}

absl::Status Verification::CheckSnapshots() {
  const absl::StatusOr<std::vector<std::string>> names = files_->List(state_dir_ + "/snapshots");
  if (absl::IsNotFound(names.status())) return absl::OkStatus();
  GRADWIRE_RETURN_IF_ERROR(names.status());
  for (absl::string_view name : *names) {
    uint64_t version = 0;
    if (!absl::ConsumeSuffix(&name, ".manifest") || !absl::SimpleAtoi(name, &version)) continue;
    const absl::StatusOr<Manifest> manifest = Load(version);
    if (!manifest.ok() && IsGivenUp(version)) continue;
    if (!manifest.ok()) return Damaged(version, manifest.status().message());
    checkpoints_[version] = {.manifest = *manifest, .replica_hash = replica_->Hash()};
  }
  return absl::OkStatus();
}

// From the seed where the log reaches it: that replays most.
absl::Status Verification::Begin(const LogReader& log) {
  const bool empty = log.segments().empty();
  const uint64_t oldest = empty ? 0 : log.segments().front().first_version;
  replica_ = std::make_unique<Replica>(job_);
  state_ = std::make_unique<ServerState>(job_);
  if (!empty && oldest == 0) return absl::OkStatus();
  if (empty && checkpoints_.empty()) return absl::OkStatus();
  const auto start = checkpoints_.lower_bound(oldest == 0 ? 0 : oldest - 1);
  if (start == checkpoints_.end()) {
    return absl::DataLossError(absl::StrCat(
        log.segments().front().path, ": the log begins at version ", oldest,
        ", and there is no whole snapshot from which to replay it: put the missing files back, or ",
        "start from another copy of the state directory"));
  }
  from_ = start->first;
  start->second.compared = true;
  const absl::Status loaded = Load(from_).status();
  return !loaded.ok() && IsGivenUp(from_) ? MeanwhileGone(from_) : loaded;
}

absl::Status Verification::Take(const RecordView& view) {
  const auto found = checkpoints_.find(view.version);
  if (found != checkpoints_.end() && found->second.manifest.chain_hash != view.chain_hash) {
    return Damaged(view.version,
                   absl::StrCat(PathOf(view.version, ".safetensors"), ": version ", view.version,
                                " has the chain hash ", HashText(found->second.manifest.chain_hash),
                                " in the snapshot and ", HashText(view.chain_hash), " on the log"));
  }
  if (replica_->started() && view.version <= replica_->version()) return absl::OkStatus();
  // Begin has seen the segments between: they went since then.
  const uint64_t next = replica_->started() ? replica_->version() + 1 : 0;
  if (view.version > next) return MeanwhileGone(next);
  const std::shared_ptr<const Record> record = CopyOf(view);
  absl::Status status = state_->Replay(*record, *replica_);
  if (status.ok()) {
    state_->Applying(*replica_);
    status = replica_->Apply(*record);
  }
  if (!status.ok()) {
    return absl::DataLossError(absl::StrCat(
        state_dir_, "/log: version ", view.version, " does not replay: ", status.message(),
        "; compare the builds, or start from another copy of the state directory"));
  }
  state_->Applied(*replica_);
  return found == checkpoints_.end() ? absl::OkStatus() : Compare(view.version, &found->second);
}

absl::Status Verification::Compare(uint64_t version, Checkpoint* checkpoint) const {
  checkpoint->compared = true;
  if (replica_->Hash() != checkpoint->replica_hash) {
    return Damaged(version,
                   absl::StrCat(PathOf(version, ".safetensors"), ": parameters and state are ",
                                HashText(checkpoint->replica_hash), ", but the log replays to ",
                                HashText(replica_->Hash())));
  }
  const std::string bytes = state_->Encode(*replica_);
  ChainHasher hasher;
  hasher.Add(bytes);
  if (hasher.Finish() == checkpoint->manifest.server.hash) return absl::OkStatus();
  return Damaged(version, absl::StrCat(PathOf(version, ".server"), ": the server's state, ",
                                       checkpoint->manifest.server.bytes,
                                       " bytes, is not that to which the log replays, ",
                                       bytes.size(), " bytes"));
}

// Its parameters are the last bytes of the file.
absl::Status Verification::CheckFinal() const {
  const std::string path = state_dir_ + "/final.safetensors";
  if (!replica_->started() || !replica_->header().finished()) return absl::OkStatus();
  const absl::StatusOr<uint64_t> size = files_->Size(path);
  if (absl::IsNotFound(size.status())) return absl::OkStatus();
  GRADWIRE_RETURN_IF_ERROR(size.status());
  const absl::string_view wanted(reinterpret_cast<const char*>(replica_->parameters().data()),
                                 replica_->parameters().size() * sizeof(float));
  std::string found;
  if (*size > wanted.size()) {
    GRADWIRE_ASSIGN_OR_RETURN(found, files_->ReadRange(path, *size - wanted.size(), wanted.size()));
  }
  if (found == wanted) return absl::OkStatus();
  const size_t same = static_cast<size_t>(
      std::mismatch(found.begin(), found.end(), wanted.begin()).first - found.begin());
  return absl::DataLossError(
      absl::StrCat(path, ": at offset ", *size - std::min<uint64_t>(*size, wanted.size()) + same,
                   ": the parameters are not those of version ", replica_->version(),
                   ": remove it, and start the server on this folder: it writes it again"));
}

void Verification::Report(const LogReader& log) const {
  if (!log.unfinished().empty()) std::printf("%s\n", log.unfinished().c_str());
  std::vector<uint64_t> versions;
  for (const auto& [version, checkpoint] : checkpoints_) {
    versions.push_back(version);
    if (checkpoint.compared) continue;
    std::printf("the snapshot of version %llu is whole, but the log does not lead to it\n",
                static_cast<unsigned long long>(version));
  }
  if (!replica_->started()) {
    std::printf("ok no versions yet\n");
    return;
  }
  std::printf("ok versions %llu..%llu, snapshots %s, parameters %s\n",
              static_cast<unsigned long long>(from_),
              static_cast<unsigned long long>(replica_->version()),
              versions.empty() ? "none" : absl::StrJoin(versions, " ").c_str(),
              HashText(replica_->ParametersHash()).c_str());
}

}  // namespace

absl::Status VerifyLog(const std::string& state_dir) {
  GRADWIRE_ASSIGN_OR_RETURN(const std::shared_ptr<const Job> job, ReadStateJob(state_dir));
  absl::Status status;
  for (int i = 0; i < kTries; ++i) {
    status = Verification(PosixFileSystem(), state_dir, job).Run();
    if (!absl::IsAborted(status)) break;
  }
  return status;
}

}  // namespace gradwire
