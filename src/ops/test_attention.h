// For tests of attention: texts of random q, k and v, a layer's step over them, and the same in double.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "ops/backend.h"
#include "ops/isa_info.h"

namespace ingot::ops {

struct Config {
  int num_heads = 4;
  int num_kv_heads = 1;
  int head_dim = 64;
  int block_len = 64;
  KvFormat format = KvFormat::kF16;
  int window = 0;
  float softcap = 0;

  std::string ToString() const {
    static constexpr const char* kFormats[] = {" f16", " bf16", " f32", " i8", " i4"};
    return "heads " + std::to_string(num_heads) + "/" + std::to_string(num_kv_heads) + " dim " +
           std::to_string(head_dim) + " block " + std::to_string(block_len) + " window " + std::to_string(window) +
           " cap " + std::to_string(softcap) + kFormats[static_cast<int>(format)];
  }
  int64_t QkvWidth() const { return int64_t{num_heads + 2 * num_kv_heads} * head_dim; }
  int64_t OutWidth() const { return int64_t{num_heads} * head_dim; }
  KvShape Shape(int num_layers) const {
    return {.format = format,
            .num_layers = num_layers,
            .num_heads = num_heads,
            .num_kv_heads = num_kv_heads,
            .head_dim = head_dim,
            .window = window,
            .block_len = block_len};
  }
};

// A sequence as the model gives it: q, k, v of every token, not rotated (cos = 1, sin = 0) unless a test says so.
struct Text {
  std::vector<float> qkv;  // [length, QkvWidth]
  int length;
};

inline Text RandomText(const Config& config, int length, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> draw(0, 1);
  Text text{std::vector<float>(static_cast<size_t>(length * config.QkvWidth())), length};
  for (float& x : text.qkv) x = draw(rng);
  return text;
}

// A step of one layer over some sequences: write K and V, then attend. A device's runner has the cache's memory and the
// numbers of a step on it.
class AttentionRunner {
 public:
  static constexpr int kLayer = 1;

  virtual ~AttentionRunner() = default;

  // Tokens [begin[s], end[s]) of texts[s], the sequences in one batch. Returns the outputs, one sequence after another.
  std::vector<float> Step(const std::vector<const Text*>& texts, const std::vector<int>& begin,
                          const std::vector<int>& end) {
    std::vector<int32_t> positions, kv_slots, cu_seqlens = {0};
    std::vector<float> qkv;
    for (size_t s = 0; s < texts.size(); ++s) {
      for (int p = begin[s]; p < end[s]; ++p) {
        positions.push_back(p);
        kv_slots.push_back(BlockOf(s, p) * config_.block_len + p % config_.block_len);
      }
      qkv.insert(qkv.end(), texts[s]->qkv.begin() + begin[s] * config_.QkvWidth(),
                 texts[s]->qkv.begin() + end[s] * config_.QkvWidth());
      cu_seqlens.push_back(static_cast<int32_t>(positions.size()));
    }
    const KvGroupBatch group{
        .block_tables = block_tables_, .block_table_stride = blocks_per_seq_, .kv_slots = kv_slots};
    const StepBatch batch{.token_ids = positions,
                          .positions = positions,
                          .cu_seqlens = cu_seqlens,
                          .groups = {&group, 1},
                          .tail_slots = std::span(tail_slots_).first(texts.size()),
                          .logits_rows = {},
                          .max_context = *std::max_element(end.begin(), end.end())};
    std::vector<float> out = WriteAndAttend(batch, &qkv);
    EXPECT_EQ(scratch_.used(), 0);
    return out;
  }

  // One sequence in pieces of `chunk` tokens.
  std::vector<float> InChunks(const Text& text, int chunk) {
    std::vector<float> all;
    for (int begin = 0; begin < text.length; begin += chunk) {
      const auto out = Step({&text}, {begin}, {std::min(text.length, begin + chunk)});
      all.insert(all.end(), out.begin(), out.end());
    }
    return all;
  }

  // Blocks that no later query of sequence 0 may look into, as the engine frees them behind a window.
  void ForgetBlocksBefore(int position) {
    for (int b = 0; b < position / config_.block_len; ++b) block_tables_[static_cast<size_t>(b)] = 0;
  }

 protected:
  struct Sequences {
    int count, max_length;
    uint32_t block_seed;
  };
  AttentionRunner(const Config& config, std::unique_ptr<Backend> backend, const Sequences& sequences)
      : config_(config),
        backend_(std::move(backend)),
        blocks_per_seq_((sequences.max_length + config.block_len - 1) / config.block_len) {
    const int num_seqs = sequences.count;
    kv_.layout = backend_->LayoutOf(config_.Shape(2));
    kv_.num_blocks = num_seqs * blocks_per_seq_ + 1;
    kv_.num_tails = num_seqs + 2;
    for (int s = 0; s < num_seqs; ++s) tail_slots_.push_back(num_seqs + 1 - s);
    block_tables_.resize(static_cast<size_t>(num_seqs * blocks_per_seq_));
    std::iota(block_tables_.begin(), block_tables_.end(), 1);
    std::shuffle(block_tables_.begin(), block_tables_.end(), std::mt19937(sequences.block_seed));
    const StepLimits limits{int64_t{num_seqs} * sequences.max_length, num_seqs, sequences.max_length};
    scratch_ = *Scratch::Allocate(
        *backend_, backend_->StepBytes(limits, {&kv_.layout, 1}) + backend_->AttentionBytes(limits, kv_.layout));
  }

  int64_t block_bytes() const { return kv_.num_blocks * kv_.layout.block_bytes; }
  int64_t tail_bytes() const { return kv_.num_tails * kv_.layout.tail_bytes; }
  // `blocks` and `tails` are full of NaN.
  void SetCache(std::byte* blocks, std::byte* tails) { kv_.data = blocks, kv_.tails = tails; }
  Backend& backend() { return *backend_; }
  const Config& config() const { return config_; }

  // qkv: [tokens, QkvWidth]; returns [tokens, OutWidth].
  virtual std::vector<float> WriteAndAttend(const StepBatch& batch, std::vector<float>* qkv) = 0;

  void RunLayer(const StepBatch& batch, Compute compute, const TensorView& qkv, const TensorView& out) {
    const Context context{.backend = backend_.get(), .scratch = &scratch_, .compute = compute};
    const Scratch::Mark mark(scratch_);
    const ops::Step step = BeginStep(context, batch, {&kv_, 1});
    RopeKvWriteParams write;
    write.qkv = qkv;
    write.place.layer = kLayer;
    RopeKvWrite(context, step, write);
    Attention(context, step,
              {.qkv = write.qkv,
               .out = out,
               .place = write.place,
               .scale = 1 / std::sqrt(static_cast<float>(config_.head_dim)),
               .softcap = config_.softcap});
  }

 private:
  int32_t BlockOf(size_t seq, int position) const {
    return block_tables_[seq * static_cast<size_t>(blocks_per_seq_) +
                         static_cast<size_t>(position / config_.block_len)];
  }

  const Config config_;
  const std::unique_ptr<Backend> backend_;
  const int blocks_per_seq_;
  std::vector<int32_t> tail_slots_;    // [num_seqs]
  std::vector<int32_t> block_tables_;  // [num_seqs, blocks_per_seq]
  KvView kv_;
  Scratch scratch_;
};

// The instruction sets of this machine, and emulated tiles.
inline std::vector<std::string> AttentionIsas() {
  std::vector<std::string> isas = GetIsaInfo().available;
  isas.emplace_back("amx_emulated");
  return isas;
}
// Whether Compute::kFast rounds to bf16 there.
inline bool IsOnTiles(const std::string& isa) { return isa.starts_with("amx"); }

struct RunnerParams {
  std::string isa;
  Config config;
  int num_threads;
  int num_seqs;
  int max_length;
  uint32_t block_seed;
};

// On the CPU. The cache is in vectors, so that sanitizers see what is outside.
class Runner : public AttentionRunner {
 public:
  explicit Runner(const RunnerParams& params)
      : AttentionRunner(params.config, MakeCpuBackend(params.num_threads, params.isa),
                        {params.num_seqs, params.max_length, params.block_seed}),
        bytes_(static_cast<size_t>(block_bytes()), std::byte{0xff}),
        tails_(static_cast<size_t>(tail_bytes()), std::byte{0xff}) {
    SetCache(bytes_.data(), tails_.data());
  }

  // What a slot's next sequence finds, or has: garbage in every tail.
  void ForgetTails() { std::fill(tails_.begin(), tails_.end(), std::byte{0xff}); }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<float> WriteAndAttend(const StepBatch& batch, std::vector<float>* qkv) override {
    std::vector<float> out(static_cast<size_t>(batch.num_tokens() * config().OutWidth()), NAN);
    const auto view = [&](std::vector<float>* x, int64_t width) {
      return TensorView{x->data(), DType::kF32, {batch.num_tokens(), width}, {}};
    };
    RunLayer(batch, Compute::kFast, view(qkv, config().QkvWidth()), view(&out, config().OutWidth()));
    return out;
  }

  std::vector<std::byte> bytes_, tails_;
};

// x ≈ min + code · scale as the cache holds a group; worked out here once more, plainly.
inline void QuantizeGroup(std::vector<float*> x, float max_code) {
  float low = INFINITY, high = -INFINITY;
  for (const float* value : x) low = std::min(low, *value), high = std::max(high, *value);
  const float min = F16ToF32(F32ToF16(low)), scale = F16ToF32(F32ToF16(std::max(0.0f, (high - min) / max_code)));
  for (float* value : x) {
    const float code = scale > 0 ? std::nearbyint((*value - min) * (1 / scale)) : 0;
    *value = std::fma(std::clamp(code, 0.0f, max_code), scale, min);
  }
}

// A text's q, k and v as queries see them: of other tiles of 32 positions, and of their own.
struct Seen {
  std::vector<float> closed, open;  // [length, QkvWidth]
};

inline Seen SeenOf(const Config& c, const Text& text) {
  Seen seen{text.qkv, text.qkv};
  if (c.format == KvFormat::kF32) return seen;
  const auto at = [&](std::vector<float>& qkv, int token, int64_t i) {
    return qkv.data() + token * c.QkvWidth() + c.OutWidth() + i;
  };
  const int kv_dim = c.num_kv_heads * c.head_dim;
  if (c.format == KvFormat::kI8) {
    for (int t = 0; t < text.length; ++t) {
      for (int head = 0; head < 2 * c.num_kv_heads; ++head) {
        std::vector<float*> group;
        for (int d = 0; d < c.head_dim; ++d) group.push_back(at(seen.closed, t, head * c.head_dim + d));
        QuantizeGroup(group, 255);
      }
    }
    seen.open = seen.closed;
    return seen;
  }
  for (int t = 0; t < text.length; ++t) {
    for (int i = 0; i < 2 * kv_dim; ++i) {
      float* x = at(seen.closed, t, i);
      *x = *at(seen.open, t, i) = c.format == KvFormat::kBF16 ? BF16ToF32(F32ToBF16(*x)) : F16ToF32(F32ToF16(*x));
    }
  }
  for (int begin = 0; c.format == KvFormat::kI4 && begin + 32 <= text.length; begin += 32) {
    for (int i = 0; i < kv_dim; ++i) {
      std::vector<float*> channel;
      for (int t = begin; t < begin + 32; ++t) channel.push_back(at(seen.closed, t, i));
      QuantizeGroup(channel, 15);
    }
    for (int t = begin; t < begin + 32; ++t) {
      for (int head = 0; head < c.num_kv_heads; ++head) {
        for (int d = 0; d < c.head_dim; d += 32) {
          std::vector<float*> group;
          for (int i = d; i < std::min(c.head_dim, d + 32); ++i) {
            group.push_back(at(seen.closed, t, kv_dim + head * c.head_dim + i));
          }
          QuantizeGroup(group, 15);
        }
      }
    }
  }
  return seen;
}

// Attention of token p in double.   out: [num_heads, head_dim]
inline std::vector<double> Exact(const Config& c, const Seen& seen, int p) {
  std::vector<double> out(static_cast<size_t>(c.OutWidth()), 0.0);
  const auto at = [&](int token, int64_t i) -> double {
    return (token / 32 == p / 32 ? seen.open : seen.closed)[static_cast<size_t>(token * c.QkvWidth() + i)];
  };
  const int begin = c.window > 0 ? std::max(0, p - c.window + 1) : 0;
  for (int h = 0; h < c.num_heads; ++h) {
    const int64_t k = (c.num_heads + h / (c.num_heads / c.num_kv_heads)) * c.head_dim;
    const int64_t v = k + c.num_kv_heads * c.head_dim;
    std::vector<double> scores;
    for (int j = begin; j <= p; ++j) {
      double score = 0;
      for (int d = 0; d < c.head_dim; ++d) score += at(p, h * c.head_dim + d) * at(j, k + d);
      score /= std::sqrt(c.head_dim);
      scores.push_back(c.softcap > 0 ? c.softcap * std::tanh(score / c.softcap) : score);
    }
    const double max = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (double& s : scores) sum += s = std::exp(s - max);
    for (int j = begin; j <= p; ++j) {
      for (int d = 0; d < c.head_dim; ++d) {
        out[static_cast<size_t>(h * c.head_dim + d)] += scores[static_cast<size_t>(j - begin)] / sum * at(j, v + d);
      }
    }
  }
  return out;
}

// As tiles take it: q times scale, keys and values in bf16.
inline Seen RoundedToBf16(const Config& c, Seen seen) {
  const float scale = 1 / std::sqrt(static_cast<float>(c.head_dim));
  for (std::vector<float>* qkv : {&seen.closed, &seen.open}) {
    for (size_t i = 0; i < qkv->size(); ++i) {
      const float factor = static_cast<int64_t>(i) % c.QkvWidth() < c.OutWidth() ? scale : 1;
      (*qkv)[i] = BF16ToF32(F32ToBF16((*qkv)[i] * factor)) / factor;
    }
  }
  return seen;
}

// The outputs of every stride-th token. on_tiles: weights of values are rounded to bf16 as well.
inline void ExpectCloseToExact(const Config& config, const Text& text, const std::vector<float>& out, int stride,
                               bool on_tiles) {
  const Seen seen = on_tiles ? RoundedToBf16(config, SeenOf(config, text)) : SeenOf(config, text);
  const double tolerance = on_tiles ? 3e-3 : 5e-6;
  for (int p = 0; p < text.length;
       p += p + 1 < text.length && p + stride >= text.length ? text.length - 1 - p : stride) {
    const std::vector<double> want = Exact(config, seen, p);
    double worst = 0;
    for (int64_t i = 0; i < config.OutWidth(); ++i) {
      const double error = std::abs(out[static_cast<size_t>(p * config.OutWidth() + i)] - want[static_cast<size_t>(i)]);
      if (!(error <= worst)) worst = error;
    }
    ASSERT_TRUE(worst <= tolerance) << config.ToString() << " length " << text.length << " position " << p << ": "
                                    << worst;
    if (p == text.length - 1) break;
  }
}

inline bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace ingot::ops
