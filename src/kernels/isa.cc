#include "kernels/isa.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "base/env.h"

namespace ingot::kernels {
namespace {

struct Row {
  Isa isa;
  const char* name;
};
constexpr Row kRows[] = {{Isa::kReference, "reference"}, {Isa::kAmxEmulated, "amx_emulated"},
                         {Isa::kAvx2, "avx2"},           {Isa::kAvx2Vnni, "avx2vnni"},
                         {Isa::kAvx512, "avx512"},       {Isa::kAmx, "amx"}};

struct Features {
  bool avx2 = false, avx2vnni = false, avx512 = false, amx = false;
};

// What the operating system saves on a context switch.
uint64_t Xcr0() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

// Linux saves the state of tiles only for processes that asked for it.
bool RequestTiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

Features DetectFeatures() {
  Features features;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  const auto bit = [](uint32_t word, int i) { return ((word >> i) & 1) != 0; };
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return features;
  const bool osxsave = bit(c, 27), avx = bit(c, 28), fma = bit(c, 12), f16c = bit(c, 29), movbe = bit(c, 22);
  if (!osxsave || !avx || !fma || !f16c || !movbe) return features;
  const uint64_t xcr0 = Xcr0();
  constexpr uint64_t kYmm = 0x06, kZmm = 0xe6;  // SSE and AVX state; with opmask and both halves of ZMM
  constexpr uint64_t kTiles = 0x60000;          // their configuration and data
  if ((xcr0 & kYmm) != kYmm) return features;

  uint32_t ext_a = 0, ext_b = 0, ext_c = 0, ext_d = 0;
  if (__get_cpuid(0x80000001, &ext_a, &ext_b, &ext_c, &ext_d) == 0) return features;
  const bool lzcnt = bit(ext_c, 5);
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return features;
  features.avx2 = bit(b, 5) && bit(b, 3) && bit(b, 8) && lzcnt;  // AVX2, BMI1, BMI2: the rest of x86-64-v3
  const bool v4 = bit(b, 16) && bit(b, 17) && bit(b, 28) && bit(b, 30) && bit(b, 31);      // F, DQ, CD, BW, VL
  features.avx512 = features.avx2 && v4 && bit(c, 11) && (xcr0 & kZmm) == kZmm;            // AVX512_VNNI
  const bool tiles = bit(d, 22) && bit(d, 24) && bit(d, 25) && (xcr0 & kTiles) == kTiles;  // AMX-BF16, -TILE, -INT8
  uint32_t b1 = 0, c1 = 0, d1 = 0;
  bool avx512bf16 = false;
  if (a >= 1 && __get_cpuid_count(7, 1, &a, &b1, &c1, &d1) != 0) {
    features.avx2vnni = features.avx2 && bit(a, 4);
    avx512bf16 = bit(a, 5);
  }
  features.amx = features.avx512 && avx512bf16 && tiles && RequestTiles();
  return features;
}

bool Has(Isa isa) {
  static const Features features = DetectFeatures();
  switch (isa) {
    case Isa::kReference:
      return true;
    case Isa::kAvx2:
    case Isa::kAmxEmulated:
      return features.avx2;
    case Isa::kAvx2Vnni:
      return features.avx2vnni;
    case Isa::kAvx512:
      return features.avx512;
    case Isa::kAmx:
      return features.amx;
  }
  return false;
}

struct Choice {
  Isa isa;
  std::string problem;
};

Choice Choose() {
  const std::vector<Isa> available = AvailableIsas();
  Choice choice{available.back(), ""};
  const auto name = GetEnv("INGOT_ISA");
  if (!name) return choice;
  Isa wanted;
  if (ParseIsa(*name, &wanted) && Has(wanted)) {
    choice.isa = wanted;
    return choice;
  }
  choice.problem = "INGOT_ISA: '" + *name + "' is not an instruction set of this machine; it has";
  for (const Isa isa : available) choice.problem += std::string(isa == available.front() ? " " : ", ") + IsaName(isa);
  choice.problem += std::string("; using ") + IsaName(choice.isa);
  return choice;
}

const Choice& TheChoice() {
  static const Choice choice = Choose();
  return choice;
}

}  // namespace

const char* IsaName(Isa isa) {
  for (const Row& row : kRows) {
    if (row.isa == isa) return row.name;
  }
  return "unknown";
}

std::vector<Isa> AvailableIsas() {
  std::vector<Isa> isas;
  for (const Row& row : kRows) {
    if (Has(row.isa) && row.isa != Isa::kAmxEmulated) isas.push_back(row.isa);
  }
  return isas;
}

bool ParseIsa(std::string_view name, Isa* isa) {
  for (const Row& row : kRows) {
    if (name == row.name) {
      *isa = row.isa;
      return true;
    }
  }
  return false;
}

Isa ChosenIsa() { return TheChoice().isa; }
const char* IsaProblem() { return TheChoice().problem.c_str(); }

}  // namespace ingot::kernels
