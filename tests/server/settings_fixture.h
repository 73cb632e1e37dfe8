// SPDX-License-Identifier: Apache-2.0
// A cluster of fake workers whose job's settings change.
#pragma once

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/common/replica/crashing_file_system.h"
#include "tests/common/replica/test_records.h"
#include "tests/server/fake_cluster.h"

namespace gradwire {

// A job of 8 coordinates at the learning rate 0.5; `rest` are other fields.
inline std::string SettingsJob(const std::string& rest) {
  return absl::StrCat(
      "model { tensors { tensor { name: 'w' shape: 8 } } } optimizer: 'sgd:lr=0.5' ", rest);
}

inline v1::Settings SettingsFrom(const std::string& text) {
  v1::Settings settings;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &settings)) << text;
  return settings;
}

using SetAnswer = std::shared_ptr<std::optional<absl::StatusOr<v1::SetResponse>>>;

class SettingsCluster : public FakeCluster {
 public:
  SettingsCluster(const std::string& rest, CrashingFileSystem* disk)
      : FakeCluster(SettingsJob(rest), On(disk)) {}

  // Empty until it is answered.
  SetAnswer Set(const std::string& settings, absl::Duration patience = absl::Seconds(60)) {
    auto answer = std::make_shared<std::optional<absl::StatusOr<v1::SetResponse>>>();
    coordinator->Set(SettingsFrom(settings), patience,
                     [answer](absl::StatusOr<v1::SetResponse> response) {
                       EXPECT_FALSE(answer->has_value()) << "answered twice";
                       *answer = std::move(response);
                     });
    return answer;
  }

  // So many steps by all these workers; false: the last push was refused.
  void Steps(const std::vector<FakeWorker>& workers, int count) {
    for (int i = 0; i < count; ++i) {
      for (const FakeWorker& worker : workers) {
        const absl::Status pushed = Push(worker, std::vector<float>(8, 1.0f));
        ASSERT_TRUE(pushed.ok()) << pushed;
      }
    }
  }
  // With this evaluation.
  void StepWithLoss(const FakeWorker& worker, double loss) {
    std::vector<v1::Gradient> payload = Payload(std::vector<float>(8, 1.0f));
    payload.back().mutable_end()->mutable_evaluation()->set_loss(loss);
    for (const v1::Gradient& message : payload) ASSERT_TRUE(Send(worker, message).ok());
  }
  // With everybody that beats heard all the time.
  void Pass(absl::Duration time, const std::vector<FakeWorker>& beating) {
    for (; time > absl::ZeroDuration(); time -= absl::Milliseconds(100)) {
      clock.Advance(absl::Milliseconds(100));
      for (const FakeWorker& worker : beating) Heartbeat(worker);
      coordinator->Tick();
    }
  }

  // The server is killed and started again with this job file.
  absl::Status Restart(const std::string& rest, CrashingFileSystem* disk) {
    coordinator.reset();
    job = MakeTestJob(SettingsJob(rest));
    auto again = Coordinator::Create(On(disk), job, &clock, &counters);
    if (!again.ok()) return again.status();
    coordinator = *std::move(again);
    return absl::OkStatus();
  }
  // As the worker that it was, from where the log stands.
  void Greet(FakeWorker* worker) {
    v1::Hello hello = worker->who();
    hello.set_session(worker->session);
    hello.mutable_at()->set_version(version());
    hello.mutable_at()->set_chain_hash(chain_hash());
    worker->stream = std::make_shared<FakeStream>();
    const auto next = coordinator->Hello(hello, worker->stream);
    ASSERT_TRUE(next.ok()) << next.status();
  }

  v1::Header header(uint64_t at) { return RecordHeader(*coordinator->log().Find(at)); }
  std::string SettingsAt(uint64_t at) { return header(at).settings().ShortDebugString(); }
  v1::JobConfig Config() { return Status().job(); }

  static CoordinatorOptions On(CrashingFileSystem* disk) {
    CoordinatorOptions options;
    options.history.files = disk;
    options.history.state_dir = "/state";
    options.history.snapshots_kept = 100;
    return options;
  }
};

}  // namespace gradwire
