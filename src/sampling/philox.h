// A counter-based generator: the n-th number is a function of (seed, n), so a draw does not depend on what was drawn
// before it, or for whom.
#pragma once

#include <array>
#include <cstdint>

namespace ingot::sampling {

// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// In [0, 1), 53 bits.
double UniformAt(uint64_t seed, uint64_t position);

}  // namespace ingot::sampling
