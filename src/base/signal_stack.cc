#include "base/signal_stack.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

namespace ingot {
namespace {

// The kernel's frame (all registers of vectors) and what our handlers need.
size_t StackSize() {
  const long frame = sysconf(_SC_SIGSTKSZ);
  return std::max<size_t>(65536, frame > 0 ? static_cast<size_t>(frame) + 32768 : 0);
}

}  // namespace

SignalStack::SignalStack() : size_(StackSize()) {
  void* const memory = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED) return;
  const stack_t mine{.ss_sp = memory, .ss_flags = 0, .ss_size = size_};
  if (sigaltstack(&mine, &previous_) == 0) {
    memory_ = memory;
  } else {
    munmap(memory, size_);
  }
}

SignalStack::~SignalStack() {
  if (memory_ == nullptr) return;
  sigaltstack(&previous_, nullptr);
  munmap(memory_, size_);
}

}  // namespace ingot
