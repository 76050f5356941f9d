// The seed's table, from shapes alone; plans against the planner of the server; crossovers against the formula.
#include <gtest/gtest.h>

#include <cmath>

#include "models/known_shapes.h"
#include "plan/capacity.h"
#include "plan/roofline.h"

namespace ingot::plan {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

struct Case {
  const char* shape;
  Weights weights;
  int quant_policy;
  int64_t memory;
  int sessions;
  int64_t session_len;
};

llm::LoadOptions OptionsOf(const Case& c) {
  llm::LoadOptions options{.session_len = c.session_len,
                           .max_batch_size = c.sessions,
                           .cache_max_entry_count = 0.95,
                           .quant_policy = c.quant_policy};
  options.num_threads = 1;
  return options;
}

Capacity Plan(const Case& c) {
  const auto backend = ops::MakeCpuBackend(1);
  const auto spec = models::KnownShape(c.shape).value();
  const auto model = OutlineOf(spec, FormatOfWeights(c.weights, 128), c.shape, *backend).value();
  return PlanCapacity(*model, OptionsOf(c), c.memory, *backend);
}

// 24 GiB: from 8 × 2 k in FP16 to 8 × 8 k in 4 bits with an int8 cache, which takes 0.81 of what is free.
TEST(SeedTable, Llama7BIn24GiB) {
  const Capacity before = Plan({"llama-2-7b", Weights::kFp16, 0, 24 * kGiB, 8, 2048});
  EXPECT_TRUE(before.cache_max_entry_count.has_value());
  EXPECT_EQ(before.kv_bytes_per_token, 2 * 2 * 32 * 32 * 128);
  EXPECT_EQ(before.kv, 8 * kGiB);
  EXPECT_LT(before.longest, 4096);
  const Capacity longer = Plan({"llama-2-7b", Weights::kFp16, 0, 24 * kGiB, 8, 8192});
  EXPECT_FALSE(longer.cache_max_entry_count.has_value());
  EXPECT_FALSE(longer.plan.has_value());

  const Capacity after = Plan({"llama-2-7b", Weights::kW4, 8, 24 * kGiB, 8, 8192});
  EXPECT_EQ(after.kv_bytes_per_token, 2 * 32 * 32 * (128 + 4));
  EXPECT_NEAR(after.share_of_free, 0.81, 0.005);
  ASSERT_TRUE(after.cache_max_entry_count.has_value());
  EXPECT_NEAR(*after.cache_max_entry_count, 0.82, 0.011);  // of what the workspace leaves too
  EXPECT_GE(after.at_once, 8);
  EXPECT_GE(after.longest, 8192);
  EXPECT_GE(after.tokens, 8 * 8192);
}

// 80 GiB: from no room at all to 8 × 32 k, which takes 0.90.
TEST(SeedTable, Llama70BIn80GiB) {
  const Capacity before = Plan({"llama-2-70b", Weights::kFp16, 0, 80 * kGiB, 1, 2048});
  EXPECT_LT(before.free, 0);
  EXPECT_FALSE(before.cache_max_entry_count.has_value());
  EXPECT_EQ(before.at_once, 0);

  const Capacity after = Plan({"llama-2-70b", Weights::kW4, 8, 80 * kGiB, 8, 32768});
  EXPECT_EQ(after.kv_bytes_per_token, 2 * 80 * 8 * (128 + 4));
  EXPECT_NEAR(after.share_of_free, 0.90, 0.005);
  ASSERT_TRUE(after.cache_max_entry_count.has_value());
  EXPECT_NEAR(*after.cache_max_entry_count, 0.91, 0.011);
  EXPECT_GE(after.at_once, 8);
  EXPECT_GE(after.longest, 32768);
}

// What is planned is what the server's planner gives with the flag that is printed, and one session more does not fit.
TEST(Capacity, IsWhatTheServerWouldPlan) {
  for (const Case& c : {Case{"smollm2-135m", Weights::kW4, 8, kGiB / 2, 4, 2048},
                        Case{"gemma-3-1b", Weights::kFp16, 0, 4 * kGiB, 6, 4096},
                        Case{"mistral-7b", Weights::kW4, 4, 8 * kGiB, 5, 8192},
                        Case{"qwen3-30b-a3b", Weights::kW4, 0, 24 * kGiB, 3, 4096}}) {
    SCOPED_TRACE(c.shape);
    const auto backend = ops::MakeCpuBackend(1);
    const auto spec = models::KnownShape(c.shape).value();
    const auto model = OutlineOf(spec, FormatOfWeights(c.weights, 128), c.shape, *backend).value();
    const Capacity capacity = Plan(c);
    ASSERT_TRUE(capacity.cache_max_entry_count.has_value());
    llm::LoadOptions options = OptionsOf(c);
    options.cache_max_entry_count = *capacity.cache_max_entry_count;
    const auto plan = llm::PlanMemory(options, llm::NeedsOf(*model, options, *backend), capacity.free).value();
    EXPECT_EQ(plan.num_blocks, capacity.plan->num_blocks);
    EXPECT_EQ(plan.kv, capacity.kv);
    EXPECT_EQ(plan.workspace + plan.kv_tails, capacity.workspace);

    // How many fit, asked for one by one.
    const auto holds = [&](int sessions, int64_t session_len) {
      llm::LoadOptions asked = OptionsOf(c);
      asked.max_batch_size = sessions;
      asked.session_len = session_len;
      const llm::MemoryNeeds needs = llm::NeedsOf(*model, asked, *backend);
      const auto given = llm::PlanMemory(asked, needs, capacity.free);
      asked.cache_max_entry_count = 1.0;
      const auto full = llm::PlanMemory(asked, needs, int64_t{1} << 50);
      return given.has_value() && full.has_value() && given->num_blocks == full->num_blocks;
    };
    EXPECT_TRUE(holds(capacity.at_once, c.session_len));
    EXPECT_FALSE(holds(capacity.at_once + 1, c.session_len));
    EXPECT_TRUE(holds(c.sessions, capacity.longest));
    if (spec.layers[0].window > 0 && models::KvGroupsOf(spec).size() == 1) {
      EXPECT_EQ(capacity.longest, kLongestSession);  // no layer sees more than its window
    } else {
      EXPECT_FALSE(holds(c.sessions, capacity.longest + 64));
    }
  }
}

TEST(Capacity, CountsWindowsHeadsExpertsAndTiedTables) {
  // Gemma 3 1B: of 26 layers 4 see all; the others keep 512 tokens and a chunk, whatever the length.
  const Capacity shorter = Plan({"gemma-3-1b", Weights::kFp16, 0, 8 * kGiB, 1, 8192});
  const Capacity longer = Plan({"gemma-3-1b", Weights::kFp16, 0, 8 * kGiB, 1, 16384});
  EXPECT_EQ(longer.kv - shorter.kv, int64_t{8192} * 4 * 256 * 2 * 2);
  EXPECT_EQ(shorter.kv_bytes_per_token, 26 * 256 * 2 * 2);
  // A tied table is counted once.
  EXPECT_EQ(Plan({"smollm2-135m", Weights::kFp16, 0, kGiB, 1, 64}).weights,
            2 * (int64_t{49152} * 576 + 30 * (int64_t{576} * (576 + 2 * 192) + 576 * 576 + 3 * 576 * 1536)));
  // All experts are held.
  EXPECT_GT(Plan({"mixtral-8x7b", Weights::kFp16, 0, 200 * kGiB, 1, 64}).weights, 93'000'000'000);
  const Products products = ProductsOf(models::KnownShape("mixtral-8x7b").value());
  EXPECT_NEAR(static_cast<double>(products.per_token()), 12.75e9, 0.05e9);
}

TEST(Roofline, DenseCrossoversFollowTheFormula) {
  const auto spec = models::KnownShape("llama-2-7b").value();
  const Device& a100 = *FindDevice("a100");
  EXPECT_STREQ(a100.name, "a100-80g");
  // FP16: 2 · B · W / FLOPS = 2 · W / bandwidth. The seed has "about 128", of the same order.
  const Crossover fp16 = FindCrossover({.spec = &spec}, a100);
  EXPECT_EQ(fp16.batch, static_cast<int64_t>(std::ceil(a100.fp16_flops / a100.bandwidth)));
  EXPECT_NEAR(static_cast<double>(fp16.batch), 128, 40);
  EXPECT_NEAR(fp16.tokens_per_second_alone, a100.bandwidth / (2 * 6.607e9), 0.5);
  // 4 bits: a quarter of the bytes, the same arithmetic; the head stays in fp16.
  const Products products = ProductsOf(spec);
  const auto layers = static_cast<double>(products.shared), head = static_cast<double>(products.head);
  const double bytes = layers * (0.5 + 3.0 / 128) + 2 * head;
  const Crossover w4 = FindCrossover({.spec = &spec, .scheme = Scheme::kW4A16}, a100);
  EXPECT_EQ(w4.batch,
            static_cast<int64_t>(std::ceil(bytes / a100.bandwidth / (2 * (layers + head) / a100.fp16_flops))));
  const Crossover w8 = FindCrossover({.spec = &spec, .scheme = Scheme::kW8A8}, a100);
  EXPECT_GT(w8.batch, fp16.batch * 9 / 10);  // half the bytes, twice the rate
  EXPECT_LT(w8.batch, fp16.batch * 11 / 10);
  // 512 KiB of cache a token: a hundred tokens of it take as long to read as the products of one.
  ASSERT_TRUE(fp16.hopeless_context.has_value());
  EXPECT_NEAR(static_cast<double>(*fp16.hopeless_context),
              2 * (layers + head) / a100.fp16_flops / (524288 / a100.bandwidth - 4.0 * 32 * 4096 / a100.fp16_flops),
              1.0);
}

TEST(Roofline, MixturesReadTheExpertsThatAreChosen) {
  const auto spec = models::KnownShape("mixtral-8x7b").value();
  const Device& h100 = *FindDevice("H100");
  const Crossover found = FindCrossover({.spec = &spec}, h100);
  // By then all experts are read, and a token is multiplied with two of eight.
  const Products p = ProductsOf(spec);
  const auto all = static_cast<double>(p.shared + p.expert * 8 + p.head);
  EXPECT_EQ(found.batch, static_cast<int64_t>(
                             std::ceil(h100.fp16_flops / h100.bandwidth * all / static_cast<double>(p.per_token()))));
  EXPECT_NEAR(found.tokens_per_second_alone, h100.bandwidth / 2 / static_cast<double>(p.per_token()), 0.1);
}

TEST(Roofline, WindowsBoundWhatIsRead) {
  const auto spec = models::KnownShape("mistral-7b").value();
  const int64_t token = 2 * 2 * 32 * 8 * 128;
  EXPECT_EQ(KvBytesRead(spec, ops::KvFormat::kF16, 100), 100 * token);
  EXPECT_EQ(KvBytesRead(spec, ops::KvFormat::kF16, 100'000), 4096 * token);
}

TEST(Devices, AreFoundByTheirNames) {
  EXPECT_STREQ(FindDevice("RTX 4090")->name, "4090");
  EXPECT_STREQ(FindDevice("A100-40GB")->name, "a100-40g");
  EXPECT_STREQ(FindDevice("h200")->name, "h200");
  EXPECT_EQ(FindDevice("a99"), nullptr);
  for (const Device& device : Devices()) {
    EXPECT_GE(device.int8_ops, device.fp16_flops) << device.name;
    EXPECT_GT(device.fp16_flops / device.bandwidth, 50) << device.name;
  }
}

}  // namespace
}  // namespace ingot::plan
