// SPDX-License-Identifier: Apache-2.0
// The line of progress: its text, when it is shown, and how it stays on one line.
#include "worker/train/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>

namespace gradwire {
namespace {

class ManualClock final : public Clock {
 public:
  absl::Duration Now() const override { return now_; }
  void Advance(absl::Duration by) { now_ += by; }

 private:
  absl::Duration now_ = absl::Seconds(1000);
};

ProgressState Full() {
  return {.step = 812,
          .steps = 2000,
          .loss = 0.4123,
          .metrics = {{"accuracy", 0.8461}},
          .steps_per_second = 18.3,
          .up_bytes = 9412,
          .down_bytes = 9601,
          .dense_bytes = 940584};
}

TEST(ProgressTest, LineHoldsWhatIsKnown) {
  ProgressState no_dense = Full();
  no_dense.dense_bytes = 0;
  ProgressState silent = Full();
  silent.up_bytes = 0;
  silent.down_bytes = 0;
  ProgressState last = Full();
  last.step = 2000;
  ProgressState saddle = Full();
  saddle.loss = std::nan("");
  saddle.metrics = {{"distance", 1.5}, {"mean", -0.25}};
  saddle.up_bytes = std::nullopt;
  const struct {
    const char* name;
    ProgressState state;
    const char* want;
  } cases[] = {
      {"full", Full(),
       "step 812/2000  loss 0.412  accuracy 0.846  18.3 steps/s  up 9.4 kB  down 9.6 kB a step  "
       "saving 100x/98x  1m04s left"},
      {"start", {.steps = 2000}, "step 0/2000"},
      {"first", {.step = 1, .steps = 2000, .loss = 2.3}, "step 1/2000  loss 2.300"},
      {"no dense", no_dense,
       "step 812/2000  loss 0.412  accuracy 0.846  18.3 steps/s  up 9.4 kB  down 9.6 kB a step  "
       "1m04s left"},
      {"silent", silent,
       "step 812/2000  loss 0.412  accuracy 0.846  18.3 steps/s  up 0 B  down 0 B a step  "
       "1m04s left"},
      {"last", last,
       "step 2000/2000  loss 0.412  accuracy 0.846  18.3 steps/s  up 9.4 kB  down 9.6 kB a step  "
       "saving 100x/98x"},
      {"saddle", saddle,
       "step 812/2000  loss nan  distance 1.500  mean -0.250  18.3 steps/s  1m04s left"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(FormatProgress(c.state), c.want);
  }
}

TEST(ProgressTest, RatesAndSavingsHaveTheDigitsThatMatter) {
  const struct {
    double rate, dense, sent;
    const char* want;
  } cases[] = {
      {0.5, 300, 200, "  0.50 steps/s  up 200 B  down 200 B a step  saving 1.5x/1.5x  2s left"},
      {9.999, 994, 100, "  10.0 steps/s  up 100 B  down 100 B a step  saving 9.9x/9.9x  0s left"},
      {99.99, 995, 100, "  100 steps/s  up 100 B  down 100 B a step  saving 10x/10x  0s left"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(FormatProgress({.step = 1,
                              .steps = 2,
                              .steps_per_second = c.rate,
                              .up_bytes = c.sent,
                              .down_bytes = c.sent,
                              .dense_bytes = c.dense}),
              std::string("step 1/2") + c.want);
  }
}

TEST(ProgressTest, BytesAndTimesChangeUnits) {
  const struct {
    double bytes;
    const char* want;
  } bytes[] = {{0, "0 B"},         {999.4, "999 B"},     {999.6, "1.0 kB"},
               {9412, "9.4 kB"},   {940584, "940.6 kB"}, {999960, "1.0 MB"},
               {3.25e6, "3.2 MB"}, {4.2e9, "4.2 GB"},    {1.234e15, "1234000.0 GB"}};
  for (const auto& c : bytes) EXPECT_EQ(FormatBytes(c.bytes), c.want);
  const struct {
    absl::Duration time;
    const char* want;
  } times[] = {{absl::Milliseconds(400), "0s"},        {absl::Seconds(59.9), "59s"},
               {absl::Seconds(65), "1m05s"},           {absl::Minutes(60), "1h00m"},
               {absl::Minutes(123), "2h03m"},          {absl::Hours(99), "4d03h"},
               {absl::InfiniteDuration(), "9999d00h"}, {-absl::Seconds(5), "0s"}};
  for (const auto& c : times) EXPECT_EQ(FormatTimeLeft(c.time), c.want);
}

TEST(ProgressTest, LiveLineIsCutBeforeTheLastColumn) {
  EXPECT_EQ(LiveLine("step 1/2", 80), "\rstep 1/2\x1b[K");
  EXPECT_EQ(LiveLine("step 1/2", 9), "\rstep 1/2\x1b[K");
  EXPECT_EQ(LiveLine("step 1/2", 8), "\rstep 1/\x1b[K");
  EXPECT_EQ(LiveLine("step 1/2", 0), "\r\x1b[K");
}

class ProgressOutputTest : public testing::Test {
 protected:
  void Start(bool terminal, size_t columns) {
    progress_ = std::make_unique<Progress>(ProgressOptions{.out = file_.get(),
                                                           .terminal = terminal,
                                                           .columns = columns,
                                                           .steps = 100,
                                                           .dense_bytes = 1000},
                                           &clock_);
  }

  // One step after `seconds`, which sent 10 bytes up and 20 down.
  void Step(double seconds) {
    clock_.Advance(absl::Seconds(seconds));
    ++step_;
    progress_->Step(step_, 0.5, 10 * step_, 20 * step_);
  }

  std::string TakeOutput() {
    const long end = std::ftell(file_.get());
    std::string text(static_cast<size_t>(end - taken_), '\0');
    std::fseek(file_.get(), taken_, SEEK_SET);
    EXPECT_EQ(std::fread(text.data(), 1, text.size(), file_.get()), text.size());
    std::fseek(file_.get(), 0, SEEK_END);
    taken_ = end;
    return text;
  }

  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_{std::tmpfile(), std::fclose};
  ManualClock clock_;
  std::unique_ptr<Progress> progress_;
  uint64_t step_ = 0;
  long taken_ = 0;
};

TEST_F(ProgressOutputTest, ElsewhereALineComesEveryFewSeconds) {
  Start(/*terminal=*/false, /*columns=*/0);
  for (int i = 0; i < 9; ++i) Step(0.5);
  EXPECT_EQ(TakeOutput(), "");
  Step(0.5);
  EXPECT_EQ(TakeOutput(),
            "step 10/100  loss 0.500  2.00 steps/s  up 10 B  down 20 B a step  saving 100x/50x  "
            "45s left\n");
  v1::Evaluation evaluation;
  evaluation.add_metrics()->set_name("accuracy");
  evaluation.mutable_metrics(0)->set_value(0.75);
  progress_->Evaluated(evaluation);
  EXPECT_EQ(TakeOutput(), "");
  progress_->Finish();
  EXPECT_EQ(TakeOutput(),
            "step 10/100  loss 0.500  accuracy 0.750  2.00 steps/s  up 10 B  down 20 B a step  "
            "saving 100x/50x  45s left\n");
  progress_->Finish();  // nothing new
  EXPECT_EQ(TakeOutput(), "");
}

TEST_F(ProgressOutputTest, OnATerminalOneLineIsRedrawnAndEndedOnce) {
  Start(/*terminal=*/true, /*columns=*/24);
  Step(0.05);
  EXPECT_EQ(TakeOutput(), "");
  Step(0.05);
  EXPECT_EQ(TakeOutput(), "\rstep 2/100  loss 0.500 \x1b[K");
  Step(0.05);
  EXPECT_EQ(TakeOutput(), "");
  progress_->Finish();
  EXPECT_EQ(TakeOutput(), "\rstep 3/100  loss 0.500 \x1b[K\n");
  progress_->Finish();
  EXPECT_EQ(TakeOutput(), "");
}

TEST_F(ProgressOutputTest, RatesAreThoseOfTheLastTenSeconds) {
  Start(/*terminal=*/true, /*columns=*/200);
  for (int i = 0; i < 30; ++i) Step(0.1);
  for (int i = 0; i < 5; ++i) Step(2);
  EXPECT_THAT(TakeOutput(), testing::HasSubstr("step 35/100  loss 0.500  0.50 steps/s"));
  Step(60);  // longer than the window: the rate of this step alone
  EXPECT_THAT(TakeOutput(), testing::HasSubstr("step 36/100  loss 0.500  0.02 steps/s"));
}

TEST_F(ProgressOutputTest, AStepBackBeginsTheRatesAnew) {
  Start(/*terminal=*/false, /*columns=*/0);
  for (int i = 0; i < 10; ++i) Step(0.5);
  TakeOutput();
  step_ = 2;
  Step(5);
  Step(5);
  EXPECT_THAT(TakeOutput(), testing::HasSubstr("step 4/100  loss 0.500  0.20 steps/s  up 10 B"));
}

TEST_F(ProgressOutputTest, AFileIsNoTerminal) {
  EXPECT_FALSE(OutputIsTerminal(file_.get()));
  EXPECT_EQ(TerminalColumns(file_.get()), 80);
}

}  // namespace
}  // namespace gradwire
