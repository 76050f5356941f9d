// Which kernel a product takes on a CUDA device. It changes the time alone, never the bits.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "base/status.h"
#include "kernels/cuda/weight_tiles.h"

namespace ingot::ops {

// For a kind of weights.
struct GemmChoice {
  int few_rows = 16;      // up to so many rows, the kernel for few
  int spread_below = 64;  // with fewer tiles of y in the kernel for many, splits of the inputs have blocks of their own
  bool operator==(const GemmChoice&) const = default;
};
inline constexpr int kMaxFewRows = 128, kMaxSpreadBelow = 1024;

// Without a file: worked out for 108 to 132 multiprocessors, not measured.
struct GemmTable {
  GemmChoice int4, int8, dense, int8_products;

  const GemmChoice& For(kernels::cuda::TileKind kind) const;
  bool operator==(const GemmTable&) const = default;
};

struct NamedChoice {
  const char* name;
  GemmChoice GemmTable::* choice;
};
inline constexpr std::array<NamedChoice, 4> kGemmChoices = {{{"int4", &GemmTable::int4},
                                                             {"int8", &GemmTable::int8},
                                                             {"dense", &GemmTable::dense},
                                                             {"int8_products", &GemmTable::int8_products}}};

// A line for each choice: compute capability (90 for 9.0), name, few_rows, spread_below; "#" begins a comment. Lines of
// other compute capabilities are checked and skipped.
Result<GemmTable> ParseGemmTable(std::string_view text, int compute_capability);
std::string GemmTableText(const GemmTable& table, int compute_capability);
// What the file of INGOT_CUDA_TABLE says; the default without.
Result<GemmTable> LoadGemmTable(int compute_capability);

}  // namespace ingot::ops
