#include "chat/number_format.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "chat/value.h"

namespace ingot::chat {
namespace {

constexpr int kMaxPrecision = 1000;

std::string SignOf(bool negative, char sign) { return negative ? "-" : sign == '-' ? "" : std::string(1, sign); }

// Separators before every third digit (fourth: of hexadecimal and binary numbers) of the integral part.
void Group(std::string& digits, char separator, size_t every) {
  size_t end = 0;
  while (end < digits.size() && std::isxdigit(static_cast<unsigned char>(digits[end]))) ++end;
  for (size_t at = end; at > every; at -= every) digits.insert(at - every, 1, separator);
}

}  // namespace

SignedDigits FormatInteger(int64_t number, const NumberFormat& format) {
  const uint64_t magnitude = number < 0 ? ~static_cast<uint64_t>(number) + 1 : static_cast<uint64_t>(number);
  std::string digits, prefix;
  switch (format.type) {
    case 'b':
      digits = fmt::format("{:b}", magnitude), prefix = "0b";
      break;
    case 'o':
      digits = fmt::format("{:o}", magnitude), prefix = "0o";
      break;
    case 'x':
      digits = fmt::format("{:x}", magnitude), prefix = "0x";
      break;
    case 'X':
      digits = fmt::format("{:X}", magnitude), prefix = "0X";
      break;
    default:
      digits = fmt::format("{}", magnitude);
  }
  if (format.precision > kMaxPrecision) Fail("a precision is too large");
  if (static_cast<int>(digits.size()) < format.precision) {
    digits.insert(0, static_cast<size_t>(format.precision) - digits.size(), '0');
  }
  if (format.grouping != 0) Group(digits, format.grouping, prefix.empty() ? 3 : 4);
  return {SignOf(number < 0, format.sign) + (format.alternate ? prefix : ""), digits};
}

SignedDigits FormatReal(double number, const NumberFormat& format) {
  const bool negative = std::signbit(number) && !std::isnan(number);
  const double magnitude = std::abs(number);
  if (format.precision > kMaxPrecision) Fail("a precision is too large");
  const int precision = format.precision < 0 ? 6 : format.precision;
  std::string digits;
  switch (format.type) {
    case 'e':
      digits = fmt::format("{:.{}e}", magnitude, precision);
      break;
    case 'E':
      digits = fmt::format("{:.{}E}", magnitude, precision);
      break;
    case 'f':
      digits = fmt::format("{:.{}f}", magnitude, precision);
      break;
    case 'F':
      digits = fmt::format("{:.{}F}", magnitude, precision);
      break;
    case 'g':
      digits = fmt::format("{:.{}g}", magnitude, std::max(1, precision));
      break;
    case 'G':
      digits = fmt::format("{:.{}G}", magnitude, std::max(1, precision));
      break;
    default:
      digits = format.precision < 0 ? FloatRepr(magnitude) : fmt::format("{:.{}g}", magnitude, std::max(1, precision));
      if (std::isfinite(magnitude) && digits.find_first_of(".e") == std::string::npos) digits += ".0";
  }
  if (format.grouping != 0 && std::isfinite(magnitude)) Group(digits, format.grouping, 3);
  return {SignOf(negative, format.sign), digits};
}

}  // namespace ingot::chat
