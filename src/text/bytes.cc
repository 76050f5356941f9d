#include "text/bytes.h"

#include <fmt/format.h>

#include <cstdlib>

namespace ingot {
namespace {

struct Unit {
  double bytes;
  std::string_view name;
};
constexpr Unit kBinaryUnits[] = {{1, ""}, {1024, "KiB"}, {1048576, "MiB"}, {1073741824, "GiB"}, {1099511627776, "TiB"}};
constexpr Unit kOtherUnits[] = {{1, "B"},    {1e3, "KB"},    {1e6, "MB"},       {1e9, "GB"},         {1e12, "TB"},
                                {1024, "K"}, {1048576, "M"}, {1073741824, "G"}, {1099511627776, "T"}};

// The largest unit that is no more than `bytes`.
const Unit& UnitOf(int64_t bytes) {
  size_t unit = 0;
  while (unit + 1 < std::size(kBinaryUnits) && static_cast<double>(bytes) >= kBinaryUnits[unit + 1].bytes) ++unit;
  return kBinaryUnits[unit];
}

// As it is read again.
int64_t BytesOf(int64_t tenths, const Unit& unit) {
  return static_cast<int64_t>(static_cast<double>(tenths) / 10.0 * unit.bytes);
}

int64_t TenthsOf(int64_t bytes, const Unit& unit) {
  return static_cast<int64_t>(static_cast<double>(bytes) * 10.0 / unit.bytes);
}

std::string SizeText(int64_t tenths, const Unit& unit) {
  return tenths % 10 == 0 ? fmt::format("{}{}", tenths / 10, unit.name)
                          : fmt::format("{}.{}{}", tenths / 10, tenths % 10, unit.name);
}

}  // namespace

std::string FormatBytes(int64_t bytes) {
  const Unit& unit = UnitOf(bytes);
  if (unit.name.empty()) return fmt::format("{} B", bytes);
  return fmt::format("{:.2f} {}", static_cast<double>(bytes) / unit.bytes, unit.name);
}

std::string SizeAtMost(int64_t bytes) {
  const Unit& unit = UnitOf(bytes);
  int64_t tenths = TenthsOf(bytes, unit);
  while (BytesOf(tenths, unit) > bytes) --tenths;
  return SizeText(tenths, unit);
}

std::string SizeAtLeast(int64_t bytes) {
  const Unit& unit = UnitOf(bytes);
  int64_t tenths = TenthsOf(bytes, unit);
  while (BytesOf(tenths, unit) < bytes) ++tenths;
  return SizeText(tenths, unit);
}

std::optional<int64_t> ParseBytes(const std::string& text) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || !(number >= 0)) return std::nullopt;
  const auto in = [&](const auto& units) -> std::optional<int64_t> {
    for (const Unit& unit : units) {
      if (unit.name == end && number * unit.bytes < 9e18) return static_cast<int64_t>(number * unit.bytes);
    }
    return std::nullopt;
  };
  const std::optional<int64_t> bytes = in(kBinaryUnits);
  return bytes ? bytes : in(kOtherUnits);
}

}  // namespace ingot
