// What this machine computes with, for those who tell users.
#pragma once

#include <string>
#include <vector>

namespace ingot::ops {

struct IsaInfo {
  std::string chosen;                  // "avx512"
  std::vector<std::string> available;  // from slow to fast
  std::string problem;                 // "" or what is wrong with INGOT_ISA
  bool is_vectorized = false;
};
IsaInfo GetIsaInfo();

}  // namespace ingot::ops
