// ingot check_env
#include <cstdio>
#include <fstream>

#include "base/json_writer.h"
#include "base/topology.h"
#include "build_info.h"
#include "common.h"
#include "llm/compute.h"
#include "ops/devices.h"
#include "ops/isa_info.h"
#include "text/bytes.h"

namespace ingot::cli {
namespace {

std::string CpuModel() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

// With --device cuda.
std::string GpuLine() {
  const auto chosen = ops::ChooseDevice({.device = "cuda"});
  if (!chosen) return fmt::format("none: {}", chosen.error().message());
  const MemoryAllowance memory = chosen->memory();
  return fmt::format("{}, {} free of {}", chosen->description, FormatBytes(memory.available_bytes),
                     FormatBytes(memory.total_bytes));
}

struct Environment {
  CpuAllowance cpu = GetCpuAllowance();
  MemoryAllowance memory = GetMemoryAllowance();
  ops::IsaInfo isa = ops::GetIsaInfo();
  std::string cpu_model = CpuModel(), gpu = GpuLine();

  std::string Verdict() const {
    if (!isa.problem.empty()) return isa.problem;
    if (!isa.is_vectorized) return "works, but slowly: this CPU has no AVX2";
    if (memory.available_bytes < int64_t{1} << 30)
      return "less than 1 GiB of memory is free: only the smallest models will load";
    return fmt::format("ready: weights of up to about {} will fit together with a KV cache",
                       FormatBytes(memory.available_bytes * 3 / 4));
  }
};

void PrintJson(const Environment& env) {
  fmt::print("{}\n", JsonObject()
                         .Add("version", INGOT_VERSION)
                         .Add("cpu", env.cpu_model)
                         .Add("hardware_threads", env.cpu.hardware_threads)
                         .Add("physical_cores", env.cpu.physical_cores)
                         .Add("usable_threads", env.cpu.usable_threads)
                         .Add("isa", env.isa.chosen)
                         .AddJson("isas", JsonList(env.isa.available))
                         .Add("memory_bytes", env.memory.total_bytes)
                         .Add("available_bytes", env.memory.available_bytes)
                         .Add("gpu", env.gpu)
                         .Add("compute_fast", env.isa.fast)
                         .Add("compute_auto", llm::AutoComputeRule())
                         .Add("verdict", env.Verdict())
                         .Text());
}

Status CheckEnv(bool json) {
  const Environment env;
  if (json) {
    PrintJson(env);
    return {};
  }
  fmt::print("ingot       {}\n", INGOT_VERSION);
  fmt::print("CPU         {}\n", env.cpu_model);
  fmt::print("threads     {} to compute with ({} hardware threads on {} cores{})\n", env.cpu.usable_threads,
             env.cpu.hardware_threads, env.cpu.physical_cores,
             env.cpu.quota ? fmt::format(", quota {:.2f} CPUs", *env.cpu.quota) : "");
  fmt::print("ISA         {} (of {})\n", env.isa.chosen, fmt::join(env.isa.available, ", "));
  fmt::print("fast        --compute fast has {}\n", env.isa.fast);
  fmt::print("auto        --compute auto (the default) is {}\n", llm::AutoComputeRule());
  fmt::print("memory      {} free of {}{}\n", FormatBytes(env.memory.available_bytes),
             FormatBytes(env.memory.total_bytes), env.memory.cgroup_limit ? ", limited by the cgroup" : "");
  fmt::print("GPU         {}\n", env.gpu);
  fmt::print("verdict     {}\n", env.Verdict());
  return {};
}

}  // namespace

void DeclareCheckEnv(Flags& root) {
  Flags& command = root.Command("check_env", "Show what this machine offers, and whether it will do");
  const auto json = std::make_shared<bool>(false);
  command.Add("--json", json.get(), "one JSON object");
  command.Example("ingot check_env");
  command.OnRun([json] { return CheckEnv(*json); });
}

}  // namespace ingot::cli
