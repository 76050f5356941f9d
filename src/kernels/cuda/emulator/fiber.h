// A stack of its own, and the switch between stacks: each emulated CUDA thread is a fiber.
#pragma once

#include <cstddef>

namespace ingot::kernels::emulator {

// Where code runs: what a switch saves and restores.
struct Context {
  void* stack_pointer = nullptr;
  const std::byte* stack = nullptr;  // its lowest byte
  size_t stack_bytes = 0;
  void* asan_stack = nullptr;
};

class Fiber : public Context {
 public:
  // The first switch to it calls `entry`, which never returns.
  explicit Fiber(void (*entry)());
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  // Forgets where it was; the next switch begins `entry` once more.
  void Restart();

 private:
  void (*const entry_)();
  std::byte* mapping_;
};

// Runs `to` until something switches back to `from`, which is the running context.
void Switch(Context& from, Context& to);
// The first thing that a fiber calls.
void EnterFiber();

}  // namespace ingot::kernels::emulator
