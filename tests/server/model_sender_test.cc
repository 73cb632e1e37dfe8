// SPDX-License-Identifier: Apache-2.0
// Snapshots are sent whole, in turn, at a bounded rate, and to nobody more than it takes.
#include "server/model_sender.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/replica/file.h"
#include "common/rpc/limits.h"
#include "tests/common/replica/test_records.h"
#include "tests/server/fake_cluster.h"

namespace gradwire {
namespace {

using ::testing::HasSubstr;

constexpr size_t kChunk = kMaxPayloadBytesPerMessage;
constexpr absl::Duration kPatience = absl::Seconds(30);  // of the tests

// Keeps what it gets; takes it at once, or never.
class FakeReceiver final : public ModelReceiver, public std::enable_shared_from_this<FakeReceiver> {
 public:
  FakeReceiver(ModelSender* sender, std::string path, bool takes = true)
      : sender_(sender), path_(std::move(path)), takes_(takes) {}

  absl::StatusOr<std::unique_ptr<ModelFile>> Open() override {
    if (path_.empty()) return nullptr;
    return ModelFile::Open(PosixFileSystem(),
                           *MakeTestJob("model { tensors { tensor { name: 'w' "
                                        "shape: 1 } } } steps: 1"),
                           path_, /*with_state=*/true);
  }
  void Send(std::string chunk, bool last) override {
    {
      MutexLock lock(&mu_);
      EXPECT_LE(chunk.size(), kChunk);
      bytes_ += chunk;
      ++chunks_;
      if (last) end_ = absl::OkStatus();
    }
    changed_.NotifyAll();
    if (!takes_) return;
    last ? sender_->Remove(this) : sender_->Taken(this);
  }
  void End(absl::Status status) override {
    {
      MutexLock lock(&mu_);
      EXPECT_FALSE(end_.has_value());
      end_ = std::move(status);
    }
    changed_.NotifyAll();
  }

  // Until the end; what it ended with.
  absl::Status Wait() {
    MutexLock lock(&mu_);
    const absl::Duration until = SteadyClock().Now() + kPatience;
    while (!end_.has_value() && SteadyClock().Now() < until) changed_.WaitFor(&mu_, kPatience);
    return end_.value_or(absl::DeadlineExceededError("the test's patience"));
  }
  void WaitForChunk() {
    MutexLock lock(&mu_);
    while (chunks_ == 0) changed_.Wait(&mu_);
  }
  std::string bytes() const {
    MutexLock lock(&mu_);
    return bytes_;
  }
  size_t chunks() const {
    MutexLock lock(&mu_);
    return chunks_;
  }

 private:
  ModelSender* const sender_;
  const std::string path_;
  const bool takes_;
  mutable Mutex mu_;
  CondVar changed_;
  std::string bytes_ ABSL_GUARDED_BY(mu_);
  size_t chunks_ ABSL_GUARDED_BY(mu_) = 0;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mu_);
};

class ModelSenderTest : public testing::Test {
 protected:
  // A file of so many bytes, no two MiB of which are alike.
  std::string MakeFile(size_t size) {
    std::string bytes(size, '\0');
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 7 + (i >> 20));
    const std::string path = absl::StrCat(folder_, "/", size);
    EXPECT_TRUE(WriteFileAtomically(path, bytes).ok());
    content_[path] = std::move(bytes);
    return path;
  }

  const std::string folder_ = TestFolder();
  std::map<std::string, std::string> content_;
};

TEST_F(ModelSenderTest, EverybodyGetsTheWholeFile) {
  ModelSender sender({.bytes_per_second = 0});
  for (const size_t size : {size_t{1}, kChunk - 1, kChunk, kChunk + 1, 3 * kChunk + 17}) {
    const std::string path = MakeFile(size);
    std::vector<std::shared_ptr<FakeReceiver>> receivers;
    for (int i = 0; i < 5; ++i) {
      receivers.push_back(std::make_shared<FakeReceiver>(&sender, path));
      ASSERT_TRUE(sender.Add(receivers.back()).ok());
    }
    for (const auto& receiver : receivers) {
      ASSERT_TRUE(receiver->Wait().ok());
      EXPECT_TRUE(receiver->bytes() == content_[path]) << size;
      EXPECT_EQ(receiver->chunks(), (size + kChunk - 1) / kChunk);
    }
  }
}

TEST_F(ModelSenderTest, NoFileIsOneEmptyChunkAndAFailureItsStatus) {
  ModelSender sender({});
  const auto none = std::make_shared<FakeReceiver>(&sender, "");
  ASSERT_TRUE(sender.Add(none).ok());
  EXPECT_TRUE(none->Wait().ok());
  EXPECT_EQ(none->chunks(), 1u);
  const auto missing = std::make_shared<FakeReceiver>(&sender, folder_ + "/missing");
  ASSERT_TRUE(sender.Add(missing).ok());
  EXPECT_EQ(missing->Wait().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(missing->chunks(), 0u);
}

// What goes out in any time is bounded from above; a slow machine only makes it less.
TEST_F(ModelSenderTest, AllTogetherStayWithinTheRate) {
  constexpr double kRate = 20 * kChunk;
  ModelSender sender({.bytes_per_second = kRate});
  const std::string path = MakeFile(4 * kChunk);
  const absl::Duration begin = SteadyClock().Now();
  std::vector<std::shared_ptr<FakeReceiver>> receivers;
  for (int i = 0; i < 3; ++i) {
    receivers.push_back(std::make_shared<FakeReceiver>(&sender, path));
    ASSERT_TRUE(sender.Add(receivers.back()).ok());
  }
  for (const auto& receiver : receivers) ASSERT_TRUE(receiver->Wait().ok());
  // 12 chunks, of which two may go at once.
  EXPECT_GE(SteadyClock().Now() - begin, absl::Seconds(10 * kChunk / kRate));
}

TEST_F(ModelSenderTest, OneThatDoesNotTakeItsChunkGetsNoOtherAndHoldsNobodyUp) {
  ModelSender sender({.bytes_per_second = 0});
  const std::string path = MakeFile(5 * kChunk);
  const auto idle = std::make_shared<FakeReceiver>(&sender, path, /*takes=*/false);
  ASSERT_TRUE(sender.Add(idle).ok());
  idle->WaitForChunk();
  for (int i = 0; i < 3; ++i) {
    const auto other = std::make_shared<FakeReceiver>(&sender, path);
    ASSERT_TRUE(sender.Add(other).ok());
    ASSERT_TRUE(other->Wait().ok());
  }
  EXPECT_EQ(idle->chunks(), 1u);
  sender.Taken(idle.get());
  sender.Remove(idle.get());
  EXPECT_LE(idle->chunks(), 2u);
}

TEST_F(ModelSenderTest, PatienceWithItEnds) {
  ModelSender sender({.bytes_per_second = 0, .patience = absl::Milliseconds(10)});
  const auto idle = std::make_shared<FakeReceiver>(&sender, MakeFile(5 * kChunk), /*takes=*/false);
  ASSERT_TRUE(sender.Add(idle).ok());
  EXPECT_EQ(idle->Wait().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(idle->chunks(), 1u);
}

TEST_F(ModelSenderTest, MoreThanItsNumberAreRefusedUntilOneHasGone) {
  ModelSender sender({.bytes_per_second = 0, .max_receivers = 2});
  const std::string path = MakeFile(2 * kChunk);
  std::vector<std::shared_ptr<FakeReceiver>> idle;
  for (int i = 0; i < 2; ++i) {
    idle.push_back(std::make_shared<FakeReceiver>(&sender, path, /*takes=*/false));
    ASSERT_TRUE(sender.Add(idle.back()).ok());
  }
  const auto third = std::make_shared<FakeReceiver>(&sender, path);
  const absl::Status refused = sender.Add(third);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("try again"));
  sender.Remove(idle[0].get());
  ASSERT_TRUE(sender.Add(third).ok());
  EXPECT_TRUE(third->Wait().ok());
  EXPECT_TRUE(third->bytes() == content_[path]);
}

}  // namespace
}  // namespace gradwire
