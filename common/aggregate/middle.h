// SPDX-License-Identifier: Apache-2.0
// The middle of several numbers: of many columns at once, or of one list.
#pragma once

#include <vector>

#include "absl/types/span.h"
#include "common/aggregate/aggregator.h"

namespace gradwire {

// out[i] = the mean of rows[m][i] over all members m but those with the `left_out` least and the
// `left_out` greatest; 2 left_out < members.  The rest is added in double in ascending order (-0
// before +0), divided once, and rounded once to float: no order of members changes a bit, and no
// sum overflows.  Uses the rows as scratch.
void MeanOfMiddle(const MemberRows& members, size_t left_out, absl::Span<float> out);

// Of an even number, the mean of the two middle ones; 0 of none.
double Median(std::vector<double> values);

}  // namespace gradwire
