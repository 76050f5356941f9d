#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#define INGOT_ISA_NAMESPACE reference
#include "kernels/cpu/vector_math.h"

namespace ingot::kernels::reference {
namespace {

float LoadElement(const KvLayer& kv, const std::byte* plane, int64_t index) {
  if (!kv.is_f16) {
    float value;
    std::memcpy(&value, plane + index * 4, sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, plane + index * 2, sizeof(bits));
  return F16ToF32(bits);
}

void StoreElement(const KvLayer& kv, std::byte* plane, int64_t index, float value) {
  if (!kv.is_f16) {
    std::memcpy(plane + index * 4, &value, sizeof(value));
    return;
  }
  const uint16_t bits = F32ToF16(value);
  std::memcpy(plane + index * 2, &bits, sizeof(bits));
}

std::byte* KeyPlane(const KvLayer& kv, int64_t block, int kv_head) {
  return kv.data + block * kv.block_stride + int64_t{2} * kv_head * kv.plane_bytes;
}
std::byte* ValuePlane(const KvLayer& kv, int64_t block, int kv_head) {
  return KeyPlane(kv, block, kv_head) + kv.plane_bytes;
}
int64_t KeyIndex(const KvLayer& kv, int offset, int d) {
  return (int64_t{offset} / kKvTile * kv.head_dim + d) * kKvTile + offset % kKvTile;
}
int64_t ValueIndex(const KvLayer& kv, int offset, int d) { return int64_t{offset} * kv.head_dim + d; }

void NormAndRotate(const KvWriteParams& p, int64_t token, const float* norm, float* x) {
  const int dim = p.kv.head_dim, half = p.rotary_dim / 2;
  if (norm != nullptr) {
    double sum = 0;
    for (int d = 0; d < dim; ++d) sum += double{x[d]} * x[d];
    const float inverse = static_cast<float>(1.0 / std::sqrt(sum / dim + p.norm_eps));
    for (int d = 0; d < dim; ++d) x[d] = x[d] * inverse * norm[d];
  }
  for (int i = 0; i < half; ++i) {
    const float cos = p.cos[token * half + i], sin = p.sin[token * half + i];
    const float a = x[i], b = x[i + half];
    x[i] = a * cos - b * sin;
    x[i + half] = b * cos + a * sin;
  }
}

void KvWrite(const KvWriteParams& p, int64_t begin, int64_t end) {
  const int dim = p.kv.head_dim;
  for (int64_t t = begin; t < end; ++t) {
    for (int h = 0; h < p.num_heads; ++h) NormAndRotate(p, t, p.q_norm, p.q + t * p.stride + h * dim);
    const int64_t block = p.slots[t] / p.kv.block_len;
    const int offset = p.slots[t] % p.kv.block_len;
    for (int h = 0; h < p.num_kv_heads; ++h) {
      float* k = p.k + t * p.stride + h * dim;
      const float* v = p.v + t * p.stride + h * dim;
      NormAndRotate(p, t, p.k_norm, k);
      for (int d = 0; d < dim; ++d) {
        StoreElement(p.kv, KeyPlane(p.kv, block, h), KeyIndex(p.kv, offset, d), k[d]);
        StoreElement(p.kv, ValuePlane(p.kv, block, h), ValueIndex(p.kv, offset, d), v[d]);
      }
    }
  }
}

// One query: a (token, head) row of an item.
struct Query {
  const AttentionArgs& args;
  const int32_t* block_table;
  int kv_head;
  int position;
  const float* q;  // [head_dim]
  float* out;      // [head_dim]
};

Query QueryOf(const AttentionArgs& args, const AttentionItem& item, int row) {
  const int64_t token = item.token_begin + row / item.num_heads;
  const int64_t head = item.head_begin + row % item.num_heads;
  const int dim = args.kv.head_dim;
  return {args,
          args.block_tables + item.seq * args.block_table_stride,
          item.kv_head,
          args.positions[token],
          args.q + token * args.q_stride + head * dim,
          args.out + (token * args.num_heads + head) * dim};
}

// The running softmax of a row: m, l and o as in PartialFloats().
struct Partial {
  float* o;  // [head_dim]
  float* m;
  float* l;
};
Partial PartialAt(float* base, int head_dim) {
  return {base, base + PaddedDim(head_dim), base + PaddedDim(head_dim) + 1};
}

// The positions of `split` that the query sees: [*begin, *end).
bool Visible(const Query& query, int split, int* begin, int* end) {
  const int window = query.args.window;
  *begin = std::max(split * kSplit, window > 0 ? query.position - window + 1 : 0);
  *end = std::min((split + 1) * kSplit, query.position + 1);
  return *begin < *end;
}

void AttendSplit(const Query& query, int begin, int end, float* scores, Partial out) {
  const AttentionArgs& args = query.args;
  const KvLayer& kv = args.kv;
  *out.m = -INFINITY;
  for (int j = begin; j < end; ++j) {
    const std::byte* keys = KeyPlane(kv, query.block_table[j / kv.block_len], query.kv_head);
    float score = 0;
    for (int d = 0; d < kv.head_dim; ++d) {
      score += query.q[d] * args.scale * LoadElement(kv, keys, KeyIndex(kv, j % kv.block_len, d));
    }
    if (args.softcap > 0) score = args.softcap * Tanh({score / args.softcap}).v;
    scores[j - begin] = score;
    *out.m = std::max(*out.m, score);
  }
  *out.l = 0;
  std::fill_n(out.o, kv.head_dim, 0.0f);
  for (int j = begin; j < end; ++j) {
    const std::byte* values = ValuePlane(kv, query.block_table[j / kv.block_len], query.kv_head);
    const float p = Exp({scores[j - begin] - *out.m}).v;
    *out.l += p;
    for (int d = 0; d < kv.head_dim; ++d) {
      out.o[d] += p * LoadElement(kv, values, ValueIndex(kv, j % kv.block_len, d));
    }
  }
}

void MergeInto(Partial total, Partial part, int head_dim) {
  const float m = std::max(*total.m, *part.m);
  const float a = Exp({*total.m - m}).v, b = Exp({*part.m - m}).v;
  *total.m = m;
  *total.l = *total.l * a + *part.l * b;
  for (int d = 0; d < head_dim; ++d) total.o[d] = total.o[d] * a + part.o[d] * b;
}

void WriteOut(const Query& query, Partial total) {
  const float inverse = 1.0f / *total.l;
  for (int d = 0; d < query.args.kv.head_dim; ++d) query.out[d] = total.o[d] * inverse;
}

void Attend(const AttentionArgs& args, const AttentionItem& item, float* workspace) {
  const int dim = args.kv.head_dim, rows = item.num_tokens * item.num_heads;
  float* const scores = workspace;  // [kSplit]
  const Partial total = PartialAt(workspace + kSplit, dim);
  for (int row = 0; row < rows; ++row) {
    const Query query = QueryOf(args, item, row);
    bool first = true;
    for (int split = item.split_begin; split < item.split_end; ++split) {
      int begin, end;
      if (!Visible(query, split, &begin, &end)) continue;
      const int64_t index = int64_t{split - item.split_begin} * rows + row;
      float* const target = item.partial != nullptr ? item.partial + index * PartialFloats(dim)
                            : first                 ? workspace + kSplit
                                                    : workspace + kSplit + PartialFloats(dim);
      AttendSplit(query, begin, end, scores, PartialAt(target, dim));
      if (item.partial == nullptr && !first) MergeInto(total, PartialAt(target, dim), dim);
      first = false;
    }
    if (item.partial == nullptr) WriteOut(query, total);
  }
}

void Merge(const AttentionArgs& args, const AttentionItem& item, float* workspace) {
  const int dim = args.kv.head_dim, rows = item.num_tokens * item.num_heads;
  const Partial total = PartialAt(workspace, dim);
  for (int row = 0; row < rows; ++row) {
    const Query query = QueryOf(args, item, row);
    bool first = true;
    for (int split = item.split_begin; split < item.split_end; ++split) {
      int begin, end;
      if (!Visible(query, split, &begin, &end)) continue;
      float* const part = item.partial + (int64_t{split - item.split_begin} * rows + row) * PartialFloats(dim);
      if (first) {
        std::copy_n(part, PartialFloats(dim), workspace);
      } else {
        MergeInto(total, PartialAt(part, dim), dim);
      }
      first = false;
    }
    WriteOut(query, total);
  }
}

}  // namespace

const AttentionKernels kAttention = {KvWrite, Attend, Merge};

}  // namespace ingot::kernels::reference
