// SPDX-License-Identifier: Apache-2.0
// Chooses the model that a job names.
#include "worker/models/model.h"
