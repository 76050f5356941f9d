#include "base/check.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace ingot {
namespace {
std::atomic<bool> g_has_failed{false};  // g_text is written
char g_text[512];
std::atomic_flag g_is_failing = ATOMIC_FLAG_INIT;  // the first to fail writes it
}  // namespace

void CheckFailed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, condition);
  if (!g_is_failing.test_and_set()) {
    std::snprintf(g_text, sizeof(g_text), "%s:%d: %s", file, line, condition);
    g_has_failed.store(true);
  }
  std::abort();
}

const char* FailedCheck() { return g_has_failed.load() ? g_text : ""; }

}  // namespace ingot
