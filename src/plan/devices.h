// What devices offer, from their makers' data sheets.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace ingot::plan {

struct Device {
  const char* name;
  const char* title;
  int64_t memory;     // bytes, as its driver reports them
  double bandwidth;   // bytes/s
  double fp16_flops;  // dense, tensor cores, fp32 accumulation
  double int8_ops;    // dense, tensor cores
};

std::span<const Device> Devices();
// "a100" is a100-80g, "RTX 4090" is 4090. nullptr if unknown.
const Device* FindDevice(std::string_view name);

}  // namespace ingot::plan
