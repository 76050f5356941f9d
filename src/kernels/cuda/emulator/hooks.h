// Between the emulator's own sources.
#pragma once

#include "kernels/cuda/emulator/emulator.h"

namespace ingot::kernels::emulator {

Counts& MutableCounts();
void SayThatAccessesAreSeen();

}  // namespace ingot::kernels::emulator
