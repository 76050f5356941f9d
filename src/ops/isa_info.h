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
  std::string fast;            // what --compute fast means here
  bool fast_is_close = false;  // it answers as --compute exact does, small models too
};
IsaInfo GetIsaInfo();

}  // namespace ingot::ops
