#include "models/row_order.h"

namespace ingot::models {

std::vector<int32_t> SplitHalvesRows(int num_heads, int head_dim, int rotary_dim) {
  std::vector<int32_t> rows;
  for (int head = 0; head < num_heads; ++head) {
    const int begin = head * head_dim;
    for (int half = 0; half < 2; ++half) {
      for (int j = 0; j < rotary_dim / 2; ++j) rows.push_back(begin + 2 * j + half);
    }
    for (int d = rotary_dim; d < head_dim; ++d) rows.push_back(begin + d);
  }
  return rows;
}

std::vector<int32_t> UngroupedQkvRows(int num_heads, int num_kv_heads, int head_dim) {
  const int group = num_heads / num_kv_heads;
  std::vector<int32_t> rows;
  auto append_head = [&](int kv_head, int place) {
    const int begin = (kv_head * (group + 2) + place) * head_dim;
    for (int d = 0; d < head_dim; ++d) rows.push_back(begin + d);
  };
  for (int head = 0; head < num_heads; ++head) append_head(head / group, head % group);
  for (int place : {group, group + 1}) {
    for (int kv_head = 0; kv_head < num_kv_heads; ++kv_head) append_head(kv_head, place);
  }
  return rows;
}

}  // namespace ingot::models
