// SPDX-License-Identifier: Apache-2.0
// The codec `random_k`: k coordinates of each block, drawn by seed and step.
#pragma once

#include <memory>
#include <vector>

#include "common/base/spec.h"
#include "common/codec/codec.h"

namespace gradwire {

const std::vector<SpecParameter>& RandomKParameters();
std::unique_ptr<Codec> MakeRandomK(const SpecValues& values);

}  // namespace gradwire
