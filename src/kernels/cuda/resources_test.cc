// What each kernel takes of a multiprocessor: resources.txt, of which ptxas says the registers and spills (`make
// cuda`).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>

#include "base/env.h"
#include "kernels/cuda/kernels.h"

namespace ingot::kernels::cuda {
namespace {

const std::string kTable = INGOT_SOURCE_DIR "/src/kernels/cuda/resources.txt";

// A multiprocessor, from the table "Technical Specifications per Compute Capability" of the CUDA programming guide.
struct Multiprocessor {
  const char* name;
  int max_threads, max_blocks, shared_bytes, max_shared_bytes_of_block;
};
constexpr std::array<Multiprocessor, 4> kArchs = {{{"sm_80", 2048, 32, 164 << 10, 163 << 10},
                                                   {"sm_86", 1536, 16, 100 << 10, 99 << 10},
                                                   {"sm_89", 1536, 24, 100 << 10, 99 << 10},
                                                   {"sm_90a", 2048, 32, 228 << 10, 227 << 10}}};
constexpr int kRegisters = 65536, kRegisterUnit = 256;  // of a multiprocessor; a warp takes them in such units
constexpr int kSharedOfSystem = 1 << 10;                // that each block takes besides its own

struct Usage {
  int registers = 0;
  int spills = 0;  // bytes stored and loaded
};
// By kernel, then as kArchs.
using Usages = std::map<std::string, std::array<Usage, kArchs.size()>>;

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The percentage of a multiprocessor's threads that it can hold at once.
int Occupancy(const Multiprocessor& sm, const KernelInfo& kernel, int registers) {
  const int warps = (static_cast<int>(kernel.threads) + kWarpSize - 1) / kWarpSize;
  const int of_warp = (registers * kWarpSize + kRegisterUnit - 1) / kRegisterUnit * kRegisterUnit;
  const int shared = static_cast<int>(kernel.shared_bytes);
  if (shared > sm.max_shared_bytes_of_block) return 0;
  const int blocks =
      std::min({sm.max_blocks, sm.max_threads / (warps * kWarpSize), kRegisters / (std::max(of_warp, 1) * warps),
                sm.shared_bytes / (shared + kSharedOfSystem)});
  return 100 * blocks * warps * kWarpSize / sm.max_threads;
}

std::string TextOf(const Usages& usages) {
  std::string text = fmt::format("{:<28} {:>7} {:>6}", "kernel", "threads", "shared");
  text += fmt::format("  {:<20}  {:<20}  occupancy\n", "registers", "spilled") + std::string(43, ' ');
  for (int i = 0; i < 3; ++i) {
    text += " ";
    for (const Multiprocessor& sm : kArchs) text += fmt::format(" {:>4}", std::string(sm.name).substr(3));
    text += i < 2 ? " " : "";
  }
  text += "\n";
  for (int i = 0; i < kNumKernels; ++i) {
    const KernelInfo& kernel = InfoOf(static_cast<KernelId>(i));
    const auto at = usages.find(kernel.name);
    if (at == usages.end()) continue;
    text += fmt::format("{:<28} {:>7} {:>6} ", kernel.name, kernel.threads, kernel.shared_bytes);
    for (const Usage& usage : at->second) text += fmt::format(" {:>4}", usage.registers);
    text += "  ";
    for (const Usage& usage : at->second) text += fmt::format(" {:>4}", usage.spills);
    text += "  ";
    for (size_t a = 0; a < kArchs.size(); ++a) {
      text += fmt::format(" {:>4}", Occupancy(kArchs[a], kernel, at->second[a].registers));
    }
    text += "\n";
  }
  return text;
}

Usages ReadTable(const std::string& text) {
  Usages usages;
  std::istringstream lines(text);
  std::string line, name;
  std::getline(lines, line);
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    int skipped = 0;
    words >> name >> skipped >> skipped;
    for (Usage& usage : usages[name]) words >> usage.registers;
    for (Usage& usage : usages[name]) words >> usage.spills;
  }
  return usages;
}

#ifdef INGOT_CUDA_LOGS
// ptxas -v: "Compiling entry function 'NAME' for 'sm_80'", then its spills, then its registers.
void ReadLog(const std::string& log, size_t arch, Usages* usages) {
  static const std::regex kName("Compiling entry function '([^']+)'"), kUsed(R"(Used (\d+) registers)"),
      kSpills(R"((\d+) bytes spill stores, (\d+) bytes spill loads)");
  std::istringstream lines(log);
  std::string name;
  std::smatch match;
  for (std::string line; std::getline(lines, line);) {
    if (std::regex_search(line, match, kName)) name = match[1];
    if (name.empty()) continue;
    Usage& usage = (*usages)[name][arch];
    if (std::regex_search(line, match, kSpills)) usage.spills = std::stoi(match[1]) + std::stoi(match[2]);
    if (std::regex_search(line, match, kUsed)) usage.registers = std::stoi(match[1]);
  }
}

// Registers depend on the compiler: the table is that of the nvcc that tools/bootstrap.sh names.
TEST(CudaResources, TableIsWhatPtxasSays) {
  Usages usages;
  for (size_t a = 0; a < kArchs.size(); ++a) {
    const std::string log = fmt::format("{}/kernels_{}.cubin.log", INGOT_CUDA_LOGS, kArchs[a].name);
    if (!std::filesystem::exists(log)) GTEST_SKIP() << kArchs[a].name << " was not compiled; `make cuda` compiles all";
    ReadLog(ReadAll(log), a, &usages);
  }
  if (GetEnv("INGOT_UPDATE")) std::ofstream(kTable) << TextOf(usages);
  EXPECT_EQ(TextOf(usages), ReadAll(kTable))
      << "where that is meant to be, `INGOT_UPDATE=1 make cuda` writes the table";
}
#endif

TEST(CudaResources, TableHasEveryKernelWithoutSpills) {
  const std::string text = ReadAll(kTable);
  const Usages usages = ReadTable(text);
  EXPECT_EQ(text, TextOf(usages)) << "`INGOT_UPDATE=1 make cuda` writes the table";
  for (int i = 0; i < kNumKernels; ++i) {
    const KernelInfo& kernel = InfoOf(static_cast<KernelId>(i));
    ASSERT_TRUE(usages.contains(kernel.name)) << kernel.name << ": `INGOT_UPDATE=1 make cuda` writes the table";
    for (size_t a = 0; a < kArchs.size(); ++a) {
      const Usage& usage = usages.at(kernel.name)[a];
      EXPECT_EQ(usage.spills, 0) << kernel.name << " on " << kArchs[a].name;
      EXPECT_GT(Occupancy(kArchs[a], kernel, usage.registers), 0) << kernel.name << " on " << kArchs[a].name;
    }
  }
}

}  // namespace
}  // namespace ingot::kernels::cuda
