// The façade over tokenizer, template, model and engine.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/task_pool.h"
#include "base/topology.h"
#include "chat/chat_template.h"
#include "engine/engine.h"
#include "formats/checkpoint.h"
#include "llm/bad_words.h"
#include "llm/llm.h"
#include "llm/memory_plan.h"
#include "llm/prompt.h"
#include "llm/request_stream.h"
#include "models/model.h"
#include "tokenizer/tokenizer.h"

namespace ingot::llm {

// What an Llm is put together from; tests bring their own.
struct LlmParts {
  std::unique_ptr<ops::Backend> backend;                         // outlives the model, whose weights are in its memory
  std::string device = {};                                       // a GPU's description; "" for the CPU
  std::function<MemoryAllowance()> memory = GetMemoryAllowance;  // of the device, as it is when this is called
  std::shared_ptr<const formats::Checkpoint> checkpoint;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;
  std::optional<chat::ChatTemplate> chat_template;
  std::unique_ptr<models::Model> model;
  sampling::Params default_sampling;
};

// REQUIRES: CheckLoadOptions(options).ok().
Result<std::unique_ptr<Llm>> MakeLlm(LlmParts parts, const LoadOptions& options);

class LlmImpl : public Llm {
 public:
  // What the model gets of the machine's memory.
  struct Sizing {
    LoadOptions options;  // with the defaults filled in
    MemoryPlan memory;
    std::string ledger;
  };
  LlmImpl(LlmParts parts, Sizing sizing, std::unique_ptr<engine::Engine> engine);
  ~LlmImpl() override;

  Result<std::shared_ptr<Handle>> Submit(const Request& request, EventFn on_event) override;
  Result<std::vector<int32_t>> Tokenize(const Request& request) const override;
  Result<std::string> ApplyTemplate(const Request& request) const override;
  Result<std::vector<int32_t>> TokenizeNextTurn(const Request& request) const override;
  Status Score(std::vector<int32_t> token_ids, int chunk,
               std::function<void(int64_t, const float*)> on_logits) override;
  Status ScoreTapped(std::vector<int32_t> token_ids, int64_t first_position, HiddenFn tap,
                     std::function<void(int64_t, const float*)> on_logits) override;

  const tokenizer::Tokenizer& tokenizer() const override { return *parts_.tokenizer; }
  const chat::ChatTemplate* chat_template() const override {
    return parts_.chat_template ? &*parts_.chat_template : nullptr;
  }
  const models::Model& model() const override { return *parts_.model; }
  const formats::Checkpoint& checkpoint() const override { return *parts_.checkpoint; }
  int64_t session_len() const override { return sizing_.memory.session_len; }
  const LoadOptions& options() const override { return sizing_.options; }
  std::string MemoryLedger() const override { return sizing_.ledger; }
  DeviceState device() const override;
  const sampling::Params& default_sampling() const override { return parts_.default_sampling; }
  double StalledSeconds() const override { return engine_->StalledSeconds(); }
  Stats stats() const override { return engine_->stats(); }

 private:
  Status RunScore(const std::vector<int32_t>& token_ids, const engine::ScoreOptions& options,
                  const std::function<void(int64_t, const float*)>& on_logits);
  const TokenTexts& token_texts() const;
  std::shared_ptr<const BadWords> BadWordsOf(const Request& request, const std::vector<int32_t>& end_ids) const;
  std::vector<engine::Request> EngineRequests(const Request& request, std::vector<int32_t> prompt,
                                              int64_t max_tokens) const;

  const LlmParts parts_;
  const Sizing sizing_;
  const PromptMaker prompt_maker_;
  TaskPool text_pool_;  // detokenizing and stop strings; outlives the engine, whose last events it tells
  std::unique_ptr<engine::Engine> engine_;
  std::shared_ptr<EngineGate> gate_;
  mutable std::once_flag has_token_texts_;
  mutable std::unique_ptr<const TokenTexts> token_texts_;  // made for the first request with bad words
};

}  // namespace ingot::llm
