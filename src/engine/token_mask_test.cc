#include "sampling/token_mask.h"

#include <gtest/gtest.h>

#include <deque>

#include "engine/test_support.h"

namespace ingot::engine {
namespace {

constexpr int64_t kVocab = 300;

// Ids that, with the sum of those before them, are a multiple of 3.
class Multiples : public sampling::TokenMask {
 public:
  void FillAllowed(std::span<uint32_t> allowed) const override {
    for (size_t word = 0; word < allowed.size(); ++word) {
      allowed[word] = 0;
      for (size_t bit = 0; bit < 32; ++bit) allowed[word] |= (sum_ + word * 32 + bit) % 3 == 0 ? 1u << bit : 0u;
    }
  }
  bool Accept(int32_t id) override {
    accepted_.push_back(id);
    sum_ += static_cast<size_t>(id);
    return sum_ % 3 == 0;
  }
  void Rollback(int count) override {
    for (; count > 0; --count, accepted_.pop_back()) sum_ -= static_cast<size_t>(accepted_.back());
  }

 private:
  std::vector<int32_t> accepted_;
  size_t sum_ = 1;
};

class TokenMaskOnDevice : public testing::TestWithParam<Device> {};
INSTANTIATE_TEST_SUITE_P(Devices, TokenMaskOnDevice, testing::ValuesIn(kDevices));

TEST_P(TokenMaskOnDevice, HoldsThroughPreemptionsAndAffectsNoOther) {
  const auto backend = ops::MakeCpuBackend(2);
  std::mt19937_64 random(12);
  FakeModel model(kVocab);
  auto core = MakeCore(
      model, {.max_batch_size = 8, .max_prefill_tokens = 50, .max_context = 256, .block_len = 32, .num_blocks = {9}},
      *backend, GetParam());
  std::vector<Request> requests;
  for (int i = 0; i < 24; ++i) requests.push_back(RandomRequest(random, kVocab));
  std::deque<Told> told(requests.size());
  const auto with_mask = [&](size_t i) {
    Request request = requests[i];
    if (i % 2 == 0) request.token_mask = std::make_shared<Multiples>();
    return request;
  };
  for (size_t i = 0; i < requests.size(); ++i) {
    Request request = with_mask(i);
    request.on_event = Record(&told[i]);
    core->Add(i, std::move(request), Clock::now());
  }
  for (int step = 1; core->Step(); ++step) {
    if (step % 7 == 0) core->PreemptAll();
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_TRUE(told[i] == Alone(model, with_mask(i), *backend)) << "request " << i;
    int64_t sum = 1;
    for (const int32_t id : told[i].tokens) {
      sum += id;
      if (i % 2 == 0) EXPECT_EQ(sum % 3, 0);
    }
    if (i % 2 == 0) EXPECT_FALSE(told[i].tokens.empty());
  }
}

class AllowsNothing : public sampling::TokenMask {
 public:
  void FillAllowed(std::span<uint32_t> allowed) const override { std::ranges::fill(allowed, 0u); }
  bool Accept(int32_t) override { return false; }
  void Rollback(int) override {}
};

TEST(TokenMask, WhichAllowsNothingEndsItsRequestInAnError) {
  const auto backend = ops::MakeCpuBackend(1);
  FakeModel model(kVocab);
  const Told told =
      Alone(model, {.prompt = {1, 2}, .max_tokens = 4, .token_mask = std::make_shared<AllowsNothing>()}, *backend);
  EXPECT_EQ(told.finish, FinishReason::kError);
  EXPECT_EQ(told.finals, 1);
  EXPECT_NE(told.error.message().find("masked"), std::string::npos) << told.error.message();
}

}  // namespace
}  // namespace ingot::engine
