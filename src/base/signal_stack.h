// A stack for the handlers of signals, so that they run also when the thread's own stack has overflowed.
#pragma once

#include <signal.h>

#include <cstddef>

namespace ingot {

// Belongs to the thread that makes it, until it goes; what the thread had before holds again then. Where there is no
// memory for it, the thread goes without.
class SignalStack {
 public:
  SignalStack();
  ~SignalStack();
  SignalStack(const SignalStack&) = delete;
  SignalStack& operator=(const SignalStack&) = delete;

 private:
  void* memory_ = nullptr;
  size_t size_ = 0;
  stack_t previous_ = {};
};

}  // namespace ingot
