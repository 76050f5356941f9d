#include "ops/cuda/gemm_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <sstream>
#include <vector>

#include "base/env.h"
#include "base/text_file.h"

namespace ingot::ops {
namespace {

constexpr size_t kMaxTableBytes = 1 << 20;

Result<int> ParseNumber(const std::string& word, const char* field, int least, int most) {
  int value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size() || value < least || value > most) {
    return InvalidArgument("{} \"{}\" is not a number from {} to {}", field, word, least, most);
  }
  return value;
}

Status ParseLine(const std::vector<std::string>& words, int compute_capability, GemmTable* table) {
  if (words.size() != 4) {
    return InvalidArgument("has {} words; it needs: compute capability, weights, few_rows, spread_below", words.size());
  }
  INGOT_ASSIGN_OR_RETURN(const int capability, ParseNumber(words[0], "compute capability", 80, 999));
  const auto* const named =
      std::ranges::find_if(kGemmChoices, [&](const NamedChoice& choice) { return words[1] == choice.name; });
  if (named == kGemmChoices.end()) {
    return InvalidArgument("weights \"{}\" are not one of int4, int8, dense, int8_products", words[1]);
  }
  GemmChoice choice;
  INGOT_ASSIGN_OR_RETURN(choice.few_rows, ParseNumber(words[2], "few_rows", 0, kMaxFewRows));
  INGOT_ASSIGN_OR_RETURN(choice.spread_below, ParseNumber(words[3], "spread_below", 0, kMaxSpreadBelow));
  if (capability == compute_capability) table->*named->choice = choice;
  return {};
}

}  // namespace

const GemmChoice& GemmTable::For(kernels::cuda::TileKind kind) const {
  using kernels::cuda::TileKind;
  switch (kind) {
    case TileKind::kInt4:
    case TileKind::kCodedInt4:
      return int4;
    case TileKind::kInt8:
      return int8;
    case TileKind::kInt8Products:
      return int8_products;
    case TileKind::kDense:
    case TileKind::kFloat:  // has one kernel
      break;
  }
  return dense;
}

Result<GemmTable> ParseGemmTable(std::string_view text, int compute_capability) {
  GemmTable table;
  std::istringstream lines{std::string(text)};
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    std::istringstream stream(line.substr(0, line.find('#')));
    std::vector<std::string> words;
    for (std::string word; stream >> word;) words.push_back(word);
    if (words.empty()) continue;
    const Status parsed = ParseLine(words, compute_capability, &table);
    if (!parsed.ok()) return Error(parsed.Annotate(fmt::format("line {}", number)));
  }
  return table;
}

std::string GemmTableText(const GemmTable& table, int compute_capability) {
  std::string text = "# compute capability, weights, few_rows, spread_below (docs/cuda.md)\n";
  for (const NamedChoice& named : kGemmChoices) {
    const GemmChoice& choice = table.*named.choice;
    text += fmt::format("{} {} {} {}\n", compute_capability, named.name, choice.few_rows, choice.spread_below);
  }
  return text;
}

Result<GemmTable> LoadGemmTable(int compute_capability) {
  const auto path = GetEnv("INGOT_CUDA_TABLE");
  if (!path) return GemmTable();
  INGOT_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(*path, kMaxTableBytes));
  const auto table = ParseGemmTable(text, compute_capability);
  if (!table) return Error(table.error().Annotate("INGOT_CUDA_TABLE: " + *path));
  return table;
}

}  // namespace ingot::ops
