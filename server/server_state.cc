// SPDX-License-Identifier: Apache-2.0
// Implementation of server_state.h.
#include "server/server_state.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/replica/settings.h"

namespace gradwire {
namespace {

constexpr char kKind[] = "server";

absl::Status InRecord(uint64_t version, absl::string_view what) {
  return absl::DataLossError(absl::StrCat("record ", version, ": ", what));
}

absl::Status ParseRecord(const Record& record, std::vector<v1::UpdatePart>* parts,
                         v1::ServerPart* kept) {
  for (const std::string& bytes : record.parts) {
    if (!parts->emplace_back().ParseFromString(bytes)) {
      return InRecord(record.version, "a part is no UpdatePart");
    }
  }
  if (parts->empty() || !parts->back().has_header()) {
    return InRecord(record.version, "it has no header");
  }
  if (!kept->ParseFromString(record.server_part)) {
    return InRecord(record.version, "its server part cannot be read");
  }
  return absl::OkStatus();
}

std::string KnownText(const std::map<std::string, ServerState::Known>& known) {
  v1::KnownMembers list;
  for (const auto& [id, entry] : known) {
    v1::KnownMember* one = list.add_known();
    one->mutable_member()->set_id(id);
    one->mutable_member()->set_rank(entry.rank);
    one->mutable_member()->set_incarnation(entry.incarnation);
    one->set_version(entry.version);
  }
  return list.SerializeAsString();
}

bool ReadKnown(const std::string& text, std::map<std::string, ServerState::Known>* known) {
  v1::KnownMembers list;
  if (!list.ParseFromString(text)) return false;
  for (const v1::KnownMember& one : list.known()) {
    (*known)[one.member().id()] = {.rank = one.member().rank(),
                                   .incarnation = one.member().incarnation(),
                                   .version = one.version()};
  }
  return true;
}

float BaseRate(const Job& job, const v1::JobConfig& config) {
  return config.learning_rate() > 0 ? static_cast<float>(config.learning_rate())
                                    : job.optimizer->learning_rate();
}

}  // namespace

ServerState::ServerState(std::shared_ptr<const Job> job)
    : job_(std::move(job)),
      config_(job_->config),
      update_maker_(job_),
      reset_rule_(job_),
      on_demand_(job_),
      learning_rate_(BaseRate(*job_, config_), job_->schedule) {}

absl::StatusOr<MadeUpdate> ServerState::MakeFirst(v1::Header* header) {
  GRADWIRE_RETURN_IF_ERROR(TakeSettings(header->settings()));
  *header->mutable_settings() = SettingsOf(config_);
  if (!job_->shard.follows()) header->set_next_learning_rate(learning_rate_.At(1));
  NoteHeader(0, *header);
  touched_ = {};
  return MakeEmptyUpdate(0, *header);
}

absl::StatusOr<MadeUpdate> ServerState::Make(const Round& round, const Replica& replica,
                                             v1::Header* header) {
  const uint64_t version = replica.version() + 1;
  if (header->has_evaluation()) learning_rate_.Observe(header->evaluation());
  GRADWIRE_RETURN_IF_ERROR(TakeSettings(header->settings()));
  // A shard after the first does not say what comes next.
  const bool says_next = !header->finished() && !job_->shard.follows();
  if (says_next) header->set_next_learning_rate(learning_rate_.At(version + 1));
  const bool resets = reset_rule_.Decide(round, header);
  absl::StatusOr<MadeUpdate> made;
  if (header->used().empty()) {
    made = MakeEmptyUpdate(version, *header);
  } else {
    if (on_demand_.active()) {
      const double norm = update_maker_.Norm(round, header->learning_rate());
      header->set_perturbation_scale(on_demand_.Decide(version, norm, replica.parameters()));
    }
    made = update_maker_.Make(round, version, *header);
  }
  if (!made.ok()) return made;
  if (resets) update_maker_.ForgetResiduals();
  NoteHeader(version, *header);
  touched_ = std::move(made->touched);
  return made;
}

absl::Status ServerState::Replay(const Record& record, const Replica& replica) {
  std::vector<v1::UpdatePart> parts;
  v1::ServerPart kept;
  GRADWIRE_RETURN_IF_ERROR(ParseRecord(record, &parts, &kept));
  const v1::Header& header = parts.back().header();
  touched_ = {};
  if (record.version > 0) {
    if (header.has_evaluation()) learning_rate_.Observe(header.evaluation());
    reset_rule_.Replay(record.version, header);
    if (!header.used().empty()) {
      on_demand_.Replay(record.version, header.perturbation_scale(), replica.parameters());
      GRADWIRE_RETURN_IF_ERROR(update_maker_.Replay(parts, kept, replica, &touched_));
    }
    if (header.reset_id() != reset_id_) update_maker_.ForgetResiduals();
  }
  if (const absl::Status taken = TakeSettings(header.settings()); !taken.ok()) {
    return InRecord(record.version, absl::StrCat("its settings: ", taken.message()));
  }
  const bool says_next = !header.finished() && !job_->shard.follows();
  const float rate = says_next ? learning_rate_.At(record.version + 1) : 0.0f;
  if (header.next_learning_rate() != rate) {
    return InRecord(record.version,
                    absl::StrCat("it opens a step at the learning rate ",
                                 header.next_learning_rate(), ", the job's schedule gives ", rate));
  }
  NoteHeader(record.version, header);
  return absl::OkStatus();
}

// A schedule that stays as it is keeps what it remembers; another begins anew.
absl::Status ServerState::TakeSettings(const v1::Settings& settings) {
  if (IsEmpty(settings)) return absl::OkStatus();
  GRADWIRE_ASSIGN_OR_RETURN(v1::JobConfig changed, WithSettings(config_, settings));
  if (SettingsBetween(config_, changed).schedule_size() > 0) {
    GRADWIRE_ASSIGN_OR_RETURN(auto schedule, MakeSchedules(changed));
    learning_rate_.Replace(schedule);
    schedule_ = std::move(schedule);
  }
  config_ = std::move(changed);
  learning_rate_.SetBase(BaseRate(*job_, config_));
  return absl::OkStatus();
}

void ServerState::NoteHeader(uint64_t version, const v1::Header& header) {
  reset_before_ = header.reset_id() != reset_id_;
  reset_id_ = header.reset_id();
  for (const v1::Member& member : header.members()) {
    known_[member.id()] = {
        .rank = member.rank(), .incarnation = member.incarnation(), .version = version};
  }
  while (known_.size() > std::max<size_t>(kMaxKnown, header.members_size())) {
    known_.erase(std::min_element(known_.begin(), known_.end(), [](const auto& a, const auto& b) {
      return a.second.version < b.second.version;
    }));
  }
}

void ServerState::Applying(const Replica& replica) {
  reset_rule_.Before(replica.parameters(), touched_);
}

void ServerState::Applied(const Replica& replica) {
  reset_rule_.After(replica.parameters(), touched_);
  touched_ = {};
}

std::string ServerState::Encode(const Replica& replica) const {
  return EncodeStateFile(ToFile(replica));
}

std::unique_ptr<StatePieces> ServerState::EncodePieces(const Replica& replica) const {
  return std::make_unique<StatePieces>(ToFile(replica));
}

StateFile ServerState::ToFile(const Replica& replica) const {
  StateFile file;
  file.kind = kKind;
  file.texts["version"] = absl::StrCat(replica.version());
  file.texts["chain_hash"] = HashText(replica.chain_hash());
  file.texts["schema_hash"] = HashText(job_->schema_hash);
  file.texts["reset_id"] = absl::StrCat(reset_id_);
  file.texts["reset_before"] = reset_before_ ? "1" : "0";
  file.texts["known"] = KnownText(known_);
  file.texts["settings"] = SettingsOf(config_).SerializeAsString();
  file.doubles["learning_rate"] = learning_rate_.state();
  file.doubles["reset"] = reset_rule_.state();
  file.float_views["reset.reference"] = {reset_rule_.reference()};
  file.doubles["on_demand"] = on_demand_.state();
  file.float_views["on_demand.start"] = {on_demand_.start()};
  update_maker_.Save(&file);
  return file;
}

absl::Status ServerState::Load(absl::string_view bytes, uint64_t version,
                               const ChainHash& chain_hash) {
  GRADWIRE_ASSIGN_OR_RETURN(StateFile file, DecodeStateFile(bytes, kKind));
  if (file.texts["version"] != absl::StrCat(version) ||
      file.texts["chain_hash"] != HashText(chain_hash) ||
      file.texts["schema_hash"] != HashText(job_->schema_hash)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the server's state is of version ", file.texts["version"], ", chain hash ",
                     file.texts["chain_hash"], ", not of its snapshot's"));
  }
  v1::Settings settings;
  if (!settings.ParseFromString(file.texts["settings"]) || !TakeSettings(settings).ok() ||
      !absl::SimpleAtoi(file.texts["reset_id"], &reset_id_) ||
      !ReadKnown(file.texts["known"], &known_) ||
      !learning_rate_.Restore(file.doubles["learning_rate"]) ||
      !reset_rule_.Restore(file.doubles["reset"], std::move(file.floats["reset.reference"])) ||
      !on_demand_.Restore(file.doubles["on_demand"], std::move(file.floats["on_demand.start"]))) {
    return absl::InvalidArgumentError("the server's state does not fit the job");
  }
  reset_before_ = file.texts["reset_before"] == "1";
  return update_maker_.Load(&file);
}

}  // namespace gradwire
