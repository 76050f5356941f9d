#include "plan/devices.h"

#include <array>
#include <string>

#include "models/known_shapes.h"

namespace ingot::plan {
namespace {

constexpr int64_t MiB(int64_t count) { return count << 20; }
constexpr double kGBps = 1e9, kTera = 1e12;

// Sources: NVIDIA's data sheets of the accelerators (figures with sparsity halved), the GA102, Ada and Blackwell
// architecture papers for GeForce (tensor cores with fp32 accumulation). Memory: what nvidia-smi shows.
constexpr auto kDevices = std::to_array<Device>({
    {"a100-40g", "A100 SXM 40 GB", MiB(40960), 1555 * kGBps, 312 * kTera, 624 * kTera},
    {"a100-80g", "A100 SXM 80 GB", MiB(81920), 2039 * kGBps, 312 * kTera, 624 * kTera},
    {"a30", "A30", MiB(24576), 933 * kGBps, 165 * kTera, 330 * kTera},
    {"a10", "A10", MiB(23028), 600 * kGBps, 125 * kTera, 250 * kTera},
    {"t4", "T4", MiB(15360), 320 * kGBps, 65 * kTera, 130 * kTera},
    {"l4", "L4", MiB(23034), 300 * kGBps, 121 * kTera, 242.5 * kTera},
    {"l40s", "L40S", MiB(46068), 864 * kGBps, 362 * kTera, 733 * kTera},
    {"h100", "H100 SXM", MiB(81559), 3350 * kGBps, 989 * kTera, 1979 * kTera},
    {"h100-pcie", "H100 PCIe", MiB(81559), 2000 * kGBps, 756 * kTera, 1513 * kTera},
    {"h200", "H200 SXM", MiB(143771), 4800 * kGBps, 989 * kTera, 1979 * kTera},
    {"3090", "GeForce RTX 3090", MiB(24576), 936 * kGBps, 71 * kTera, 284 * kTera},
    {"4090", "GeForce RTX 4090", MiB(24564), 1008 * kGBps, 165.2 * kTera, 660.6 * kTera},
    {"5090", "GeForce RTX 5090", MiB(32607), 1792 * kGBps, 209.5 * kTera, 838 * kTera},
});

std::string Plain(std::string_view name) {
  std::string plain = models::PlainName(name);
  if (plain.starts_with("rtx")) plain.erase(0, 3);
  if (plain.ends_with("gb")) plain.pop_back();
  return plain == "a100" ? "a10080g" : plain;
}

}  // namespace

std::span<const Device> Devices() { return kDevices; }

const Device* FindDevice(std::string_view name) {
  for (const Device& device : kDevices) {
    if (Plain(device.name) == Plain(name)) return &device;
  }
  return nullptr;
}

}  // namespace ingot::plan
