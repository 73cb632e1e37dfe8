// SPDX-License-Identifier: Apache-2.0
// The codec `top_k`: the k values of greatest magnitude of each block.
#pragma once

#include <memory>
#include <vector>

#include "common/base/spec.h"
#include "common/codec/codec.h"

namespace gradwire {

const std::vector<SpecParameter>& TopKParameters();
std::unique_ptr<Codec> MakeTopK(const SpecValues& values);

}  // namespace gradwire
