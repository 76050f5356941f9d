// INGOT_CHECK(condition): a false condition is a bug of ours; it prints where and what, then aborts.
// Never for input (status.h).
#pragma once

namespace ingot {
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition);
// The message of the failed check, while the process crashes with it; "" if none failed. May be called from a signal
// handler.
const char* FailedCheck();
}  // namespace ingot

#define INGOT_CHECK(condition)                              \
  do {                                                      \
    if (!(condition)) [[unlikely]]                          \
      ::ingot::CheckFailed(__FILE__, __LINE__, #condition); \
  } while (false)
