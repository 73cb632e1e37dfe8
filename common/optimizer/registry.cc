// SPDX-License-Identifier: Apache-2.0
// Implementation of registry.h: the table of all optimizers.
#include "common/optimizer/registry.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"

// One line each; NameEntry() is defined in the optimizer's own file.
#define GRADWIRE_OPTIMIZERS(OPTIMIZER) \
  OPTIMIZER(Sgd)                       \
  OPTIMIZER(Adagrad)                   \
  OPTIMIZER(Rmsprop)                   \
  OPTIMIZER(Adadelta)                  \
  OPTIMIZER(Adam)                      \
  OPTIMIZER(Adamw)                     \
  OPTIMIZER(Ftml)                      \
  OPTIMIZER(Signum)                    \
  OPTIMIZER(Sgld)

namespace gradwire {

#define GRADWIRE_DECLARE_OPTIMIZER(Name) OptimizerEntry Name##Entry();
GRADWIRE_OPTIMIZERS(GRADWIRE_DECLARE_OPTIMIZER)
#undef GRADWIRE_DECLARE_OPTIMIZER

absl::Span<const OptimizerEntry> OptimizerRegistry() {
#define GRADWIRE_CALL_OPTIMIZER(Name) Name##Entry(),
  static const OptimizerEntry entries[] = {GRADWIRE_OPTIMIZERS(GRADWIRE_CALL_OPTIMIZER)};
#undef GRADWIRE_CALL_OPTIMIZER
  return entries;
}

absl::StatusOr<std::unique_ptr<Optimizer>> MakeOptimizer(absl::string_view spec) {
  const absl::string_view name = SpecName(spec);
  for (const OptimizerEntry& entry : OptimizerRegistry()) {
    if (name != entry.name) continue;
    GRADWIRE_ASSIGN_OR_RETURN(const SpecValues values,
                              ParseSpecArguments(spec, entry.parameters()));
    absl::StatusOr<std::unique_ptr<Optimizer>> made = entry.make(values);
    if (made.ok()) return made;
    return absl::InvalidArgumentError(absl::StrCat("\"", spec, "\": ", made.status().message()));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", spec, "\": no optimizer \"", name, "\"; known: ",
      absl::StrJoin(OptimizerRegistry(), ", ", [](std::string* out, const OptimizerEntry& entry) {
        absl::StrAppend(out, entry.name);
      })));
}

}  // namespace gradwire
