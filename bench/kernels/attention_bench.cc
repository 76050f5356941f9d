// Attention of a decoding batch and of a prefilled prompt, beside the machine's limits for reading memory and for fp32
// multiply-adds, which are measured in the same round; medians over rounds. The layers of the cache together are far
// larger than caches, so that decoding reads memory.
//   attention_bench [--threads N] [--rounds N] [--isa NAME]
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

#include "ops/transformer.h"

namespace ingot {
namespace {

struct Options {
  int threads = 2, rounds = 5;
  kernels::Isa isa = kernels::ChosenIsa();
};

struct Case {
  const char* model;
  int num_heads, num_kv_heads, head_dim;
  int batch;    // sequences
  int context;  // positions of each
  int chunk;    // tokens of each that are computed: 1 when decoding
};

constexpr Case kCases[] = {{"smollm2-135m", 9, 3, 64, 1, 1024, 1},   {"smollm2-135m", 9, 3, 64, 1, 8192, 1},
                           {"smollm2-135m", 9, 3, 64, 8, 2048, 1},   {"llama-8b", 32, 8, 128, 1, 1024, 1},
                           {"llama-8b", 32, 8, 128, 1, 8192, 1},     {"llama-8b", 32, 8, 128, 1, 32768, 1},
                           {"llama-8b", 32, 8, 128, 16, 2048, 1},    {"smollm2-135m", 9, 3, 64, 1, 512, 512},
                           {"smollm2-135m", 9, 3, 64, 1, 4096, 512}, {"smollm2-135m", 9, 3, 64, 1, 4096, 4096},
                           {"llama-8b", 32, 8, 128, 1, 512, 512},    {"llama-8b", 32, 8, 128, 1, 4096, 512}};

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
double FmaLimit(ThreadPool& pool, kernels::Isa isa) {
  const bool wide = isa == kernels::Isa::kAvx512;
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

// A cache of enough layers, filled with small numbers, and a step's queries.
struct Setup {
  ops::KvView kv;
  Buffer bytes;
  std::vector<int32_t> block_tables, positions, cu_seqlens = {0};
  std::vector<float> q, out;
  int64_t blocks_per_seq;

  explicit Setup(const Case& c) : blocks_per_seq((c.context + 63) / 64) {
    kv.num_blocks = static_cast<int32_t>(c.batch * blocks_per_seq);
    kv.layout = {ops::KvFormat::kF16, 1, c.num_kv_heads, c.head_dim, 64};
    const int64_t layer_bytes = kv.num_blocks * kv.layout.block_bytes();
    kv.layout.num_layers = static_cast<int>(std::max<int64_t>(1, (int64_t{1} << 29) / layer_bytes));
    bytes = Buffer::Allocate(kv.num_blocks * kv.layout.block_bytes()).value();
    kv.data = bytes.data();
    auto* half = reinterpret_cast<uint16_t*>(kv.data);
    std::mt19937 random(1);
    for (int64_t i = 0; i < bytes.size() / 2; ++i) half[i] = static_cast<uint16_t>((i * 37 & 0x83ff) | 0x3000);
    block_tables.resize(static_cast<size_t>(kv.num_blocks));
    std::iota(block_tables.begin(), block_tables.end(), 0);
    std::shuffle(block_tables.begin(), block_tables.end(), random);
    for (int s = 0; s < c.batch; ++s) {
      for (int p = c.context - c.chunk; p < c.context; ++p) positions.push_back(p);
      cu_seqlens.push_back(static_cast<int32_t>(positions.size()));
    }
    q.resize(positions.size() * static_cast<size_t>(c.num_heads * c.head_dim));
    for (float& x : q) x = static_cast<float>(random() % 2001) / 1000 - 1;
    out.resize(q.size());
  }
};

void RunLayer(const ops::Context& context, const Case& c, Setup& setup, int layer) {
  ops::Attention(context, {.q = setup.q.data(),
                           .q_stride = int64_t{c.num_heads} * c.head_dim,
                           .out = setup.out.data(),
                           .num_heads = c.num_heads,
                           .positions = setup.positions.data(),
                           .cu_seqlens = setup.cu_seqlens.data(),
                           .num_seqs = c.batch,
                           .block_tables = setup.block_tables.data(),
                           .block_table_stride = setup.blocks_per_seq,
                           .kv = setup.kv,
                           .layer = layer,
                           .scale = 1 / std::sqrt(static_cast<float>(c.head_dim)),
                           .softcap = 0,
                           .window = 0});
}

void Measure(const Options& options, const Case& c, ThreadPool& pool, const std::vector<uint64_t>& memory) {
  Setup setup(c);
  ops::Context context{.pool = &pool, .scratch = nullptr, .kernels = &kernels::TableFor(options.isa)};
  ops::Scratch scratch = ops::Scratch::Allocate(ops::AttentionScratchBytes(context, setup.cu_seqlens.back(),
                                                                           c.num_heads, c.head_dim, c.context))
                             .value();
  context.scratch = &scratch;
  // Of one layer: each visible position is read once, and takes part in two products per head and dim.
  const double bytes = 4.0 * c.batch * c.context * c.num_kv_heads * c.head_dim;
  const double pairs = c.batch * (c.chunk * (c.context - c.chunk) + c.chunk * (c.chunk + 1.0) / 2);
  const double products = 2 * pairs * c.num_heads * c.head_dim;
  const int layers = c.chunk == 1 ? setup.kv.layout.num_layers : std::clamp(static_cast<int>(1e10 / products), 1, 8);
  std::vector<double> seconds, read, fma, read_share, fma_share;
  for (int round = 0; round < options.rounds; ++round) {
    read.push_back(ReadLimit(pool, memory));
    fma.push_back(FmaLimit(pool, options.isa));
    const double begin = Now();
    for (int layer = 0; layer < layers; ++layer) RunLayer(context, c, setup, layer % setup.kv.layout.num_layers);
    seconds.push_back((Now() - begin) / layers);
    read_share.push_back(bytes / seconds.back() / read.back());
    fma_share.push_back(products / seconds.back() / fma.back());
  }
  fmt::print(
      "{{\"model\": \"{}\", \"batch\": {}, \"context\": {}, \"chunk\": {}, \"threads\": {}, \"isa\": \"{}\", "
      "\"us_per_layer\": {:.1f}, \"gbyte_per_s\": {:.2f}, \"read_limit_gbyte_per_s\": {:.2f}, \"read_share\": {:.3f}, "
      "\"gmac_per_s\": {:.1f}, \"fma_limit_gmac_per_s\": {:.1f}, \"fma_share\": {:.3f}}}\n",
      c.model, c.batch, c.context, c.chunk, options.threads, kernels::IsaName(options.isa), Median(seconds) * 1e6,
      bytes / Median(seconds) / 1e9, Median(read) / 1e9, Median(read_share), products / Median(seconds) / 1e9,
      Median(fma) / 1e9, Median(fma_share));
  std::fflush(stdout);
}

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i], value = argv[i + 1];
    if (name == "--isa" && !kernels::ParseIsa(value, &options.isa)) return 2;
    if (name == "--threads") options.threads = std::stoi(value);
    if (name == "--rounds") options.rounds = std::stoi(value);
  }
  ThreadPool pool(options.threads);
  const std::vector<uint64_t> memory(size_t{1} << 26, 1);
  for (const Case& c : kCases) Measure(options, c, pool, memory);
  return 0;
}

}  // namespace
}  // namespace ingot

int main(int argc, char** argv) { return ingot::Main(argc, argv); }
