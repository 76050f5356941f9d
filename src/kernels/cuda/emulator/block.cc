// The running block: its threads, which of them runs, and where they wait for each other.
#include <fmt/format.h>
#include <link.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "kernels/cuda/emulator/fiber.h"
#include "kernels/cuda/emulator/hooks.h"
#include "kernels/cuda/emulator/primitives.h"
#include "kernels/cuda/emulator/shared_memory.h"

namespace ingot::kernels::emulator {
namespace {

constexpr int kNumBarriers = 16;

struct Thread {
  std::unique_ptr<Fiber> fiber;
  Dim3 index;
  bool exited = false;
  const char* waits_for = "the launch";
  Location where;
  size_t num_pieces = 0;                      // of shared memory, taken so far
  std::vector<AsyncCopy> open;                // copies that no group has yet
  std::deque<std::vector<AsyncCopy>> groups;  // oldest first
};

struct WaitingBarrier {
  std::vector<uint32_t> threads;
  uint32_t needed = 0;
  Location where;
};

// Lanes on their way into one operation.
struct WaitingCollective {
  const char* name = nullptr;
  uint32_t mask = 0, arrived = 0;
  Location where;
  void* arguments[32] = {};
};

struct Range {
  const std::byte *begin, *end;
  bool Contains(const void* p, size_t bytes) const {
    return p >= static_cast<const void*>(begin) && static_cast<const std::byte*>(p) + bytes <= end;
  }
};

struct State {
  Launch launch;
  Kernel kernel = nullptr;
  const void* params = nullptr;
  Dim3 block_index;
  uint32_t num_threads = 0, num_exited = 0;
  int current = -1;  // the running thread; -1: none
  std::string fault;
  Context host;
  std::vector<Thread> threads;
  std::vector<uint32_t> ready;                              // [warps] lanes that can run
  std::vector<uint32_t> warp_order;                         // [warps] in which they are tried
  std::vector<std::vector<WaitingCollective>> collectives;  // [warps]
  std::array<WaitingBarrier, kNumBarriers> barriers;
  SharedMemory shared;
  Clocks clocks;
  std::mt19937 random;
  Counts counts;
  std::vector<Range> memory;  // by begin
  Range program, last_memory;
};

State& state() {
  static State* const the_state = new State;  // never freed: other static objects may still be destroyed
  return *the_state;
}
bool sees_accesses = false;
alignas(64) std::byte params_bank[kMaxParamsBytes];

std::string PlaceOf(Location where) {
  const std::string_view file = where.file_name();
  return fmt::format("{}:{}", file.substr(file.rfind('/') + 1), where.line());
}

void MakeReady(uint32_t thread) { state().ready[thread / 32] |= 1U << (thread % 32); }

int NextLane(uint32_t ready) {
  State& s = state();
  if (s.launch.schedule == Schedule::kForward) return __builtin_ctz(ready);
  if (s.launch.schedule == Schedule::kReverse) return 31 - __builtin_clz(ready);
  const uint32_t turn = s.random() % 32, turned = turn == 0 ? ready : ready >> turn | ready << (32 - turn);
  return static_cast<int>((static_cast<uint32_t>(__builtin_ctz(turned)) + turn) % 32);
}

template <typename T>
void Order(std::vector<T>* items) {
  if (state().launch.schedule == Schedule::kReverse) std::reverse(items->begin(), items->end());
  if (state().launch.schedule == Schedule::kRandom) std::shuffle(items->begin(), items->end(), state().random);
}

// The thread that runs next, or -1.
int NextThread() {
  State& s = state();
  if (s.launch.schedule == Schedule::kRandom && s.random() % 64 == 0) Order(&s.warp_order);
  for (const uint32_t warp : s.warp_order) {
    if (s.ready[warp] == 0) continue;
    const int lane = NextLane(s.ready[warp]);
    s.ready[warp] &= ~(1U << lane);
    return static_cast<int>(warp) * 32 + lane;
  }
  return -1;
}

void SwitchTo(Context& from, int next) {
  State& s = state();
  s.current = next;
  Context& to = next < 0 ? s.host : *s.threads[static_cast<size_t>(next)].fiber;
  if (&from == &to) return;
  ++s.counts.switches;
  Switch(from, to);
}

// Who waits where, when no thread can run.
std::string Deadlock() {
  const State& s = state();
  std::map<std::string, std::pair<int, uint32_t>> waiting;  // how many, and the first of them
  for (uint32_t t = 0; t < s.num_threads; ++t) {
    const Thread& thread = s.threads[t];
    const std::string what =
        thread.exited ? "have exited" : fmt::format("wait for {} at {}", thread.waits_for, PlaceOf(thread.where));
    auto& [count, first] = waiting.try_emplace(what, 0, t).first->second;
    ++count;
  }
  std::string text = "deadlock:";
  for (const auto& [what, who] : waiting)
    text += fmt::format(" {} threads from {} on {};", who.first, who.second, what);
  text.pop_back();
  return text;
}

// Leaves the running thread, which does not go on before it is ready.
void Yield() {
  State& s = state();
  Thread& me = s.threads[static_cast<size_t>(s.current)];
  const int next = NextThread();
  if (next < 0 && s.num_exited < s.num_threads) Fail(Deadlock(), me.where);
  SwitchTo(*me.fiber, next);
}

void WaitFor(const char* what, Location where) {
  Thread& me = state().threads[static_cast<size_t>(state().current)];
  me.waits_for = what;
  me.where = where;
  Yield();
}

void RunThread() {
  EnterFiber();
  for (;;) {
    State& s = state();
    s.kernel(s.params);
    Thread& me = s.threads[static_cast<size_t>(s.current)];
    const bool copying =
        !me.open.empty() || std::ranges::any_of(me.groups, [](const auto& group) { return !group.empty(); });
    if (copying) Fail("a thread exits with asynchronous copies that it did not wait for", me.where);
    me.exited = true;
    ++s.num_exited;
    Yield();
  }
}

void MakeThreads(uint32_t count) {
  std::vector<Thread>& threads = state().threads;
  while (threads.size() < count) threads.emplace_back().fiber = std::make_unique<Fiber>(RunThread);
}

void RunBlock(Dim3 index) {
  State& s = state();
  const Dim3 size = s.launch.block;
  const uint32_t warps = (s.num_threads + 31) / 32;
  s.block_index = index;
  s.num_exited = 0;
  s.shared.Reset(s.launch.shared_bytes);
  s.clocks.Reset(s.num_threads);
  s.collectives.assign(warps, {});
  for (WaitingBarrier& barrier : s.barriers) barrier.threads.clear();
  s.ready.assign(warps, 0);
  s.warp_order.resize(warps);
  for (uint32_t w = 0; w < warps; ++w) s.warp_order[w] = w;
  Order(&s.warp_order);
  for (uint32_t t = 0; t < s.num_threads; ++t) {
    Thread& thread = s.threads[t];
    thread.index = {t % size.x, t / size.x % size.y, t / size.x / size.y};
    thread.exited = false;
    thread.waits_for = "the launch";
    thread.num_pieces = 0;
    thread.open.clear();
    thread.groups.clear();
    MakeReady(t);
  }
  SwitchTo(s.host, NextThread());
  if (s.fault.empty()) s.fault = s.shared.CheckGaps();
}

// The loaded object that this code is in: kernels read constants there.
Range ProgramRange() {
  Range range{};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* out) {
        auto* const found = static_cast<Range*>(out);
        Range whole{nullptr, nullptr};
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& header = info->dlpi_phdr[i];
          if (header.p_type != PT_LOAD) continue;
          const auto* const begin = reinterpret_cast<const std::byte*>(info->dlpi_addr + header.p_vaddr);
          if (whole.begin == nullptr) whole.begin = begin;
          whole.end = begin + header.p_memsz;
        }
        if (!whole.Contains(params_bank, 1)) return 0;
        *found = whole;
        return 1;
      },
      &range);
  return range;
}

void CheckDeviceMemory(const void* p, size_t bytes, Access access) {
  State& s = state();
  if (s.last_memory.Contains(p, bytes)) return;
  if (access == Access::kRead && Range{params_bank, params_bank + kMaxParamsBytes}.Contains(p, bytes)) return;
  const Thread& me = s.threads[static_cast<size_t>(s.current)];
  if (Range{me.fiber->stack, me.fiber->stack + me.fiber->stack_bytes}.Contains(p, bytes)) return;
  const auto after = std::ranges::upper_bound(s.memory, static_cast<const std::byte*>(p), {}, &Range::begin);
  if (after != s.memory.begin() && std::prev(after)->Contains(p, bytes)) {
    s.last_memory = *std::prev(after);
    return;
  }
  if (access == Access::kRead && s.program.Contains(p, bytes)) return;
  Fail(fmt::format("{} {} bytes of device memory outside of every allocation",
                   access == Access::kRead ? "reads" : "writes", bytes),
       me.where);
}

}  // namespace

Dim3 ThreadIndex() { return state().threads[static_cast<size_t>(state().current)].index; }
Dim3 BlockIndex() { return state().block_index; }
Dim3 BlockSize() { return state().launch.block; }
Dim3 GridSize() { return state().launch.grid; }

void Fail(const std::string& message, Location where) {
  State& s = state();
  const Dim3 block = s.block_index;
  s.fault = fmt::format("{}, at or after {}, thread {} of block ({}, {}, {})", message, PlaceOf(where), s.current,
                        block.x, block.y, block.z);
  SwitchTo(*s.threads[static_cast<size_t>(s.current)].fiber, -1);
  __builtin_unreachable();
}

void Barrier(int id, int num_threads, Location where) {
  State& s = state();
  WaitingBarrier& barrier = s.barriers[static_cast<size_t>(id)];
  const uint32_t needed = num_threads > 0 ? static_cast<uint32_t>(num_threads) : s.num_threads;
  if (barrier.threads.empty()) {
    barrier.needed = needed;
    barrier.where = where;
  }
  if (barrier.needed != needed || barrier.where.line() != where.line()) {
    Fail(fmt::format("divergence: others wait in barrier {} at {}", id, PlaceOf(barrier.where)), where);
  }
  barrier.threads.push_back(static_cast<uint32_t>(s.current));
  if (barrier.threads.size() == needed) {
    needed == s.num_threads ? s.clocks.BlockBarrier() : s.clocks.Join(barrier.threads);
    for (const uint32_t t : barrier.threads) MakeReady(t);
    barrier.threads.clear();
  }
  WaitFor("a barrier", where);
}

void Collective(const CollectiveOp& op, uint32_t mask, void* argument, Location where) {
  State& s = state();
  const auto warp = static_cast<uint32_t>(s.current) / 32, lane = static_cast<uint32_t>(s.current) % 32;
  const uint32_t lanes = std::min(32U, s.num_threads - warp * 32);
  if (lanes < 32) mask &= (1U << lanes) - 1;
  if ((mask >> lane & 1) == 0) Fail(fmt::format("{}: the lane is not in its mask", op.name), where);
  std::vector<WaitingCollective>& waiting = s.collectives[warp];
  // Lanes that wait elsewhere for each other alone will come later.
  auto mine = std::ranges::find_if(waiting, [&](const auto& w) { return (w.mask >> lane & 1) != 0; });
  if (mine == waiting.end()) mine = waiting.insert(waiting.end(), {.name = op.name, .mask = mask, .where = where});
  if (mine->mask != mask || mine->name != std::string_view(op.name) || mine->where.line() != where.line()) {
    Fail(fmt::format("divergence: a lane comes to {} while others of its warp wait in {} at {}", op.name, mine->name,
                     PlaceOf(mine->where)),
         where);
  }
  mine->arguments[lane] = argument;
  mine->arrived |= 1U << lane;
  if (mine->arrived != mask) return WaitFor(op.name, where);
  const WaitingCollective complete = *mine;
  waiting.erase(mine);
  if (op.execute != nullptr) op.execute(complete.arguments, mask);
  if (op.orders_memory) {
    std::vector<uint32_t> threads;
    for (uint32_t i = 0; i < 32; ++i) {
      if ((mask >> i & 1) != 0) threads.push_back(warp * 32 + i);
    }
    s.clocks.Join(threads);
  }
  s.ready[warp] |= mask & ~(1U << lane);
}

void* TakeShared(size_t bytes, size_t alignment, Location where) {
  State& s = state();
  std::string error;
  void* const piece = s.shared.Take(s.threads[static_cast<size_t>(s.current)].num_pieces++, bytes, alignment, &error);
  if (!error.empty()) Fail(error, where);
  return piece;
}

void CheckShuffleSource(int source, uint32_t mask) {
  if ((mask >> source & 1) == 0) Fail("a shuffle reads a lane outside of its mask", Location::current());
}

void CheckAccess(const void* p, size_t bytes, Access access, int lane) {
  State& s = state();
  if (s.current < 0 || !s.fault.empty()) return;
  if (!s.shared.Contains(p)) return CheckDeviceMemory(p, bytes, access);
  const int thread = lane < 0 ? s.current : s.current / 32 * 32 + lane;
  const std::string error = s.shared.Check(p, bytes, access, static_cast<uint32_t>(thread), s.clocks);
  if (!error.empty()) Fail(error, s.threads[static_cast<size_t>(s.current)].where);
}

void CopyAsync(const AsyncCopy& copy, Location where) {
  State& s = state();
  Thread& me = s.threads[static_cast<size_t>(s.current)];
  me.where = where;
  const bool aligned = reinterpret_cast<uintptr_t>(copy.to) % copy.bytes == 0 &&
                       (copy.from_bytes == 0 || reinterpret_cast<uintptr_t>(copy.from) % copy.bytes == 0);
  if (!aligned) Fail("an asynchronous copy is not aligned to its size", where);
  if (!s.shared.Contains(copy.to)) Fail("an asynchronous copy does not write to shared memory", where);
  CheckAccess(copy.to, copy.bytes, Access::kWrite);
  if (copy.from_bytes > 0) CheckAccess(copy.from, copy.from_bytes, Access::kRead);
  s.shared.BeginCopy(copy.to, copy.bytes, static_cast<uint32_t>(s.current));
  me.open.push_back(copy);
}

void CopyAsyncCommit() {
  Thread& me = state().threads[static_cast<size_t>(state().current)];
  me.groups.push_back(std::move(me.open));
  me.open.clear();
}

void CopyAsyncWait(size_t groups_left) {
  State& s = state();
  Thread& me = s.threads[static_cast<size_t>(s.current)];
  for (; me.groups.size() > groups_left; me.groups.pop_front()) {
    for (const AsyncCopy& copy : me.groups.front()) {
      s.shared.EndCopy(copy, static_cast<uint32_t>(s.current), s.clocks);
    }
  }
}

void SayThatAccessesAreSeen() { sees_accesses = true; }
bool SeesAccesses() { return sees_accesses; }
Counts& MutableCounts() { return state().counts; }
const Counts& CountsSoFar() { return state().counts; }
void ResetCounts() { state().counts = {}; }

void AddMemory(const void* begin, size_t bytes) {
  const auto* const first = static_cast<const std::byte*>(begin);
  std::vector<Range>& memory = state().memory;
  memory.insert(std::ranges::upper_bound(memory, first, {}, &Range::begin), {first, first + bytes});
}

void RemoveMemory(const void* begin) {
  State& s = state();
  std::erase_if(s.memory, [&](const Range& range) { return range.begin == begin; });
  s.last_memory = {};
}

std::string Run(const Launch& launch, Kernel kernel, const void* params, size_t params_bytes) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  State& s = state();
  const uint32_t num_threads = launch.block.Count();
  if (num_threads < 1 || num_threads > kMaxThreadsPerBlock) return "a block has 1 to 1024 threads";
  if (launch.shared_bytes > kMaxSharedBytes) return "a block has at most 227 KiB of shared memory";
  if (params_bytes > kMaxParamsBytes) return "a kernel has at most 4096 bytes of parameters";
  std::memcpy(params_bank, params, params_bytes);
  if (s.program.begin == nullptr) s.program = ProgramRange();
  s.launch = launch;
  s.kernel = kernel;
  s.params = params_bank;
  s.num_threads = num_threads;
  s.fault.clear();
  s.random.seed(launch.seed);
  MakeThreads(num_threads);
  std::vector<uint32_t> blocks(launch.grid.Count());
  for (uint32_t b = 0; b < blocks.size(); ++b) blocks[b] = b;
  Order(&blocks);
  for (const uint32_t b : blocks) {
    RunBlock({b % launch.grid.x, b / launch.grid.x % launch.grid.y, b / launch.grid.x / launch.grid.y});
    if (s.fault.empty()) continue;
    for (Thread& thread : s.threads) thread.fiber->Restart();  // those that did not end are forgotten
    break;
  }
  return s.fault;
}

}  // namespace ingot::kernels::emulator
