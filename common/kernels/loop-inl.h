// SPDX-License-Identifier: Apache-2.0
// The loop of every elementwise kernel.  Included once per instruction set, by
// Highway sources only, after "hwy/highway.h".
#if defined(GRADWIRE_COMMON_KERNELS_LOOP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GRADWIRE_COMMON_KERNELS_LOOP_INL_H_
#undef GRADWIRE_COMMON_KERNELS_LOOP_INL_H_
#else
#define GRADWIRE_COMMON_KERNELS_LOOP_INL_H_
#endif

#include <cstddef>

HWY_BEFORE_NAMESPACE();
namespace gradwire {
namespace HWY_NAMESPACE {

// Calls op(tag, i) for whole vectors of floats from i, and with a tag of one
// lane for what is left: one definition of an operation serves both.
template <class Op>
HWY_INLINE void ForEachVector(size_t n, const Op& op) {
  const hwy::HWY_NAMESPACE::ScalableTag<float> many;
  const hwy::HWY_NAMESPACE::CappedTag<float, 1> one;
  const size_t lanes = hwy::HWY_NAMESPACE::Lanes(many);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) op(many, i);
  for (; i < n; ++i) op(one, i);
}

// The first i of [0, n) for which bad(tag, i) has a true lane there, or n.
template <class Bad>
HWY_INLINE size_t FindFirstVector(size_t n, const Bad& bad) {
  const hwy::HWY_NAMESPACE::ScalableTag<float> many;
  const hwy::HWY_NAMESPACE::CappedTag<float, 1> one;
  const size_t lanes = hwy::HWY_NAMESPACE::Lanes(many);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto found = bad(many, i);
    if (!hwy::HWY_NAMESPACE::AllFalse(many, found)) break;  // the loop below says which
  }
  for (; i < n; ++i) {
    if (!hwy::HWY_NAMESPACE::AllFalse(one, bad(one, i))) break;
  }
  return i;
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace gradwire
HWY_AFTER_NAMESPACE();

#endif  // GRADWIRE_COMMON_KERNELS_LOOP_INL_H_
