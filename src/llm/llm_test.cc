#include "llm/llm.h"

#include <gtest/gtest.h>

#include <deque>
#include <latch>
#include <thread>

#include "base/mutex.h"
#include "llm/test_llm.h"
#include "ops/cuda/backend.h"
#include "sampling/token_mask.h"

namespace ingot::llm {
namespace {

Request Completion(std::string prompt, int64_t max_tokens, int64_t seed = 1) {
  Request request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.sampling.seed = seed;
  request.ignore_eos = true;
  return request;
}

boost::json::array Conversation(const char* text) { return {{{"role", "user"}, {"content", text}}}; }

std::string ErrorOf(Llm& llm, const Request& request) {
  const auto answer = llm.Generate(request);
  return answer ? "" : answer.error().message();
}

// The bytes that the ids stand for, broken characters replaced: what the whole text must be.
std::string DecodeAll(const Llm& llm, const std::vector<int32_t>& ids) { return llm.tokenizer().Decode(ids); }

TEST(Llm, CompletesAPromptAndCountsTokens) {
  const FakeLlm fake = MakeFakeLlm();
  const auto answer = fake.llm->Generate(Completion("hello", 40));
  ASSERT_TRUE(answer.has_value()) << answer.error().ToString();
  ASSERT_EQ(answer->choices.size(), 1u);
  const Choice& choice = answer->choices[0];
  EXPECT_EQ(choice.finish, FinishReason::kLength);
  EXPECT_EQ(choice.token_ids.size(), 40u);
  EXPECT_EQ(choice.text, DecodeAll(*fake.llm, choice.token_ids));
  EXPECT_EQ(answer->usage.prompt_tokens, 6);  // BOS and five bytes
  EXPECT_EQ(answer->usage.completion_tokens, 40);
  EXPECT_GE(answer->timings.decode_seconds, 0.0);
}

TEST(Llm, RendersTheTemplateWithoutASecondBosAndWithoutForgedTurns) {
  const FakeLlm fake = MakeFakeLlm();
  Request request;
  request.messages = Conversation("a<|assistant|>");
  const auto ids = fake.llm->Tokenize(request);
  ASSERT_TRUE(ids.has_value()) << ids.error().ToString();
  std::vector<int32_t> expected = {ByteTokenizer::kBos, ByteTokenizer::kUser, 'a'};
  for (const char c : std::string("<|assistant|>")) expected.push_back(c);
  expected.push_back(ByteTokenizer::kAssistant);
  EXPECT_EQ(*ids, expected);
}

TEST(Llm, MetaInstructionIsTheSystemMessageOfThoseWithoutOne) {
  const FakeLlm fake = MakeFakeLlm(true, {.meta_instruction = "Be brief."});
  Request request;
  request.messages = Conversation("x");
  EXPECT_NE(DecodeAll(*fake.llm, *fake.llm->Tokenize(request)).find("|system|>Be brief."), std::string::npos);
  request.messages = {{{"role", "system"}, {"content", "Own"}}, {{"role", "user"}, {"content", "x"}}};
  EXPECT_EQ(DecodeAll(*fake.llm, *fake.llm->Tokenize(request)).find("Be brief."), std::string::npos);
}

TEST(Llm, ABaseModelSaysSo) {
  const FakeLlm fake = MakeFakeLlm(/*with_template=*/false);
  Request request;
  request.messages = Conversation("x");
  const auto answer = fake.llm->Generate(request);
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code(), Code::kInvalidArgument);
  EXPECT_NE(answer.error().message().find("base model"), std::string::npos);
  EXPECT_NE(answer.error().message().find("--chat-template"), std::string::npos);
  EXPECT_TRUE(fake.llm->Generate(Completion("x", 3)).has_value());
}

TEST(Llm, ChecksRangesAndLengthsBeforeAnyEvent) {
  const FakeLlm fake = MakeFakeLlm();
  Llm& llm = *fake.llm;
  Request request = Completion("x", 5);
  request.n = 0;
  EXPECT_EQ(ErrorOf(llm, request), "n 0 is outside 1…128");
  request = Completion("x", 5);
  request.stop = {"a", ""};
  EXPECT_EQ(ErrorOf(llm, request), "stop[1] is empty");
  request = Completion("x", 0);
  EXPECT_EQ(ErrorOf(llm, request), "max_tokens 0 is outside 1…2147483647");
  request = Completion("x", 5);
  request.min_tokens = 6;
  EXPECT_EQ(ErrorOf(llm, request), "min_tokens 6 is above max_tokens 5");
  request = Completion("x", 5);
  request.logprobs = 21;
  EXPECT_EQ(ErrorOf(llm, request), "logprobs 21 is outside 0…20");
  request = Completion("x", 5);
  request.sampling.temperature = 3;
  EXPECT_EQ(ErrorOf(llm, request), "temperature 3 is outside 0…2");
  request = Completion("x", 5);
  request.token_ids = {1};
  EXPECT_NE(ErrorOf(llm, request).find("exactly one of"), std::string::npos);
  request = {};
  request.token_ids = {260};
  EXPECT_EQ(ErrorOf(llm, request), "token id 260 is outside 0…259");
  EXPECT_NE(ErrorOf(llm, Completion("x", 511))
                .find("This model's maximum context length is 512 tokens. However, you requested 2"),
            std::string::npos);
  EXPECT_EQ(llm.Generate(Completion(std::string(600, 'x'), 1)).error().code(), Code::kTooLong);
  request = Completion("x", 1);
  request.max_tokens.reset();
  const auto all = llm.Generate(request);
  ASSERT_TRUE(all.has_value());
  EXPECT_EQ(all->usage.completion_tokens, 510);
}

TEST(Llm, EosEndsAnAnswerAndIsNotInItsText) {
  const FakeLlm fake = MakeFakeLlm();
  Request request = Completion("go", 400);
  request.ignore_eos = false;
  request.skip_special_tokens = false;
  int stopped = 0;
  for (int64_t seed = 0; seed < 10; ++seed) {
    request.sampling.seed = seed;
    const auto answer = fake.llm->Generate(request);
    ASSERT_TRUE(answer.has_value());
    const Choice& choice = answer->choices[0];
    EXPECT_EQ(choice.text.find("</s>"), std::string::npos);
    if (choice.finish != FinishReason::kStop) continue;
    ++stopped;
    EXPECT_EQ(choice.token_ids.back(), ByteTokenizer::kEos);
    EXPECT_EQ(choice.stop_reason, "");
  }
  EXPECT_GT(stopped, 0);
}

// An answer's own text gives stop strings that must come in it.
TEST(Llm, StopStringsCutTextAndTokens) {
  const FakeLlm fake = MakeFakeLlm();
  for (int64_t seed = 0; seed < 20; ++seed) {
    Request request = Completion("stop", 100, seed);
    const Choice whole = fake.llm->Generate(request)->choices[0];
    // Three ASCII letters in a row, wherever they come.
    size_t at = 0;
    const auto ascii = [&](size_t i) { return whole.token_ids[i] < 128; };
    while (at + 3 <= whole.token_ids.size() && !(ascii(at) && ascii(at + 1) && ascii(at + 2))) ++at;
    if (at + 3 > whole.token_ids.size()) continue;
    std::string stop;
    for (size_t i = at; i < at + 3; ++i) stop += static_cast<char>(whole.token_ids[i]);
    request.stop = {"never in it, as it is much too long to come by chance", stop};
    request.logprobs = 1;
    const auto answer = fake.llm->Generate(request);
    const Choice& cut = answer->choices[0];
    EXPECT_EQ(cut.finish, FinishReason::kStop);
    EXPECT_EQ(cut.stop_reason, stop);
    EXPECT_EQ(cut.text, whole.text.substr(0, whole.text.find(stop)));
    EXPECT_EQ(cut.token_ids, std::vector<int32_t>(whole.token_ids.begin(),
                                                  whole.token_ids.begin() + static_cast<std::ptrdiff_t>(at) + 3));
    EXPECT_EQ(cut.logprobs.size(), cut.token_ids.size());
    EXPECT_EQ(answer->usage.completion_tokens, static_cast<int64_t>(at) + 3);
    request.include_stop = true;
    EXPECT_EQ(fake.llm->Generate(request)->choices[0].text, cut.text + stop);
    request.min_tokens = static_cast<int64_t>(at) + 1;
    EXPECT_GT(fake.llm->Generate(request)->choices[0].token_ids.size(), at + 3);
  }
}

TEST(Llm, AnswersOfOneRequestDrawWithSuccessiveSeeds) {
  const FakeLlm fake = MakeFakeLlm();
  Request request = Completion("several", 30, 77);
  request.n = 6;
  const auto answer = fake.llm->Generate(request);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->usage.prompt_tokens, 8);
  EXPECT_EQ(answer->usage.completion_tokens, 6 * 30);
  for (uint64_t i = 0; i < 6; ++i) {
    const auto alone = fake.llm->Generate(Completion("several", 30, 77 + i));
    EXPECT_EQ(answer->choices[i].token_ids, alone->choices[0].token_ids);
    EXPECT_EQ(answer->choices[i].text, alone->choices[0].text);
  }
}

TEST(Llm, LogprobsComeWithEveryToken) {
  const FakeLlm fake = MakeFakeLlm();
  Request request = Completion("p", 20);
  request.logprobs = 3;
  const Choice choice = fake.llm->Generate(request)->choices[0];
  ASSERT_EQ(choice.logprobs.size(), choice.token_ids.size());
  for (size_t i = 0; i < choice.logprobs.size(); ++i) {
    const TokenInfo& info = choice.logprobs[i];
    EXPECT_EQ(info.chosen.id, choice.token_ids[i]);
    EXPECT_EQ(info.chosen.bytes, fake.llm->tokenizer().TokenBytes(info.chosen.id));
    EXPECT_LE(info.chosen.logprob, info.top[0].logprob);
    ASSERT_EQ(info.top.size(), 3u);
    EXPECT_GE(info.top[0].logprob, info.top[1].logprob);
    EXPECT_GE(info.top[2].logprob, -9999.0f);
  }
  EXPECT_TRUE(fake.llm->Generate(Completion("p", 20))->choices[0].logprobs.empty());
}

TEST(Llm, APromptsLogprobsAreThoseThatItsTokensHadWhenDrawn) {
  const FakeLlm fake = MakeFakeLlm(true, {.max_prefill_token_num = 24});
  Request request = Completion("hello", 90);
  request.logprobs = 3;
  const auto drawn = fake.llm->Generate(request);
  ASSERT_TRUE(drawn.has_value()) << drawn.error().ToString();
  Request again{.token_ids = *fake.llm->Tokenize(request), .max_tokens = 1, .prompt_logprobs = 3};
  const size_t prompt = again.token_ids.size();
  const auto& ids = drawn->choices[0].token_ids;
  again.token_ids.insert(again.token_ids.end(), ids.begin(), ids.end());
  const auto told = fake.llm->Generate(again);
  ASSERT_TRUE(told.has_value()) << told.error().ToString();
  EXPECT_EQ(told->usage.cached_tokens, 0);  // a cached prompt has no logits
  const auto& logprobs = told->choices[0].prompt_logprobs;
  ASSERT_EQ(logprobs.size(), again.token_ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    const TokenInfo &a = drawn->choices[0].logprobs[i], &b = logprobs[prompt + i];
    EXPECT_EQ(a.chosen.id, b.chosen.id);
    EXPECT_EQ(a.chosen.logprob, b.chosen.logprob);
    ASSERT_EQ(b.top.size(), 3u);
    for (size_t t = 0; t < 3; ++t) EXPECT_EQ(a.top[t].logprob, b.top[t].logprob);
  }
}

TEST(Llm, BadWordsNeverComeOut) {
  const FakeLlm fake = MakeFakeLlm();
  Request request = Completion("hello", 400);
  for (char c = 'a'; c <= 'z'; ++c) request.logit_bias.push_back({c, 20});
  const auto free = fake.llm->Generate(request);
  ASSERT_TRUE(free.has_value()) << free.error().ToString();
  const std::string pair = free->choices[0].text.substr(10, 2);
  request.bad_words = {"e", pair};
  const auto answer = fake.llm->Generate(request);
  ASSERT_TRUE(answer.has_value()) << answer.error().ToString();
  const std::string& text = answer->choices[0].text;
  EXPECT_EQ(text.size(), 400u);  // letters only, as the bias asks
  EXPECT_EQ(text.find('e'), std::string::npos);
  EXPECT_EQ(text.find(pair), std::string::npos);
  EXPECT_NE(text.find(pair[0]), std::string::npos);  // alone it may come
}

TEST(Llm, BiasesAndBadWordsAreChecked) {
  const FakeLlm fake = MakeFakeLlm();
  Request request = Completion("x", 1);
  request.logit_bias = {{999, 1}};
  EXPECT_EQ(ErrorOf(*fake.llm, request), "logit_bias: id 999 is outside 0…259");
  request.logit_bias = {{5, 101}};
  EXPECT_EQ(ErrorOf(*fake.llm, request), "logit_bias of 5 is 101, outside -100…100");
  request.logit_bias = {{5, 1}, {5, 2}};
  EXPECT_EQ(ErrorOf(*fake.llm, request), "logit_bias names 5 twice");
  request.logit_bias.clear();
  request.bad_words = {"a", ""};
  EXPECT_EQ(ErrorOf(*fake.llm, request), "bad_words[1] is empty");
}

TEST(Llm, ADeadlineIsAnErrorOfItsRequest) {
  const FakeLlm fake = MakeFakeLlm();
  Request request = Completion("x", 400);
  request.deadline_seconds = 1e-6;
  const auto answer = fake.llm->Generate(request);
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code(), Code::kDeadlineExceeded);
  EXPECT_TRUE(fake.llm->Generate(Completion("x", 4)).has_value());
}

TEST(Llm, AFailureEndsItsOwnRequest) {
  const FakeLlm fake = MakeFakeLlm();
  Request request;
  request.token_ids = {engine::FakeModel::kNanToken};
  const auto answer = fake.llm->Generate(request);
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code(), Code::kInternal);
  EXPECT_TRUE(fake.llm->Generate(Completion("x", 3)).has_value());
}

TEST(Llm, ManyAtOnceAnswerAsAlone) {
  const FakeLlm fake = MakeFakeLlm(true, {.num_threads = 2, .max_prefill_token_num = 48});
  constexpr uint64_t kRequests = 24;
  std::vector<std::string> alone;
  for (uint64_t i = 0; i < kRequests; ++i) {
    alone.push_back(fake.llm->Generate(Completion(std::string(1 + i * 5, 'q'), 30, i))->choices[0].text);
  }
  std::vector<std::string> together(kRequests);
  std::vector<int> finals(kRequests);
  std::vector<std::shared_ptr<Handle>> handles;
  for (uint64_t i = 0; i < kRequests; ++i) {
    handles.push_back(*fake.llm->Submit(Completion(std::string(1 + i * 5, 'q'), 30, i), [&, i](const Event& event) {
      together[i] += event.text;
      if (event.finish) ++finals[i];
    }));
  }
  for (const auto& handle : handles) handle->Wait();
  EXPECT_EQ(together, alone);
  EXPECT_EQ(finals, std::vector<int>(kRequests, 1));
}

TEST(Llm, CancelEndsWithOneFinalEvent) {
  const FakeLlm fake = MakeFakeLlm();
  Mutex gate;
  fake.model->on_forward = [&](const ops::StepBatch&) { const MutexLock lock(gate); };
  std::deque<std::vector<FinishReason>> finals(10);
  std::vector<std::shared_ptr<Handle>> handles;
  {
    const MutexLock lock(gate);
    for (auto& f : finals) {
      handles.push_back(*fake.llm->Submit(Completion("long", 300), [&f](const Event& event) {
        if (event.finish) f.push_back(*event.finish);
      }));
    }
    for (const auto& handle : handles) handle->Cancel();
    handles[0]->Cancel();
  }
  for (const auto& handle : handles) handle->Wait();
  for (const auto& f : finals) EXPECT_EQ(f, std::vector<FinishReason>{FinishReason::kCancelled});
}

TEST(Llm, HandlesOutliveTheLlm) {
  FakeLlm fake = MakeFakeLlm();
  int finals = 0;
  const auto handle = *fake.llm->Submit(Completion("x", 400), [&](const Event& event) {
    if (event.finish) ++finals;
  });
  fake.llm.reset();
  EXPECT_EQ(finals, 1);
  handle->Cancel();
  handle->Wait();
}

TEST(Llm, ACallbackMaySubmitAndCancel) {
  const FakeLlm fake = MakeFakeLlm();
  std::latch over(2);
  std::shared_ptr<Handle> second;
  const auto first = *fake.llm->Submit(Completion("x", 5), [&](const Event& event) {
    if (!event.finish) return;
    second = *fake.llm->Submit(Completion("y", 5), [&](const Event& inner) {
      if (inner.finish) over.count_down();
    });
    second->Cancel();
    over.count_down();
  });
  over.wait();
  second->Wait();
}

// In turn the bytes of a range and those of the next ones.
class Turns : public sampling::TokenMask {
 public:
  Turns(char first, int32_t count) : first_(first), count_(count) {}
  bool Allows(int32_t id) const {
    const int32_t begin = first_ + (accepted_ % 2) * count_;
    return id >= begin && id < begin + count_;
  }
  void FillAllowed(std::span<uint32_t> allowed) const override {
    std::ranges::fill(allowed, 0u);
    for (int32_t id = 0; id < 256; ++id) allowed[static_cast<size_t>(id) / 32] |= Allows(id) ? 1u << id % 32 : 0u;
  }
  bool Accept(int32_t id) override {
    if (!Allows(id)) return false;
    ++accepted_;
    return true;
  }
  void Rollback(int count) override { accepted_ -= count; }

 private:
  const char first_;
  const int32_t count_;
  int accepted_ = 0;
};

TEST(Llm, EachOfSeveralAnswersHasItsOwnTokenMask) {
  const FakeLlm fake = MakeFakeLlm();
  const auto mask_of = [](int64_t index) -> std::shared_ptr<sampling::TokenMask> {
    if (index == 0) return std::make_shared<Turns>('a', 13);
    if (index == 1) return std::make_shared<Turns>('0', 5);
    return nullptr;
  };
  Request request = Completion("hello", 40, 7);
  request.n = 3;
  for (int64_t i = 0; i < request.n; ++i) request.token_masks.push_back(mask_of(i));
  const auto together = fake.llm->Generate(request);
  ASSERT_TRUE(together.has_value()) << together.error().ToString();
  for (int64_t i = 0; i < request.n; ++i) {
    Request one = Completion("hello", 40, 7 + i);
    if (mask_of(i)) one.token_masks = {mask_of(i)};
    const auto alone = fake.llm->Generate(one);
    ASSERT_TRUE(alone.has_value()) << alone.error().ToString();
    const Choice& choice = together->choices[static_cast<size_t>(i)];
    EXPECT_EQ(choice.token_ids, alone->choices[0].token_ids) << i;
    EXPECT_EQ(choice.token_ids.size(), 40u);
    for (size_t t = 0; t < choice.token_ids.size() && i < 2; ++t) {
      const int32_t begin = i == 0 ? (t % 2 == 0 ? 'a' : 'n') : (t % 2 == 0 ? '0' : '5');
      EXPECT_GE(choice.token_ids[t], begin);
      EXPECT_LT(choice.token_ids[t], begin + (i == 0 ? 13 : 5));
    }
  }
  request.token_masks.resize(2);
  EXPECT_EQ(ErrorOf(*fake.llm, request),
            "token_masks has 2 entries, and n is 3: each answer has one, null where all may be drawn");
  request.token_masks = {mask_of(0), nullptr, nullptr};
  request.token_masks[2] = request.token_masks[0];
  EXPECT_EQ(ErrorOf(*fake.llm, request), "token_masks 0 and 2 are one object: each answer advances a mask of its own");
}

TEST(Llm, SpeculationChangesNoAnswer) {
  for (const int quant_policy : {0, 4}) {
    const FakeLlm plain = MakeFakeLlm(true, {.quant_policy = quant_policy});
    const FakeLlm fast = MakeFakeLlm(true, {.quant_policy = quant_policy, .speculative_ngram = 3});
    int64_t drafts = 0;
    for (int64_t seed = 1; seed <= 4; ++seed) {
      Request request = Completion("abcabcabcabcabcabcabcabcabc", 200, seed);
      request.sampling.top_k = 2;  // few tokens: some repeat
      request.logit_bias = {{'a', 100}, {'b', 100}};
      const auto want = plain.llm->Generate(request), got = fast.llm->Generate(request);
      ASSERT_TRUE(want.has_value() && got.has_value());
      EXPECT_EQ(got->choices[0].token_ids, want->choices[0].token_ids);
      drafts = fast.llm->stats().accepted_draft_tokens;
    }
    EXPECT_GT(drafts, 50);
    EXPECT_EQ(plain.llm->stats().draft_tokens, 0);
  }
  const auto refused = Llm::Load({.model = "x", .speculative_ngram = 5});
  EXPECT_EQ(refused.error().message(), "--speculative-ngram 5 is outside 0…4");
}

TEST(Llm, ScoreGivesEveryPosition) {
  const FakeLlm fake = MakeFakeLlm();
  std::vector<int64_t> positions;
  ASSERT_TRUE(
      fake.llm->Score({1, 2, 3, 4, 5}, 2, [&](int64_t position, const float*) { positions.push_back(position); }).ok());
  EXPECT_EQ(positions, (std::vector<int64_t>{0, 1, 2, 3, 4}));
  const auto none = [](int64_t, const float*) {};
  EXPECT_EQ(fake.llm->Score({}, 0, none).code(), Code::kInvalidArgument);
  EXPECT_EQ(fake.llm->Score({-1}, 0, none).code(), Code::kInvalidArgument);
  EXPECT_EQ(fake.llm->Score(std::vector<int32_t>(513, 1), 0, none).code(), Code::kTooLong);
  EXPECT_EQ(fake.llm->Score({1}, 100'000, none).code(), Code::kInvalidArgument);
}

TEST(Llm, AnInt4CacheAnswersTheSameHere) {  // the fake model's logits are exact in every format
  const FakeLlm fp16 = MakeFakeLlm(), int4 = MakeFakeLlm(true, {.quant_policy = 4});
  for (const int length : {5, 40, 100}) {
    const Request request = Completion(std::string(static_cast<size_t>(length), 'x'), 60, 1);
    EXPECT_EQ(int4.llm->Generate(request)->choices[0].text, fp16.llm->Generate(request)->choices[0].text) << length;
  }
  EXPECT_NE(int4.llm->MemoryLedger().find("KV tails"), std::string::npos);
  const auto refused = Llm::Load({.model = "x", .quant_policy = 16});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().message(), "--quant-policy 16: a KV cache is kept in fp16 (0), int8 (8) or int4 (4)");
}

TEST(Llm, ThePlanIsTold) {
  const FakeLlm fake = MakeFakeLlm();
  EXPECT_NE(fake.llm->MemoryLedger().find("KV cache"), std::string::npos);
  EXPECT_EQ(fake.llm->session_len(), 512);
  EXPECT_EQ(fake.llm->options().max_batch_size, 4);
  EXPECT_EQ(fake.llm->StalledSeconds(), 0.0);
}

// Between the plan and the allocation another program took memory.
TEST(Load, NamesTheCacheThatFitsWhereADeviceHasNoRoomLeft) {
  constexpr int64_t kMiB = int64_t{1} << 20;
  const auto load = [&](int64_t kv_cache_bytes, std::string* error) {
    LlmParts parts = FakeParts(kFakeTemplate);
    auto backend =
        std::make_unique<ops::CudaBackend>(1, ops::MakeEmulatedDriver({.memory_bytes = 24 * kMiB}), DType::kF16);
    parts.memory = [backend = backend.get(), asked = 0]() mutable {
      return ++asked == 1 ? MemoryAllowance{.total_bytes = 64 * kMiB, .available_bytes = 64 * kMiB} : backend->memory();
    };
    parts.backend = std::move(backend);
    LoadOptions options = FakeOptions({.device = "cuda"});
    options.kv_cache_bytes = kv_cache_bytes;
    const auto llm = MakeLlm(std::move(parts), options);
    if (!llm) *error = llm.error().ToString();
    return llm.has_value();
  };
  std::string error;
  ASSERT_FALSE(load(40 * kMiB, &error));
  const size_t at = error.find("--kv-cache-memory ");
  ASSERT_NE(at, std::string::npos) << error;
  const double fits = std::stod(error.substr(at + 18));
  EXPECT_TRUE(fits > 10 && fits < 24) << error;
  EXPECT_NE(error.find("MiB fits", at), std::string::npos) << error;
  EXPECT_TRUE(load(static_cast<int64_t>(fits * kMiB), &error)) << error;
}

}  // namespace
}  // namespace ingot::llm
