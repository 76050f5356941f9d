// Damages sound files, deterministically by seed. For tests.
#pragma once

#include <cstdint>
#include <random>
#include <string>

#include "formats/damage_samples.h"

namespace ingot::formats {

using Random = std::mt19937_64;

// Structure-aware: sets fields to telling values, changes numbers and words of JSON text, moves bits of the header.
std::string DamageHeader(const Sample& sample, Random* random);
// Anything, anywhere: bits, bytes, pieces cut, doubled, moved or missing at the end.
std::string DamageBytes(const Sample& sample, Random* random);

}  // namespace ingot::formats
