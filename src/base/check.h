// INGOT_CHECK(condition): a false condition is a bug of ours; it prints where and what, then aborts.
// Never for input (status.h).
#pragma once

namespace ingot {
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition);
// What the check that failed said, while the process dies of it; "" where none did. May be called from a signal's
// handler.
const char* FailedCheck();
}  // namespace ingot

#define INGOT_CHECK(condition)                              \
  do {                                                      \
    if (!(condition)) [[unlikely]]                          \
      ::ingot::CheckFailed(__FILE__, __LINE__, #condition); \
  } while (false)
