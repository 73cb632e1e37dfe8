// SPDX-License-Identifier: Apache-2.0
// What the server's flags say of TLS, tokens and limits on peers.
#pragma once

#include "server/security.h"

namespace gradwire {

SecurityOptions SecurityFromFlags();

}  // namespace gradwire
