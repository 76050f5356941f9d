// The tables that FindFilter searches.
#pragma once

#include <span>

#include "chat/runtime.h"

namespace ingot::chat {

struct FilterEntry {
  std::string_view name;
  FilterFunction apply;
};
std::span<const FilterEntry> SequenceFilters();

}  // namespace ingot::chat
