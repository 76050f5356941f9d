// How Python formats numbers.
#pragma once

#include <cstdint>
#include <string>

namespace ingot::chat {

struct NumberFormat {
  char type = 'd';     // d b o x X, e E f F g G; 'r': as repr has it
  int precision = -1;  // -1: none given
  bool alternate = false;
  char sign = '-';    // '+', ' ' or '-': only minus is shown
  char grouping = 0;  // ',' or '_' or none
};
// "-", "+", " " or "" and what follows it, apart, since zeros go between them.
struct SignedDigits {
  std::string sign, digits;
};
SignedDigits FormatInteger(int64_t number, const NumberFormat& format);
SignedDigits FormatReal(double number, const NumberFormat& format);

}  // namespace ingot::chat
