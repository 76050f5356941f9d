#include "llm/answer_stream.h"

#include <utility>

namespace ingot::llm {

AnswerStream::AnswerStream(const tokenizer::Tokenizer& tokenizer, AnswerOptions options)
    : tokenizer_(tokenizer),
      options_(std::move(options)),
      decoder_(tokenizer, options_.skip_special_tokens),
      matcher_(std::move(options_.stop)),
      parser_(options_.parser ? options_.parser() : std::make_unique<PlainOutput>()) {}

TokenLogprob AnswerStream::LogprobOf(int32_t id, float value) const {
  return {.id = id, .bytes = tokenizer_.TokenBytes(id), .logprob = value};
}

TokenInfo AnswerStream::InfoOf(const sampling::Sampled& token) const {
  TokenInfo info{.chosen = LogprobOf(token.id, token.logprob), .top = {}};
  for (int i = 0; i < token.num_top; ++i) {
    const sampling::Logprob& top = token.top[static_cast<size_t>(i)];
    info.top.push_back(LogprobOf(top.id, top.value));
  }
  return info;
}

void AnswerStream::AddToken(const sampling::Sampled& token) {
  ++num_tokens_;
  event_.token_ids.push_back(token.id);
  if (options_.logprobs) event_.logprobs.push_back(InfoOf(token));
}

void AnswerStream::AddPromptLogprobs(const std::vector<sampling::Sampled>& tokens) {
  event_.prompt_logprobs.push_back({.chosen = LogprobOf(options_.first_prompt_token, 0), .top = {}});
  for (const sampling::Sampled& token : tokens) event_.prompt_logprobs.push_back(InfoOf(token));
}

// The text that the event sets free, stop strings looked for.
std::string AnswerStream::Decode(const engine::Event& event) {
  std::string piece;
  const bool ends = event.finish == FinishReason::kStop;
  if (event.token && (!ends || options_.include_stop)) piece = decoder_.Push(event.token->id);
  if (event.finish) piece += decoder_.Finish();
  if (num_tokens_ <= options_.min_tokens) return piece;
  StopMatcher::Result result = matcher_.Push(piece);
  match_ = result.match;
  if (match_) {
    if (options_.include_stop) result.text += matcher_.stop(*match_);
  } else if (event.finish) {
    result.text += matcher_.Finish();
  }
  return std::move(result.text);
}

void AnswerStream::Sort(const std::string& text) {
  const auto add = [&](const ParsedText& parsed) {
    event_.text += parsed.content;
    event_.reasoning += parsed.reasoning;
  };
  if (!text.empty()) add(parser_->Push(text));
  if (finished_) add(parser_->Finish());
}

bool AnswerStream::Push(const engine::Event& event, const EventFn& emit) {
  if (finished_) return false;
  if (options_.first_prompt_token >= 0 && num_tokens_ == 0 && event.token) AddPromptLogprobs(event.prompt_logprobs);
  if (event.token) AddToken(*event.token);
  const std::string text = Decode(event);
  finished_ = event.finish.has_value() || match_.has_value();
  Sort(text);
  if (event_.text.empty() && event_.reasoning.empty() && !finished_) return false;
  event_.index = options_.index;
  event_.usage.prompt_tokens = options_.prompt_tokens;
  if (finished_) {
    event_.finish = match_ ? FinishReason::kStop : *event.finish;
    if (match_) event_.stop_reason = matcher_.stop(*match_);
    event_.error = event.error;
    event_.usage.completion_tokens = num_tokens_;
    event_.usage.cached_tokens = event.cached_tokens;
    event_.timings = event.timings;
  }
  const Event out = std::exchange(event_, Event{});
  emit(out);
  return match_.has_value();
}

}  // namespace ingot::llm
