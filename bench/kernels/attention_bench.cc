// Attention of a decoding batch and of a prefilled prompt, next to the machine's limits for reading memory and for fp32
// multiply-adds, which are measured in the same round; medians over rounds. The layers of the cache together are far
// larger than caches, so that decoding reads memory.
// Every format of the cache takes its turn in every round; `of_f16` is its time over fp16's.
//   attention_bench [--threads N] [--rounds N] [--isa NAME] [--only TEXT]
// TEXT: part of e.g. "llama-8b batch 1 context 8192 chunk 1".
// One JSON object per line on stdout.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "ops/backend.h"
#include "ops/isa_info.h"

namespace ingot {
namespace {

struct Options {
  int threads = 2, rounds = 5;
  std::string isa = ops::GetIsaInfo().chosen;
  std::string only;
};

struct Case {
  const char* model;
  int num_heads, num_kv_heads, head_dim;
  int batch;    // sequences
  int context;  // positions of each
  int chunk;    // tokens of each that are computed: 1 when decoding
};

constexpr Case kCases[] = {{"smollm2-135m", 9, 3, 64, 1, 2048, 1},   {"smollm2-135m", 9, 3, 64, 1, 8192, 1},
                           {"smollm2-135m", 9, 3, 64, 8, 2048, 1},   {"llama-8b", 32, 8, 128, 1, 2048, 1},
                           {"llama-8b", 32, 8, 128, 1, 8192, 1},     {"llama-8b", 32, 8, 128, 1, 32768, 1},
                           {"llama-8b", 32, 8, 128, 16, 2048, 1},    {"smollm2-135m", 9, 3, 64, 1, 512, 512},
                           {"smollm2-135m", 9, 3, 64, 1, 4096, 512}, {"smollm2-135m", 9, 3, 64, 1, 4096, 4096},
                           {"llama-8b", 32, 8, 128, 1, 512, 512},    {"llama-8b", 32, 8, 128, 1, 4096, 512}};

struct NamedFormat {
  ops::KvFormat format;
  const char* name;
};
constexpr NamedFormat kFormats[] = {{ops::KvFormat::kF16, "f16"},
                                    {ops::KvFormat::kBF16, "bf16"},
                                    {ops::KvFormat::kI8, "i8"},
                                    {ops::KvFormat::kI4, "i4"}};

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

[[gnu::target("avx512f")]] void FmaLoop512(float seed) {
  using Vector [[gnu::vector_size(64)]] = float;
  Vector sums[16] = {}, a = Vector{} + seed;
  for (int i = 0; i < 100000; ++i) {
    for (Vector& sum : sums) asm volatile("vfmadd231ps %1, %1, %0" : "+v"(sum) : "v"(a));
  }
}
[[gnu::target("avx2,fma")]] void FmaLoop256(float seed) {
  using Vector [[gnu::vector_size(32)]] = float;
  Vector sums[12] = {}, a = Vector{} + seed;
  for (int i = 0; i < 100000; ++i) {
    for (Vector& sum : sums) asm volatile("vfmadd231ps %1, %1, %0" : "+x"(sum) : "x"(a));
  }
}

// fp32 multiply-adds per second of all threads.
double FmaLimit(ThreadPool& pool, const std::string& isa) {
  const bool wide = isa == "avx512" || isa == "amx";
  const int64_t calls = pool.num_threads() * 4;
  const double begin = Now();
  pool.ParallelFor(calls, [&](int64_t) { wide ? FmaLoop512(0.5F) : FmaLoop256(0.5F); });
  return static_cast<double>(calls) * 1e5 * (wide ? 16 * 16 : 12 * 8) / (Now() - begin);
}

// Bytes per second read by all threads out of a buffer far larger than caches.
double ReadLimit(ThreadPool& pool, const std::vector<uint64_t>& buffer) {
  constexpr int64_t kPiece = 1 << 17;
  std::atomic<uint64_t> sink = 0;
  const double begin = Now();
  pool.ParallelFor(static_cast<int64_t>(buffer.size()) / kPiece, [&](int64_t piece) {
    const uint64_t* words = buffer.data() + piece * kPiece;
    uint64_t sums[8] = {};
    for (int64_t i = 0; i < kPiece; i += 8) {
      __builtin_prefetch(words + i + 512);  // 4 KiB ahead; past the end it does nothing
      for (int64_t j = 0; j < 8; ++j) sums[j] += words[i + j];
    }
    sink += std::accumulate(sums, sums + 8, uint64_t{0});
  });
  return static_cast<double>(buffer.size() * 8) / (Now() - begin);
}

// A cache of enough layers, filled with small numbers, and a step's queries; and what came of it.
struct Setup {
  const Case& c;
  ops::KvView kv;
  Buffer bytes, tails;
  std::vector<int32_t> block_tables, slots, positions, cu_seqlens = {0}, tail_slots;
  std::vector<float> qkv, out;
  int64_t blocks_per_seq;
  std::vector<double> seconds, of_f16, read_share, fma_share;

  Setup(const Case& shape, ops::KvFormat format) : c(shape), blocks_per_seq((c.context + 63) / 64) {
    kv.num_blocks = static_cast<int32_t>(c.batch * blocks_per_seq);
    ops::KvShape one_layer{.format = format,
                           .num_layers = 1,
                           .num_heads = c.num_heads,
                           .num_kv_heads = c.num_kv_heads,
                           .head_dim = c.head_dim,
                           .block_len = 64};
    const int64_t layer_bytes = kv.num_blocks * ops::CpuKvLayout(one_layer).block_bytes;
    one_layer.num_layers = static_cast<int>(std::max<int64_t>(1, (int64_t{1} << 28) / layer_bytes));
    kv.layout = ops::CpuKvLayout(one_layer);
    bytes = Filled(kv.num_blocks * kv.layout.block_bytes);
    tails = Filled(std::max<int64_t>(64, c.batch * kv.layout.tail_bytes));
    kv.data = bytes.data();
    kv.tails = tails.data();
    kv.num_tails = c.batch;
    std::mt19937 random(1);
    block_tables.resize(static_cast<size_t>(kv.num_blocks));
    std::iota(block_tables.begin(), block_tables.end(), 0);
    std::shuffle(block_tables.begin(), block_tables.end(), random);
    for (int s = 0; s < c.batch; ++s) {
      for (int p = c.context - c.chunk; p < c.context; ++p) positions.push_back(p);
      cu_seqlens.push_back(static_cast<int32_t>(positions.size()));
      tail_slots.push_back(s);
    }
    qkv.resize(positions.size() * static_cast<size_t>((c.num_heads + 2 * c.num_kv_heads) * c.head_dim));
    for (float& x : qkv) x = static_cast<float>(random() % 2001) / 1000 - 1;
    out.resize(positions.size() * static_cast<size_t>(c.num_heads * c.head_dim));
    slots.resize(positions.size());
  }

  // Halves of ±0.125…0.25, which are also codes of every kind and sensible scales.
  static Buffer Filled(int64_t size) {
    Buffer buffer = Buffer::Allocate(size).value();
    auto* half = reinterpret_cast<uint16_t*>(buffer.data());
    for (int64_t i = 0; i < size / 2; ++i) half[i] = static_cast<uint16_t>((i * 37 & 0x83ff) | 0x3000);
    return buffer;
  }

  int64_t ScratchBytes(const ops::Backend& backend) const {
    const ops::StepLimits limits{cu_seqlens.back(), c.batch, c.context};
    return backend.StepBytes(limits, {&kv.layout, 1}) + backend.AttentionBytes(limits, kv.layout);
  }
  // Of one layer: each visible position is read once, and takes part in two products per head and dim.
  double ReadBytes() const {
    return static_cast<double>(kv.layout.block_bytes / kv.layout.block_len) / kv.layout.num_layers * c.batch *
           c.context;
  }
  double Products() const {
    const double pairs = c.batch * (c.chunk * (c.context - c.chunk) + c.chunk * (c.chunk + 1.0) / 2);
    return 2 * pairs * c.num_heads * c.head_dim;
  }

  void RunLayer(const ops::Context& context, const ops::Step& step, int layer) {
    const auto view = [&](std::vector<float>& x) {
      const auto tokens = std::ssize(positions);
      return TensorView{x.data(), DType::kF32, {tokens, std::ssize(x) / tokens}, {}};
    };
    ops::Attention(context, step,
                   {.qkv = view(qkv),
                    .out = view(out),
                    .place = {.group = 0, .layer = layer},
                    .scale = 1 / std::sqrt(static_cast<float>(c.head_dim)),
                    .softcap = 0});
  }

  // Seconds a layer takes.
  double Time(const ops::Context& context) {
    const ops::Scratch::Mark mark(*context.scratch);
    const ops::KvGroupBatch group{block_tables, blocks_per_seq, slots};
    const ops::StepBatch batch{.token_ids = positions,
                               .drawn_tokens = {},
                               .positions = positions,
                               .cu_seqlens = cu_seqlens,
                               .groups = {&group, 1},
                               .tail_slots = tail_slots,
                               .adapters = {},
                               .logits_rows = {},
                               .max_context = c.context};
    const ops::Step step = ops::BeginStep(context, batch, {&kv, 1});
    const int enough = std::clamp(static_cast<int>(1e10 / Products()), 1, 8);
    const int layers = c.chunk == 1 ? kv.layout.num_layers : enough;
    const double begin = Now();
    for (int layer = 0; layer < layers; ++layer) RunLayer(context, step, layer % kv.layout.num_layers);
    return (Now() - begin) / layers;
  }
};

void Print(const Options& options, const Case& c, const char* format, const Setup& s) {
  const double seconds = Median(s.seconds);
  fmt::print(
      "{{\"model\": \"{}\", \"batch\": {}, \"context\": {}, \"chunk\": {}, \"kv\": \"{}\", \"threads\": {}, "
      "\"isa\": \"{}\", \"us_per_layer\": {:.1f}, \"of_f16\": {:.3f}, \"gbyte_per_s\": {:.2f}, \"read_share\": {:.3f}, "
      "\"gmac_per_s\": {:.1f}, \"fma_share\": {:.3f}}}\n",
      c.model, c.batch, c.context, c.chunk, format, options.threads, options.isa, seconds * 1e6, Median(s.of_f16),
      s.ReadBytes() / seconds / 1e9, Median(s.read_share), s.Products() / seconds / 1e9, Median(s.fma_share));
  std::fflush(stdout);
}

void Measure(const Options& options, const Case& c, ops::Backend& backend, const std::vector<uint64_t>& memory) {
  std::vector<Setup> setups;
  ThreadPool& pool = *backend.host().pool;
  int64_t scratch_bytes = 0;
  for (const NamedFormat& f : kFormats) {
    setups.emplace_back(c, f.format);
    scratch_bytes = std::max(scratch_bytes, setups.back().ScratchBytes(backend));
  }
  ops::Scratch scratch = ops::Scratch::Allocate(backend, scratch_bytes).value();
  const ops::Context context{.backend = &backend, .scratch = &scratch, .compute = ops::Compute::kFast};
  for (int round = 0; round < options.rounds; ++round) {
    const double read = ReadLimit(pool, memory), fma = FmaLimit(pool, options.isa);
    for (Setup& s : setups) {
      s.seconds.push_back(s.Time(context));
      s.of_f16.push_back(s.seconds.back() / setups[0].seconds.back());
      s.read_share.push_back(s.ReadBytes() / s.seconds.back() / read);
      s.fma_share.push_back(s.Products() / s.seconds.back() / fma);
    }
  }
  for (size_t i = 0; i < setups.size(); ++i) Print(options, c, kFormats[i].name, setups[i]);
}

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i], value = argv[i + 1];
    if (name == "--isa") options.isa = value;
    if (name == "--threads") options.threads = std::stoi(value);
    if (name == "--rounds") options.rounds = std::stoi(value);
    if (name == "--only") options.only = value;
  }
  const auto backend = ops::MakeCpuBackend(options.threads, options.isa);
  const std::vector<uint64_t> memory(size_t{1} << 26, 1);
  for (const Case& c : kCases) {
    const std::string label = fmt::format("{} batch {} context {} chunk {}", c.model, c.batch, c.context, c.chunk);
    if (label.find(options.only) != std::string::npos) Measure(options, c, *backend, memory);
  }
  return 0;
}

}  // namespace
}  // namespace ingot

int main(int argc, char** argv) { return ingot::Main(argc, argv); }
