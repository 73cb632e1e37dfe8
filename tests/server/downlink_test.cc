// SPDX-License-Identifier: Apache-2.0
// What goes down and what stays at the server are together what was to go down.
#include "server/downlink.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/common/replica/test_records.h"
#include "tests/server/real_cluster.h"

namespace gradwire {
namespace {

using testing::Each;

constexpr size_t kDimension = 300;

std::shared_ptr<const Job> DownlinkJob(const std::string& rest) {
  return MakeTestJob(absl::StrCat("model { tensors { tensor { name: 'w' shape: ", kDimension,
                                  " } } } steps: 100 ", rest));
}

BlockValues Dense(const std::vector<float>& values) {
  return {.dense = true, .indices = {}, .values = values};
}

// delta, as what is added to nothing.
std::vector<float> Residual(const Downlink& downlink) {
  BlockValues nothing = Dense(std::vector<float>(kDimension, 0.0f));
  downlink.AddResidual(0, &nothing);
  return nothing.values;
}

// Sends `mean` down and adds what a replica decodes to `sum`.
void Send(const Job& job, uint64_t step, bool flush, BlockValues mean, Downlink* downlink,
          std::vector<double>* sum) {
  BlockKey key = job.Key(step, 0);
  key.unit = 0.5f;
  downlink->AddResidual(0, &mean);
  std::string payload;
  downlink->Encode(key, flush, &mean, &payload);
  BlockValues decoded;
  const Codec& codec = job.CodecOf(0, flush);
  const absl::Status status = job.plans[0].compress_down
                                  ? DecodePayload(codec, key, payload, &decoded)
                                  : codec.DecodeUpdate(key, payload, &decoded);
  ASSERT_TRUE(status.ok()) << status;
  for (size_t i = 0; i < decoded.values.size(); ++i) {
    (*sum)[decoded.dense ? i : decoded.indices[i]] += double{decoded.values[i]};
  }
}

TEST(DownlinkTest, WhatWentDownAndDeltaAreTheSumOfTheMeans) {
  for (const char* codec :
       {"top_k:0.05", "sign", "one_bit", "int8", "threshold:0.5", "random_k:0.1"}) {
    SCOPED_TRACE(codec);
    const auto job = DownlinkJob(absl::StrCat("codec: '", codec, "' downlink: 'compressed'"));
    ASSERT_TRUE(job->plans[0].compress_down);
    Downlink downlink(job);
    std::vector<double> given(kDimension, 0.0);
    std::vector<double> sent(kDimension, 0.0);
    for (uint64_t step = 1; step <= 30; ++step) {
      const std::vector<float> mean = NormalGradient(kDimension, 0, step);
      for (size_t i = 0; i < kDimension; ++i) given[i] += mean[i];
      Send(*job, step, /*flush=*/false, Dense(mean), &downlink, &sent);
      const std::vector<float> delta = Residual(downlink);
      for (size_t i = 0; i < kDimension; ++i) {
        ASSERT_NEAR(sent[i] + delta[i], given[i], 1e-4) << step << " " << i;
      }
    }
    Send(*job, 31, /*flush=*/true, Dense(std::vector<float>(kDimension, 0.0f)), &downlink, &sent);
    EXPECT_THAT(Residual(downlink), Each(0.0f));
    for (size_t i = 0; i < kDimension; ++i) ASSERT_NEAR(sent[i], given[i], 1e-4) << i;
  }
}

TEST(DownlinkTest, ASparseMeanIsTheSameAsADenseOne) {
  const auto job = DownlinkJob("codec: 'top_k:0.05' downlink: 'compressed'");
  Downlink sparse(job);
  Downlink dense(job);
  std::vector<double> from_sparse(kDimension, 0.0);
  std::vector<double> from_dense(kDimension, 0.0);
  for (uint64_t step = 1; step <= 5; ++step) {
    const std::vector<float> some = NormalGradient(40, 0, step);
    BlockValues mean;
    std::vector<float> all(kDimension, 0.0f);
    for (uint32_t i = 0; i < 40; ++i) {
      mean.indices.push_back(i * 7);
      mean.values.push_back(some[i]);
      all[i * 7] = some[i];
    }
    Send(*job, step, false, mean, &sparse, &from_sparse);
    Send(*job, step, false, Dense(all), &dense, &from_dense);
  }
  EXPECT_EQ(from_sparse, from_dense);
  EXPECT_EQ(Residual(sparse), Residual(dense));
}

TEST(DownlinkTest, WithoutErrorFeedbackNothingStays) {
  for (const char* rest : {"codec: 'qsgd' downlink: 'compressed'", "codec: 'identity'",
                           "codec: 'top_k:0.05' downlink: 'aggregate'",
                           "codec: 'top_k:0.05' downlink: 'compressed' error_feedback: 'none'"}) {
    SCOPED_TRACE(rest);
    const auto job = DownlinkJob(rest);
    Downlink downlink(job);
    std::vector<double> sent(kDimension, 0.0);
    Send(*job, 1, false, Dense(NormalGradient(kDimension, 0, 1)), &downlink, &sent);
    EXPECT_THAT(Residual(downlink), Each(0.0f));
    EXPECT_THAT(sent, testing::Contains(testing::Ne(0.0)));
  }
}

TEST(DownlinkTest, AResetForgetsDelta) {
  const auto job = DownlinkJob("codec: 'top_k:0.05' downlink: 'compressed'");
  Downlink downlink(job);
  std::vector<double> sent(kDimension, 0.0);
  Send(*job, 1, false, Dense(NormalGradient(kDimension, 0, 1)), &downlink, &sent);
  EXPECT_THAT(Residual(downlink), testing::Contains(testing::Ne(0.0f)));
  downlink.Reset();
  EXPECT_THAT(Residual(downlink), Each(0.0f));
}

}  // namespace
}  // namespace gradwire
