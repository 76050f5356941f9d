// All matrix products of a step of a Llama-shaped model, for some batch sizes and weight formats, next to the machine's
// limits for int8 multiply-adds and for reading memory. Each round measures the limits and the products within
// moments of each other, because shared machines change their speed from minute to minute; what is printed are
// medians over rounds, and the limits' own spread.
//   gemm_bench [--model 135m|1b] [--formats q4_0,q4_1,…] [--rows 1,8,32,256] [--threads N] [--rounds N] [--isa NAME]
// One JSON object per line on stdout.
#include <fmt/format.h>
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "ops/backend.h"
#include "ops/isa_info.h"

namespace ingot {
namespace {

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::vector<std::string> Split(const std::string& list) {
  std::vector<std::string> parts;
  for (size_t at = 0; at <= list.size();) {
    const size_t comma = std::min(list.find(',', at), list.size());
    parts.push_back(list.substr(at, comma - at));
    at = comma + 1;
  }
  return parts;
}

struct Options {
  std::string model = "135m", formats = "q4_0,q4_1,q8_0", rows = "1,8,32,256", isa = ops::GetIsaInfo().chosen;
  int threads = 2, rounds = 7;
};

std::map<std::string, Format> Formats() {
  using Zero = Format::Zero;
  using Scale = Format::Scale;
  return {{"q4_0", {.bits = 4, .group_size = 32}},
          {"q4_1", {.bits = 4, .group_size = 32, .zero = Zero::kMin}},
          {"q4_k", {.bits = 4, .group_size = 32, .zero = Zero::kMin, .scale = Scale::kSuper}},
          {"q6_k", {.bits = 6, .group_size = 16, .scale = Scale::kSuper}},
          {"q8_0", {.bits = 8, .group_size = 32}},
          {"q2_k", {.bits = 2, .group_size = 16, .zero = Zero::kMin, .scale = Scale::kSuper}},
          {"q3_k", {.bits = 3, .group_size = 16, .scale = Scale::kSuper}},
          {"iq4_nl", {.bits = 4, .group_size = 32, .codebook = Format::Codebook::kIq4}},
          {"iq4_xs", {.bits = 4, .group_size = 32, .scale = Scale::kSuper, .codebook = Format::Codebook::kIq4}},
          {"iq2_xs", {.bits = 4, .group_size = 16, .scale = Scale::kSuper, .codebook = Format::Codebook::kIq2}},
          {"mxfp4", {.bits = 4, .group_size = 32, .scale = Scale::kE8M0, .codebook = Format::Codebook::kFp4}},
          {"g128", {.bits = 4, .group_size = 128}},
          {"awq", {.bits = 4, .group_size = 128, .zero = Zero::kInteger}},
          {"bf16", Format::Dense(DType::kBF16)},
          {"f16", Format::Dense(DType::kF16)},
          {"f32", Format::Dense(DType::kF32)}};
}

// The same 64 random rows again and again: quick to make.
class RepeatedRows : public WeightSource {
 public:
  RepeatedRows(const Format& format, int64_t rows, int64_t cols) : rows_(rows) {
    block_.format = format;
    block_.cols = cols;
    std::mt19937 random(1);
    const auto number = [&](float size) {
      return F16ToF32(F32ToF16(size * static_cast<float>(random() % 1000) / 1000));
    };
    if (!format.quantized()) {
      for (int64_t i = 0; i < kBlock * cols; ++i) block_.dense.push_back(BF16ToF32(F32ToBF16(number(0.1F))));
      return;
    }
    for (int64_t i = 0; i < kBlock * cols; ++i) block_.codes.push_back(random() & ((1U << format.bits) - 1));
    const int64_t groups = (cols + format.group_size - 1) / format.group_size;
    for (int64_t i = 0; i < kBlock * groups; ++i) {
      block_.scale.push_back(number(0.01F));
      block_.scale_code.push_back(static_cast<int16_t>(random() % 64));
      block_.min_code.push_back(static_cast<int16_t>(random() % 64));
      block_.zero.push_back(format.zero == Format::Zero::kInteger ? static_cast<float>(random() % 16) : -number(0.1F));
    }
    for (int64_t i = 0; i < kBlock * ((cols + 255) / 256); ++i) {
      block_.super_scale.push_back(number(0.001F));
      block_.super_min.push_back(-number(0.001F));
    }
  }
  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return block_.cols; }
  Format format() const override { return block_.format; }
  void Read(int64_t, int64_t count, WeightRows* out) const override {
    if (out->rows != count || out->cols != block_.cols) *out = block_;
    out->rows = count;
  }

 private:
  static constexpr int64_t kBlock = 64;
  int64_t rows_;
  WeightRows block_;
};

struct Model {
  std::vector<ops::PackedWeight> weights;
  double products = 0, bytes = 0;  // per row, per step
  int64_t widest_in = 0, widest_out = 0;
};

Model MakeModel(ops::Backend& backend, const std::string& name, const Format& format) {
  struct Size {
    int64_t layers, hidden, qkv, ffn, vocabulary;
  };
  const Size size = name == "1b" ? Size{22, 2048, 2560, 5632, 49152} : Size{30, 576, 960, 1536, 49152};
  Model model;
  const auto add = [&](int64_t out, int64_t in) {
    model.weights.push_back(backend.Prepack(RepeatedRows(format, out, in)).value());
    model.products += static_cast<double>(out) * static_cast<double>(in);
    model.bytes += static_cast<double>(model.weights.back().bytes());
    model.widest_in = std::max(model.widest_in, in);
    model.widest_out = std::max(model.widest_out, out);
  };
  for (int64_t i = 0; i < size.layers; ++i) {
    add(size.qkv, size.hidden);
    add(size.hidden, size.hidden);
    add(2 * size.ffn, size.hidden);
    add(size.hidden, size.ffn);
  }
  add(size.vocabulary, size.hidden);
  return model;
}

#define INGOT_VNNI [[gnu::target("avx512f,avx512vl,avx512vnni")]]
// Multiply-adds of one call.
constexpr double kLimitProducts = 200000.0 * 12 * 64;
INGOT_VNNI int32_t LimitLoop(int32_t seed) {
  __m512i sums[12];
  for (__m512i& sum : sums) sum = _mm512_setzero_si512();
  const __m512i a = _mm512_set1_epi32(seed), b = _mm512_set1_epi32(seed + 1);
  for (int i = 0; i < 200000; ++i) {
    for (__m512i& sum : sums) {
      sum = _mm512_dpbusd_epi32(sum, a, b);
      asm volatile("" : "+v"(sum));  // each in a register, none folded away
    }
  }
  __m512i total = sums[0];
  for (int i = 1; i < 12; ++i) total = _mm512_add_epi32(total, sums[i]);
  return _mm512_reduce_add_epi32(total);
}

// int8 multiply-adds per second of all threads; 0 without AVX-512 VNNI.
double Int8Limit(ThreadPool& pool) {
  if (!__builtin_cpu_supports("avx512vnni")) return 0;
  std::atomic<int32_t> sink = 0;
  const double begin = Now();
  pool.ParallelFor(pool.num_threads() * 4, [&](int64_t i) { sink += LimitLoop(static_cast<int32_t>(i)); });
  return kLimitProducts * pool.num_threads() * 4 / (Now() - begin);
}

// bf16 multiply-adds of one call.
constexpr double kTileLimitProducts = 20000.0 * 4 * 16 * 16 * 32;
// REQUIRES: the instruction set amx is available.
[[gnu::target("amx-tile,amx-bf16")]] void TileLimitLoop() {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  asm volatile("ldtilecfg %0" : : "m"(config));
  for (int i = 0; i < 20000; ++i) {
    asm volatile(
        "tdpbf16ps %tmm6, %tmm4, %tmm0\n\ttdpbf16ps %tmm7, %tmm4, %tmm1\n\t"
        "tdpbf16ps %tmm6, %tmm5, %tmm2\n\ttdpbf16ps %tmm7, %tmm5, %tmm3");
  }
  asm volatile("tilerelease");
}

// bf16 multiply-adds per second of all threads on tiles; 0 without them.
double TileLimit(ThreadPool& pool) {
  const std::vector<std::string> isas = ops::GetIsaInfo().available;
  if (std::find(isas.begin(), isas.end(), "amx") == isas.end()) return 0;
  const double begin = Now();
  pool.ParallelFor(pool.num_threads() * 4, [](int64_t) { TileLimitLoop(); });
  return kTileLimitProducts * pool.num_threads() * 4 / (Now() - begin);
}

// Bytes per second read by all threads out of a buffer far larger than caches; each thread reads two streams at once,
// which hardware prefetches better than one.
double ReadLimit(ThreadPool& pool, const Buffer& buffer) {
  constexpr int64_t kPiece = 1 << 20, kWords = kPiece / 8;
  std::atomic<uint64_t> sink = 0;
  const auto* words = reinterpret_cast<const uint64_t*>(buffer.data());
  const double begin = Now();
  pool.ParallelFor(buffer.size() / kPiece, [&](int64_t piece) {
    const uint64_t* from = words + piece * kWords;
    uint64_t sums[8] = {};
    for (int64_t i = 0; i < kWords / 2; i += 8) {
      for (int64_t j = 0; j < 8; ++j) sums[j] += from[i + j] + from[kWords / 2 + i + j];
    }
    sink += sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
  });
  return static_cast<double>(buffer.size()) / (Now() - begin);
}

void Step(const ops::Context& context, const Model& model, int64_t rows, float* x, float* y) {
  for (const ops::PackedWeight& weight : model.weights) {
    ops::Linear(context, {.data = x, .shape = {rows, weight.in_features()}}, weight,
                {.data = y, .shape = {rows, weight.out_features()}});
  }
}

void Measure(const Options& options, const std::string& format_name, ops::Backend& backend, const Buffer& memory) {
  ThreadPool& pool = *backend.host().pool;
  ops::Scratch scratch = ops::Scratch::Allocate(backend, 256 << 20).value();
  const ops::Context context{.backend = &backend, .scratch = &scratch, .compute = ops::Compute::kFast};
  const double pack_begin = Now();
  const Model model = MakeModel(backend, options.model, Formats().at(format_name));
  const double pack_seconds = Now() - pack_begin;
  for (const std::string& rows_text : Split(options.rows)) {
    const int64_t rows = std::stoll(rows_text);
    const ops::Scratch::Mark mark(scratch);
    float* x = scratch.Take<float>(rows * model.widest_in);
    float* y = scratch.Take<float>(rows * model.widest_out);
    std::mt19937 random(2);
    for (int64_t i = 0; i < rows * model.widest_in; ++i) x[i] = static_cast<float>(random() % 2001) / 1000 - 1;
    std::vector<double> int8, tiles, read, seconds, int8_share, tile_share, read_share;
    Step(context, model, rows, x, y);
    for (int round = 0; round < options.rounds; ++round) {
      int8.push_back(Int8Limit(pool));
      tiles.push_back(TileLimit(pool));
      read.push_back(ReadLimit(pool, memory));
      const double begin = Now();
      Step(context, model, rows, x, y);
      seconds.push_back(Now() - begin);
      int8_share.push_back(model.products * static_cast<double>(rows) / seconds.back() / int8.back());
      tile_share.push_back(model.products * static_cast<double>(rows) / seconds.back() / tiles.back());
      read_share.push_back(model.bytes / seconds.back() / read.back());
    }
    fmt::print(
        "{{\"model\": \"{}\", \"format\": \"{}\", \"rows\": {}, \"threads\": {}, \"isa\": \"{}\", \"tokens_per_s\": "
        "{:.1f}, \"gmac_per_s\": {:.1f}, \"int8_limit_gmac_per_s\": {:.1f}, \"int8_share\": {:.3f}, "
        "\"bf16_tile_limit_gmac_per_s\": {:.1f}, \"bf16_tile_share\": {:.3f}, "
        "\"gbyte_per_s\": {:.2f}, \"read_limit_gbyte_per_s\": {:.2f}, \"read_share\": {:.3f}, \"pack_s\": {:.2f}}}\n",
        options.model, format_name, rows, options.threads, options.isa, static_cast<double>(rows) / Median(seconds),
        model.products * static_cast<double>(rows) / Median(seconds) / 1e9, Median(int8) / 1e9, Median(int8_share),
        Median(tiles) / 1e9, Median(tile_share), model.bytes / Median(seconds) / 1e9, Median(read) / 1e9,
        Median(read_share), pack_seconds);
    std::fflush(stdout);
  }
}

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i], value = argv[i + 1];
    if (name == "--model") options.model = value;
    if (name == "--formats") options.formats = value;
    if (name == "--rows") options.rows = value;
    if (name == "--isa") options.isa = value;
    if (name == "--threads") options.threads = std::stoi(value);
    if (name == "--rounds") options.rounds = std::stoi(value);
  }
  const auto backend = ops::MakeCpuBackend(options.threads, options.isa);
  ThreadPool& pool = *backend->host().pool;
  const Buffer memory = Buffer::Allocate(int64_t{1} << 30).value();
  pool.ParallelFor(memory.size() >> 12, [&](int64_t page) { memory.data()[page << 12] = std::byte{1}; });
  for (const std::string& format : Split(options.formats)) Measure(options, format, *backend, memory);
  return 0;
}

}  // namespace
}  // namespace ingot

int main(int argc, char** argv) { return ingot::Main(argc, argv); }
