// SPDX-License-Identifier: Apache-2.0
// Every optimizer by name, and what is said of a wrong one.
#include "common/optimizer/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gradwire {
namespace {

using testing::HasSubstr;

TEST(OptimizerRegistryTest, EntriesMakeWhatTheyDescribe) {
  ASSERT_FALSE(OptimizerRegistry().empty());
  for (const OptimizerEntry& entry : OptimizerRegistry()) {
    SCOPED_TRACE(entry.name);
    EXPECT_STRNE(entry.summary, "");
    EXPECT_STRNE(entry.source, "");
    EXPECT_STRNE(entry.state, "");
    for (const SpecParameter& parameter : entry.parameters()) {
      EXPECT_FALSE(parameter.help.empty()) << parameter.name;
    }
    EXPECT_TRUE(MakeOptimizer(std::string(entry.name) + ":lr=0.1").ok());
  }
}

TEST(OptimizerRegistryTest, RefusesWithNameValueAndLimit) {
  const struct {
    const char* spec;
    const char* want;
  } cases[] = {
      {"", "no optimizer \"\"; known: sgd, adagrad"},
      {"lion:0.1", "\"lion:0.1\": no optimizer \"lion\"; known: sgd, adagrad"},
      {"sgd", "\"sgd\": lr is required"},
      {"sgd:0", "lr: 0 is not in ["},
      {"sgd:lr=-1", "lr: -1 is not in ["},
      {"sgd:lr=nan", "lr: \"nan\" is not a number"},
      {"sgd:0.1,momentum=1.5", "momentum: 1.5 is not in [0, 1]"},
      {"sgd:0.1,momentum=-0.1", "momentum: -0.1 is not in [0, 1]"},
      {"sgd:0.1,weight_decay=-1", "weight_decay: -1 is not in [0, 1]"},
      {"sgd:0.1,nesterov=true", "nesterov: \"true\" is not one of no, yes"},
      // As torch: "Nesterov momentum requires a momentum and zero dampening".
      {"sgd:0.1,nesterov=yes", "nesterov=yes needs momentum > 0 and dampening=0"},
      {"sgd:0.1,0.9,0.1,nesterov=yes", "nesterov=yes needs momentum > 0 and dampening=0"},
      {"sgd:0.1,beta=0.9", "no parameter for \"beta=0.9\"; known: lr, momentum"},
      {"adagrad:lr_decay=-1", "lr_decay: -1 is not in [0, 1]"},
      {"adagrad:initial_accumulator=-1", "initial_accumulator: -1 is not in [0, 1e+06]"},
      {"adagrad:eps=0", "eps: 0 is not in [1e-30, 1]"},
      {"rmsprop:alpha=1", "\"rmsprop:alpha=1\": alpha: 1 is not in [0, 1)"},
      {"rmsprop:momentum=1", "momentum: 1 is not in [0, 1)"},
      {"rmsprop:centered=1", "centered: \"1\" is not one of no, yes"},
      {"adadelta:rho=1", "rho: 1 is not in [0, 1)"},
      {"adam:beta1=1", "beta1: 1 is not in [0, 1)"},
      {"adamw:beta2=1", "beta2: 1 is not in [0, 1)"},
      {"adamw:amsgrad=maybe", "amsgrad: \"maybe\" is not one of no, yes"},
      {"ftml:beta1=1", "beta1: 1 is not in [0, 1)"},
      {"ftml:beta2=1.1", "beta2: 1.1 is not in [0, 1]"},
      {"signum:momentum=1", "momentum: 1 is not in [0, 1)"},
      {"sgld", "\"sgld\": lr is required"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.spec);
    const absl::Status status = MakeOptimizer(c.spec).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.want));
  }
}

}  // namespace
}  // namespace gradwire
