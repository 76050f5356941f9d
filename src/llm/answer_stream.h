// One answer as it grows: tokens in, events out.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/request.h"
#include "llm/llm.h"
#include "llm/stop_matcher.h"
#include "tokenizer/tokenizer.h"

namespace ingot::llm {

struct AnswerOptions {
  int index = 0;  // which of n
  std::vector<std::string> stop;
  int64_t min_tokens = 0;  // stop strings count in the text after these
  bool include_stop = false;
  bool skip_special_tokens = true;
  bool logprobs = false;
  int32_t first_prompt_token = -1;  // where the prompt's logprobs are reported; else -1
  int64_t prompt_tokens = 0;
  OutputParserMaker parser;  // empty: all text is the answer
};

// Thread safety: none.
class AnswerStream {
 public:
  AnswerStream(const tokenizer::Tokenizer& tokenizer, AnswerOptions options);

  // Calls `emit` at most once. What comes after the final event is ignored. true: a stop string ended the answer, the
  // engine need not continue.
  bool Push(const engine::Event& event, const EventFn& emit);
  bool finished() const { return finished_; }

 private:
  void AddToken(const sampling::Sampled& token);
  void AddPromptLogprobs(const std::vector<sampling::Sampled>& tokens);
  TokenInfo InfoOf(const sampling::Sampled& token) const;
  std::string Decode(const engine::Event& event);
  void Sort(const std::string& text);
  TokenLogprob LogprobOf(int32_t id, float value) const;

  const tokenizer::Tokenizer& tokenizer_;
  AnswerOptions options_;
  tokenizer::IncrementalDecoder decoder_;
  StopMatcher matcher_;
  std::unique_ptr<OutputParser> parser_;
  Event event_;  // gathered since the last one went out
  int64_t num_tokens_ = 0;
  std::optional<size_t> match_;
  bool finished_ = false;
};

}  // namespace ingot::llm
