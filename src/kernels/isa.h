// Instruction sets: which this machine has, and which one is used.
#pragma once

#include <string_view>
#include <vector>

namespace ingot::kernels {

// Rows of the dispatch table, from slow to fast. kReference is plain loops, on any x86-64-v2.
enum class Isa {
  kReference,
  kAmxEmulated,  // kAmx's products in plain C++, bit for bit, and kAvx2's other kernels: for tests
  kAvx2,
  kAvx2Vnni,
  kAvx512,  // F, BW, CD, DQ, VL and VNNI; bf16 products where the CPU has them
  kAmx      // kAvx512, and products on tiles of bf16 and int8
};

const char* IsaName(Isa isa);  // "reference", "amx_emulated", "avx2", "avx2vnni", "avx512", "amx"
// Of this machine: CPUID and what the operating system saves (XCR0); never empty. Without kAmxEmulated, which tests ask
// for by its name.
std::vector<Isa> AvailableIsas();
bool ParseIsa(std::string_view name, Isa* isa);
// The fastest available, or the one that INGOT_ISA names; decided once. An INGOT_ISA that is unknown or not available
// is reported by CheckIsa (base start-up), and the best is used.
Isa ChosenIsa();
// "" or what is wrong with INGOT_ISA, with the names that would do.
const char* IsaProblem();

}  // namespace ingot::kernels
