// SPDX-License-Identifier: Apache-2.0
// The first values of a tensor, by the name of the law that they follow.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/random/counter.h"

namespace gradwire {

// What zeros | constant:V | normal:STD | he_normal | he_uniform | xavier_normal |
// xavier_uniform means for a tensor of one shape.
struct Initializer {
  enum class Law { kConstant, kNormal, kUniform };
  Law law = Law::kConstant;
  float scale = 0;  // the constant, the standard deviation, or the bound

  // Of tensor number `tensor`, the values from its value `begin` on: a function of (seed, tensor,
  // place in the tensor), the same bits on every machine.
  void Fill(uint64_t seed, uint64_t tensor, absl::Span<float> values, size_t begin = 0) const;

 private:
  void FillChunk(const RandomKey& key, absl::Span<float> chunk) const;
};

// fan_in is the product of shape[1..], fan_out shape[0] times the product of shape[2..];
// for a shape of fewer than two dimensions both are its size.
//   He et al. 2015:         std sqrt(2 / fan_in),             bound sqrt(6 / fan_in)
//   Glorot and Bengio 2010: std sqrt(2 / (fan_in + fan_out)), bound sqrt(6 / (fan_in + fan_out))
// The product of `shape` is below 2^53.  InvalidArgument names what is allowed.
absl::StatusOr<Initializer> MakeInitializer(absl::string_view text,
                                            absl::Span<const uint64_t> shape);

}  // namespace gradwire
