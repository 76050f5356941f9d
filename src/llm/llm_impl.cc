#include "llm/llm_impl.h"

#include <algorithm>
#include <random>
#include <utility>

#include "llm/checks.h"

namespace ingot::llm {
namespace {

constexpr int64_t kRandomSeed = -1;  // as vLLM and llama.cpp say it

uint64_t FreshSeed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

}  // namespace

DeviceState LlmImpl::device() const {
  const MemoryAllowance memory = parts_.memory();
  return {parts_.device.empty() ? "CPU" : parts_.device, memory.total_bytes, memory.available_bytes};
}

LlmImpl::LlmImpl(LlmParts parts, Sizing sizing, std::unique_ptr<engine::Engine> engine)
    : parts_(std::move(parts)),
      sizing_(std::move(sizing)),
      prompt_maker_{.tokenizer = *parts_.tokenizer,
                    .chat_template = chat_template(),
                    .special = SpecialTextsOf(*parts_.checkpoint, *parts_.tokenizer),
                    .meta_instruction = sizing_.options.meta_instruction},
      text_pool_(sizing_.options.text_threads),
      engine_(std::move(engine)),
      gate_(std::make_shared<EngineGate>(engine_.get())) {}

LlmImpl::~LlmImpl() {
  gate_->Close();
  engine_.reset();  // reports the last events, which the text threads then finish
}

namespace {
Status OfPrompt(const Status& status) { return status.Of("prompt"); }
}  // namespace

Result<std::vector<int32_t>> LlmImpl::Tokenize(const Request& request) const {
  INGOT_RETURN_IF_ERROR(CheckRequest(request, parts_.model->spec().vocab_size));
  return prompt_maker_.Ids(request).map_error(OfPrompt);
}

Result<std::string> LlmImpl::ApplyTemplate(const Request& request) const {
  INGOT_RETURN_IF_ERROR(CheckRequest(request, parts_.model->spec().vocab_size));
  INGOT_ASSIGN_OR_RETURN(MarkedText text, prompt_maker_.Rendered(request).map_error(OfPrompt));
  return std::move(text.text);
}

Result<std::vector<int32_t>> LlmImpl::TokenizeNextTurn(const Request& request) const {
  INGOT_RETURN_IF_ERROR(CheckRequest(request, parts_.model->spec().vocab_size));
  return prompt_maker_.NextTurnIds(request).map_error(OfPrompt);
}

const TokenTexts& LlmImpl::token_texts() const {
  std::call_once(has_token_texts_, [this] { token_texts_ = std::make_unique<const TokenTexts>(*parts_.tokenizer); });
  return *token_texts_;
}

std::shared_ptr<const BadWords> LlmImpl::BadWordsOf(const Request& request, const std::vector<int32_t>& end_ids) const {
  if (request.bad_words.empty()) return nullptr;
  SilentTokens silent{.special = request.skip_special_tokens};
  if (!request.include_stop) silent.ids = end_ids;
  return std::make_shared<const BadWords>(request.bad_words, token_texts(), std::move(silent));
}

std::vector<engine::Request> LlmImpl::EngineRequests(const Request& request, std::vector<int32_t> prompt,
                                                     int64_t max_tokens) const {
  engine::Request one{.prompt = std::move(prompt),
                      .max_tokens = max_tokens,
                      .min_tokens = request.min_tokens,
                      .end_ids = request.stop_token_ids};
  one.sampling = request.sampling;
  one.sampling.num_logprobs = static_cast<int>(request.logprobs.value_or(-1));
  one.logit_bias = request.logit_bias;
  one.prompt_logprobs = static_cast<int>(request.prompt_logprobs.value_or(-1));
  one.priority = static_cast<int32_t>(request.priority);
  one.cache_salt = request.cache_salt;
  one.caches_always = request.caches_always;
  if (request.deadline_seconds) {
    one.deadline = engine::Clock::now() + std::chrono::duration_cast<engine::Clock::duration>(
                                              std::chrono::duration<double>(*request.deadline_seconds));
  }
  if (!request.ignore_eos) {
    const std::vector<int32_t>& eos = parts_.tokenizer->eos_ids();
    one.end_ids.insert(one.end_ids.end(), eos.begin(), eos.end());
  }
  const int64_t given = request.sampling.seed.value_or(kRandomSeed);
  const uint64_t seed = given == kRandomSeed ? FreshSeed() : static_cast<uint64_t>(given);
  const auto words = BadWordsOf(request, one.end_ids);
  std::vector<engine::Request> requests(static_cast<size_t>(request.n), one);
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].sampling.seed = static_cast<int64_t>(seed + i);
    std::shared_ptr<sampling::TokenMask> mask = request.token_masks.empty() ? nullptr : request.token_masks[i];
    requests[i].token_mask = words ? std::make_shared<BadWordsMask>(words, std::move(mask), max_tokens) : mask;
  }
  return requests;
}

Result<std::shared_ptr<Handle>> LlmImpl::Submit(const Request& request, EventFn on_event) {
  INGOT_ASSIGN_OR_RETURN(std::vector<int32_t> prompt, Tokenize(request));
  if (prompt.empty()) return Error(InvalidArgument("the prompt is empty").value().Of("prompt"));
  const auto prompt_tokens = static_cast<int64_t>(prompt.size());
  INGOT_ASSIGN_OR_RETURN(const int64_t max_tokens, AnswerLength(request, prompt_tokens, session_len()));

  std::vector<AnswerOptions> answers;
  for (int i = 0; i < request.n; ++i) {
    answers.push_back({.index = i,
                       .stop = request.stop,
                       .min_tokens = request.min_tokens,
                       .include_stop = request.include_stop,
                       .skip_special_tokens = request.skip_special_tokens,
                       .logprobs = request.logprobs.has_value(),
                       .first_prompt_token = request.prompt_logprobs ? prompt.front() : -1,
                       .prompt_tokens = prompt_tokens,
                       .parser = request.output_parser});
  }
  const auto stream = std::make_shared<RequestStream>(
      RequestStream::Parts{.tokenizer = parts_.tokenizer.get(), .text_pool = &text_pool_, .gate = gate_},
      std::move(answers), std::move(on_event));
  std::vector<engine::Request> requests = EngineRequests(request, std::move(prompt), max_tokens);
  for (size_t i = 0; i < requests.size(); ++i) requests[i].on_event = stream->Feed(i);
  INGOT_ASSIGN_OR_RETURN(std::vector<engine::RequestId> ids, engine_->Submit(std::move(requests)));
  stream->SetIds(std::move(ids));
  return stream;
}

Status LlmImpl::RunScore(const std::vector<int32_t>& token_ids, const engine::ScoreOptions& options,
                         const std::function<void(int64_t, const float*)>& on_logits) {
  const int64_t vocab_size = parts_.model->spec().vocab_size;
  if (token_ids.empty()) return InvalidArgument("there are no tokens to score");
  if (static_cast<int64_t>(token_ids.size()) > session_len()) {
    return TooLong("{} tokens exceed the context of {} (--session-len)", token_ids.size(), session_len());
  }
  for (const int32_t id : token_ids) {
    if (id < 0 || id >= vocab_size) return InvalidArgument("token id {} is outside 0…{}", id, vocab_size - 1);
  }
  Status status;
  INGOT_RETURN_IF_ERROR(engine_->RunExclusive(
      [&](engine::Core& core) { status = core.executor().Score(token_ids, options, core.cache(), on_logits); }));
  return status;
}

Status LlmImpl::Score(std::vector<int32_t> token_ids, int chunk, std::function<void(int64_t, const float*)> on_logits) {
  if (chunk < 0 || chunk > sizing_.options.max_prefill_token_num) {
    return InvalidArgument("chunk {} is outside 0…{} (--max-prefill-token-num)", chunk,
                           sizing_.options.max_prefill_token_num);
  }
  return RunScore(token_ids, {.chunk = chunk}, on_logits);
}

Status LlmImpl::ScoreTapped(std::vector<int32_t> token_ids, int64_t first_position, HiddenFn tap,
                            std::function<void(int64_t, const float*)> on_logits) {
  const models::LayerTap layer_tap = std::move(tap);
  return RunScore(token_ids, {.first_position = first_position, .tap = layer_tap ? &layer_tap : nullptr}, on_logits);
}

}  // namespace ingot::llm
