// SPDX-License-Identifier: Apache-2.0
// The codec `identity`: everything, as it is.
#pragma once

#include <memory>
#include <vector>

#include "common/base/spec.h"
#include "common/codec/codec.h"

namespace gradwire {

const std::vector<SpecParameter>& IdentityParameters();
std::unique_ptr<Codec> MakeIdentity(const SpecValues& values);

}  // namespace gradwire
