#include "kernels/cuda/emulator/fiber.h"

#include <sys/mman.h>

#include <cstring>

#include "base/check.h"

#if defined(__SANITIZE_ADDRESS__)
#define INGOT_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define INGOT_ASAN
#endif
#endif
#ifdef INGOT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// Saves what the System V ABI lets a callee keep, and takes over the other stack.
extern "C" void ingot_emulator_switch(void** save_stack_pointer, void* stack_pointer);
__asm__(R"(.text
.globl ingot_emulator_switch
.type ingot_emulator_switch,@function
ingot_emulator_switch:
 pushq %rbp
 pushq %rbx
 pushq %r12
 pushq %r13
 pushq %r14
 pushq %r15
 movq %rsp,(%rdi)
 movq %rsi,%rsp
 popq %r15
 popq %r14
 popq %r13
 popq %r12
 popq %rbx
 popq %rbp
 ret
.size ingot_emulator_switch,.-ingot_emulator_switch
)");

namespace ingot::kernels::emulator {
namespace {

constexpr size_t kStackBytes = 128 << 10, kGuardBytes = 4096;
constexpr int kSavedRegisters = 6;

}  // namespace

Fiber::Fiber(void (*entry)()) : entry_(entry) {
  void* const mapping = mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  INGOT_CHECK(mapping != MAP_FAILED);
  INGOT_CHECK(mprotect(mapping, kGuardBytes, PROT_NONE) == 0);
  mapping_ = static_cast<std::byte*>(mapping);
  stack = mapping_ + kGuardBytes;
  stack_bytes = kStackBytes;
  Restart();
}

Fiber::~Fiber() { munmap(mapping_, kGuardBytes + kStackBytes); }

void Fiber::Restart() {
#ifdef INGOT_ASAN
  __asan_unpoison_memory_region(stack, stack_bytes);
  asan_stack = nullptr;
#endif
  // A return address, above which the stack is aligned as after a call.
  auto** const top = reinterpret_cast<void**>(mapping_ + kGuardBytes + kStackBytes) - 2;
  top[0] = reinterpret_cast<void*>(entry_);
  top[1] = nullptr;
  stack_pointer = top - kSavedRegisters;
  std::memset(stack_pointer, 0, kSavedRegisters * sizeof(void*));
}

void Switch(Context& from, Context& to) {
#ifdef INGOT_ASAN
  __sanitizer_start_switch_fiber(&from.asan_stack, to.stack, to.stack_bytes);
#endif
  ingot_emulator_switch(&from.stack_pointer, to.stack_pointer);
#ifdef INGOT_ASAN
  __sanitizer_finish_switch_fiber(from.asan_stack, nullptr, nullptr);
#endif
}

void EnterFiber() {
#ifdef INGOT_ASAN
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

}  // namespace ingot::kernels::emulator
