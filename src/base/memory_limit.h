// The limits of a process's memory that a shell sets: ulimit -v and -d.
#pragma once

#include <cstdint>
#include <optional>

namespace ingot {

// What the tighter one leaves for more than threads and small things; nullopt: there is none.
std::optional<int64_t> MemoryLeftByLimits();

}  // namespace ingot
