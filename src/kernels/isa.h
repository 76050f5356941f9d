// Instruction sets: which this machine has, and which one is used.
#pragma once

#include <string_view>
#include <vector>

namespace ingot::kernels {

// Rows of the dispatch table, from slow to fast. kReference is plain loops, on any x86-64-v2.
enum class Isa {
  kReference,
  kAvx2,
  kAvx2Vnni,
  kAvx512
};  // kAvx512: F, BW, CD, DQ, VL and VNNI; bf16 products where the CPU has them

const char* IsaName(Isa isa);      // "reference", "avx2", "avx2vnni", "avx512"
std::vector<Isa> AvailableIsas();  // of this machine: CPUID and what the operating system saves (XCR0); never empty
bool ParseIsa(std::string_view name, Isa* isa);
// The fastest available, or the one that INGOT_ISA names; decided once. An INGOT_ISA that is unknown or not available
// is reported by CheckIsa (base start-up), and the best is used.
Isa ChosenIsa();
// "" or what is wrong with INGOT_ISA, with the names that would do.
const char* IsaProblem();

}  // namespace ingot::kernels
