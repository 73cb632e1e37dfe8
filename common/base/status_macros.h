// SPDX-License-Identifier: Apache-2.0
// The two macros by which a failed status leaves a function.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define GRADWIRE_RETURN_IF_ERROR(expr)                 \
  do {                                                 \
    absl::Status gradwire_status = (expr);             \
    if (!gradwire_status.ok()) return gradwire_status; \
  } while (false)

#define GRADWIRE_CONCAT_INNER(a, b) a##b
#define GRADWIRE_CONCAT(a, b) GRADWIRE_CONCAT_INNER(a, b)

// GRADWIRE_ASSIGN_OR_RETURN(auto x, MakeX());
#define GRADWIRE_ASSIGN_OR_RETURN(lhs, expr) \
  GRADWIRE_ASSIGN_OR_RETURN_IMPL(GRADWIRE_CONCAT(gradwire_or_, __LINE__), lhs, expr)
#define GRADWIRE_ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                                   \
  if (!tmp.ok()) return tmp.status();                  \
  lhs = std::move(tmp).value()
