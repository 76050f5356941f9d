// A merge sort that stays within its bounds whatever `less` says: Python's NaN is neither less nor greater than a
// number.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace ingot::chat {

template <typename T, typename Less>
void StableSort(std::vector<T>& items, Less less) {
  std::vector<T> merged(items.size());
  for (size_t width = 1; width < items.size(); width *= 2) {
    for (size_t begin = 0; begin < items.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, items.size()), end = std::min(begin + 2 * width, items.size());
      size_t left = begin, right = middle;
      for (size_t i = begin; i < end; ++i) {
        const bool take_right = left == middle || (right < end && less(items[right], items[left]));
        merged[i] = std::move(items[take_right ? right++ : left++]);
      }
    }
    std::swap(items, merged);
  }
}

}  // namespace ingot::chat
