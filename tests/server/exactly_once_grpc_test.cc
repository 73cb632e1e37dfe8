// SPDX-License-Identifier: Apache-2.0
// A push that is sent several times counts once: over real connections, which break in mid-payload.
#include <gtest/gtest.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "tests/common/base/sanitized.h"
#include "tests/common/replica/test_records.h"
#include "tests/server/grpc_worker.h"
#include "tests/server/repeated_pushes.h"

namespace gradwire {
namespace {

constexpr size_t kWorkers = 3;
constexpr size_t kBlocks = 3;

// How a worker's stream comes to its end before the next one begins.
enum class Break {
  kHalfClose,  // all that was sent arrives
  kCancel,     // what is under way may be lost
  kTakeOver,   // not at all: the server ends it when the next one speaks
};

// A worker that opens one stream after another, each where the model stands.
class FlightyWorker {
 public:
  FlightyWorker(const std::string& address, const std::string& id)
      : worker_(address, id), id_(id) {}
  ~FlightyWorker() { EndOld(); }

  void Enter() {
    const grpc::Status joined = worker_.Join();
    ASSERT_TRUE(joined.ok()) << joined.error_message();
    Open(nullptr);
    v1::TrainRequest request;
    *request.mutable_caught_up()->mutable_at() = worker_.lease().newest();
    ASSERT_TRUE(now_->call->Write(request));
  }

  // A new stream, from the record after `record` on (null: from record 0).
  void Open(const Record* record) {
    now_ = std::make_unique<Stream>();
    SetDeadline(&now_->context);
    now_->call = worker_.stub().Train(&now_->context);
    v1::TrainRequest request;
    v1::Hello* hello = request.mutable_hello();
    hello->set_worker_id(id_);
    hello->set_incarnation(worker_.lease().incarnation());
    if (record != nullptr) {
      hello->mutable_at()->set_version(record->version);
      hello->mutable_at()->set_chain_hash(std::string(AsView(record->chain_hash)));
    }
    ASSERT_TRUE(now_->call->Write(request));
  }

  // Then reads `newest` again: the server has met the new stream.
  void Reconnect(Break how, const Record* before, uint64_t newest) {
    if (how == Break::kTakeOver) {
      old_.push_back(std::move(now_));
    } else if (how == Break::kCancel) {
      now_->context.TryCancel();
      now_->call->Finish();
    } else {
      now_->call->WritesDone();
      v1::TrainResponse unread;
      while (now_->call->Read(&unread)) {
      }
      const grpc::Status ended = now_->call->Finish();
      EXPECT_TRUE(ended.ok()) << ended.error_message();
    }
    Open(before);
    Read(newest);
  }

  bool Send(const v1::Gradient& message) {
    v1::TrainRequest request;
    *request.mutable_gradient() = message;
    return now_->call->Write(request);
  }

  // The parts of the record of `version`, which must be the next, as they came.
  std::vector<std::string> Read(uint64_t version) {
    std::vector<std::string> parts;
    v1::TrainResponse response;
    v1::UpdatePart part;
    while (!part.has_header() && now_->call->Read(&response)) {
      EXPECT_TRUE(response.has_update_part()) << response.ShortDebugString();
      parts.push_back(response.update_part());
      EXPECT_TRUE(part.ParseFromString(parts.back()));
      EXPECT_EQ(part.version(), version);
    }
    return parts;
  }

  void EndOld() {
    for (const auto& stream : old_) {
      stream->context.TryCancel();
      stream->call->Finish();
    }
    old_.clear();
  }

 private:
  struct Stream {
    grpc::ClientContext context;
    std::unique_ptr<TrainCall> call;
  };

  GrpcWorker worker_;
  const std::string id_;
  std::unique_ptr<Stream> now_;
  std::vector<std::unique_ptr<Stream>> old_;  // taken over, and not read any more
};

class ExactlyOnceGrpcTest : public testing::Test {
 protected:
  ExactlyOnceGrpcTest()
      : server_(StartServer("model { tensors { tensor { name: 'w' shape: 600000 } } } steps: 20000 "
                            "hash_every: 100000 snapshot_every: 100000 codec: 'random_k:0.0001' "
                            "membership { workers: 3 lease_seconds: 60 }",
                            "exactly_once")) {
    for (uint64_t i = 0; i < 7; ++i) gradients_.push_back(TestGradient(job(), i + 1));
    for (size_t rank = 0; rank < kWorkers; ++rank) {
      workers_.push_back(
          std::make_unique<FlightyWorker>(server_->address(), absl::StrCat("w", rank)));
      workers_.back()->Enter();
    }
    for (const auto& worker : workers_) worker->Read(0);
  }

  const Job& job() const { return *server_->coordinator().job(); }
  std::shared_ptr<const Record> Newest() const {
    const UpdateLog& log = server_->coordinator().log();
    return log.Find(log.range().newest);
  }

  Payloads PayloadsOf(uint64_t step, const Record& before) const {
    Payloads payloads;
    for (size_t rank = 0; rank < kWorkers; ++rank) {
      payloads.push_back(
          MakePayload(job(), step, AsView(before.chain_hash), gradients_[(step + 2 * rank) % 7]));
    }
    return payloads;
  }

  // Sends all of a schedule; whoever had to reconnect sends everything once more, as nobody tells
  // it what has arrived.
  void SendAll(const Payloads& payloads, const Record& before) {
    std::vector<bool> again(kWorkers, false);
    std::vector<Arrival> schedule = RandomSchedule(&random_, kWorkers, kBlocks, 4);
    for (const Arrival& arrival : schedule) {
      if (random_() % 8 == 0) {
        const auto how = static_cast<Break>(random_() % 3);
        const auto older = server_->coordinator().log().Find(before.version - 1);
        workers_[arrival.rank]->Reconnect(how, older.get(), before.version);
        again[arrival.rank] = true;
        ++breaks_;
      }
      ASSERT_TRUE(workers_[arrival.rank]->Send(payloads[arrival.rank][arrival.block]));
      ++sent_;
    }
    for (size_t rank = 0; rank < kWorkers; ++rank) {
      for (size_t block = 0; again[rank] && block < kBlocks; ++block, ++sent_) {
        ASSERT_TRUE(workers_[rank]->Send(payloads[rank][block]));
      }
    }
  }

  const std::unique_ptr<Server> server_;
  std::vector<std::vector<float>> gradients_;
  std::vector<std::unique_ptr<FlightyWorker>> workers_;
  std::mt19937_64 random_{2027};
  uint64_t breaks_ = 0;
  uint64_t sent_ = 0;  // messages
};

TEST_F(ExactlyOnceGrpcTest, OverHundredsOfRandomSchedulesTheUpdateIsTheSame) {
  constexpr uint64_t kSchedules = kSanitized ? 60 : 500;
  for (uint64_t step = 1; step <= kSchedules; ++step) {
    const std::shared_ptr<const Record> before = Newest();
    ASSERT_EQ(before->version, step - 1);
    const Payloads payloads = PayloadsOf(step, *before);
    SendAll(payloads, *before);
    if (HasFatalFailure()) return;
    for (const auto& worker : workers_) {
      const auto record = MakeRecord(step, worker->Read(step));
      worker->EndOld();
      ASSERT_TRUE(RecordPayloads(*record) == ExpectedUpdate(payloads)) << "step " << step;
      ASSERT_EQ(RecordHeader(*record).used_size(), 3) << "step " << step;
    }
  }
  const ServerCounters& counters = server_->counters();
  EXPECT_EQ(Newest()->version, kSchedules);
  EXPECT_EQ(counters.payloads_used.value(), kSchedules * kWorkers);
  EXPECT_EQ(counters.payloads_refused.value(), 0u);
  EXPECT_GT(counters.blocks_duplicate.value(), kSchedules);
  EXPECT_GT(counters.payloads_late.value(), 0u);
  EXPECT_GT(breaks_, kSchedules);
  EXPECT_GT(sent_, 2 * kSchedules * kWorkers * kBlocks);
  EXPECT_TRUE(server_->coordinator().WaitForEnd(absl::ZeroDuration()).departures.empty());
}

}  // namespace
}  // namespace gradwire
