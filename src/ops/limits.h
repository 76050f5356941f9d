// What a core can do at most, for those who tell users.
#pragma once

#include "kernels/limits.h"

namespace ingot::ops {

using kernels::MultiplyLimit;
using kernels::MultiplyLimits;
using kernels::ReadMemory;

}  // namespace ingot::ops
