#include "rpc/message_writers.h"

#include <ingot/v1/generation.pb.h>

#include "base/log.h"
#include "kserve/tensor.h"
#include "rpc/messages.h"
#include "text/utf8.h"

namespace ingot::rpc {
namespace {

using answers::Choice;
using answers::CompletionPart;
using answers::OpenAiHead;
using kserve::ShortestDecimal;  // the value that REST's text has

std::string FinishText(std::optional<llm::FinishReason> reason) { return answers::WireFinish(reason).value_or(""); }

void Fill(const llm::Usage& usage, v1::Usage* message) {
  message->set_prompt_tokens(usage.prompt_tokens);
  message->set_completion_tokens(usage.completion_tokens);
  message->set_total_tokens(usage.prompt_tokens + usage.completion_tokens);
  message->mutable_prompt_tokens_details()->set_cached_tokens(usage.cached_tokens);
}

// `message`: a response or a chunk, of chat or completions.
void Fill(const OpenAiHead& head, const char* object, auto* message) {
  message->set_id(head.id);
  message->set_object(object);
  message->set_created(head.created);
  message->set_model(head.model);
  message->set_system_fingerprint(head.fingerprint);
}

// `message`: a Logprob or a TokenLogprob.
void Fill(const llm::TokenLogprob& token, auto* message) {
  message->set_token(ReplaceInvalidUtf8(token.bytes, /*each_byte=*/true));
  message->set_logprob(ShortestDecimal(token.logprob));
  for (const char byte : token.bytes) message->add_bytes(static_cast<uint8_t>(byte));
}

void Fill(const std::vector<llm::TokenInfo>& tokens, v1::ChatLogprobs* message) {
  for (const llm::TokenInfo& token : tokens) {
    v1::TokenLogprob& one = *message->add_content();
    Fill(token.chosen, &one);
    for (const llm::TokenLogprob& top : token.top) Fill(top, one.add_top_logprobs());
  }
}

class ChatMessages : public answers::ChatFormat {
 public:
  using ChatFormat::ChatFormat;

  std::string Piece(const Choice& choice, const llm::Event& event) override {
    const bool has_tokens = !event.text.empty() || !event.logprobs.empty() || (token_ids_ && !event.token_ids.empty());
    if (!choice.is_first && !has_tokens && !event.finish) return "";
    v1::ChatChunk chunk;
    Fill(head_, answers::kChatChunkObject, &chunk);
    v1::ChatChunkChoice& one = *chunk.add_choices();
    one.set_index(event.index);
    if (choice.is_first) one.mutable_delta()->set_role("assistant");
    if (choice.is_first || has_tokens) one.mutable_delta()->set_content(event.text);
    if (!event.logprobs.empty()) Fill(event.logprobs, one.mutable_logprobs());
    if (token_ids_) one.mutable_token_ids()->Assign(event.token_ids.begin(), event.token_ids.end());
    one.set_finish_reason(FinishText(event.finish));
    return chunk.SerializeAsString();
  }

  std::string End(const llm::Usage& usage) override {
    if (!head_.include_usage) return "";
    v1::ChatChunk chunk;
    Fill(head_, answers::kChatChunkObject, &chunk);
    Fill(usage, chunk.mutable_usage());
    return chunk.SerializeAsString();
  }

  std::string Failure(const answers::WireError&) override { return ""; }

  std::string Whole(const std::vector<Choice>& choices, const llm::Usage& usage) override {
    v1::ChatResponse response;
    Fill(head_, answers::kChatObject, &response);
    for (const Choice& state : choices) {
      const llm::Choice& choice = state.choice;
      v1::ChatChoice& one = *response.add_choices();
      one.set_index(state.index);
      one.mutable_message()->set_role("assistant");
      one.mutable_message()->set_content(choice.text);
      if (!choice.logprobs.empty()) Fill(choice.logprobs, one.mutable_logprobs());
      if (token_ids_) one.mutable_token_ids()->Assign(choice.token_ids.begin(), choice.token_ids.end());
      one.set_finish_reason(FinishText(choice.finish));
    }
    Fill(usage, response.mutable_usage());
    return response.SerializeAsString();
  }
};

void Fill(const answers::CompletionLogprobs& logprobs, v1::CompleteLogprobs* message) {
  for (const std::string& token : logprobs.tokens) message->add_tokens(token);
  for (const auto& logprob : logprobs.token_logprobs) {
    google::protobuf::Value& value = *message->mutable_token_logprobs()->add_values();
    if (logprob) {
      value.set_number_value(ShortestDecimal(*logprob));
    } else {
      value.set_null_value(google::protobuf::NULL_VALUE);
    }
  }
  for (const auto& alternatives : logprobs.top_logprobs) {
    google::protobuf::Value& value = *message->mutable_top_logprobs()->add_values();
    if (!alternatives) {
      value.set_null_value(google::protobuf::NULL_VALUE);
      continue;
    }
    auto& fields = *value.mutable_struct_value()->mutable_fields();
    for (const auto& [text, logprob] : *alternatives) fields[text].set_number_value(ShortestDecimal(logprob));
  }
  for (const size_t offset : logprobs.text_offset) message->add_text_offset(static_cast<int64_t>(offset));
}

class CompletionMessages : public answers::CompletionFormat {
 public:
  using CompletionFormat::CompletionFormat;
  std::string Failure(const answers::WireError&) override { return ""; }

 protected:
  std::string WritePiece(const CompletionPart& part) override {
    v1::CompleteResponse response;
    Fill(head_, answers::kCompletionObject, &response);
    AddChoice(part, &response);
    return response.SerializeAsString();
  }
  std::string WriteEnd(const llm::Usage& usage) override {
    if (!head_.include_usage) return "";
    return WriteWhole({}, usage);
  }
  std::string WriteWhole(const std::vector<CompletionPart>& parts, const llm::Usage& usage) override {
    v1::CompleteResponse response;
    Fill(head_, answers::kCompletionObject, &response);
    for (const CompletionPart& part : parts) AddChoice(part, &response);
    Fill(usage, response.mutable_usage());
    return response.SerializeAsString();
  }

 private:
  static void AddChoice(const CompletionPart& part, v1::CompleteResponse* response) {
    v1::CompleteChoice& one = *response->add_choices();
    one.set_index(part.index);
    one.set_text(part.text);
    if (part.logprobs) Fill(*part.logprobs, one.mutable_logprobs());
    if (part.token_ids != nullptr) one.mutable_token_ids()->Assign(part.token_ids->begin(), part.token_ids->end());
    if (part.prompt_logprobs != nullptr) {
      // The field holds JSON: objects whose members are token ids.
      const Status status = FromJson(answers::PromptLogprobsJson(*part.prompt_logprobs), one.mutable_prompt_logprobs());
      if (!status.ok()) Log(LogLevel::kError, "prompt_logprobs: {}", status.message());
    }
    one.set_finish_reason(FinishText(part.finish));
  }
};

std::string TurnMessage(const std::string& text, const answers::TurnCounts& counts,
                        std::optional<llm::FinishReason> finish) {
  v1::TurnResponse response;
  response.set_text(text);
  response.set_tokens(counts.tokens);
  response.set_input_tokens(counts.input_tokens);
  response.set_history_tokens(counts.history_tokens);
  response.set_finish_reason(FinishText(finish));
  response.set_session_id(counts.session_id);
  return response.SerializeAsString();
}

class TurnMessages : public answers::TurnFormat {
 public:
  using TurnFormat::TurnFormat;
  std::string Failure(const answers::WireError&) override { return ""; }

 protected:
  std::string WritePiece(const std::string& text, const answers::TurnCounts& counts,
                         std::optional<llm::FinishReason> finish) override {
    return TurnMessage(text, counts, finish);
  }
  std::string WriteWhole(const std::string& text, const answers::TurnCounts& counts,
                         llm::FinishReason finish) override {
    return TurnMessage(text, counts, finish);
  }
};

class MessageWritersImpl : public answers::Writers {
 public:
  std::unique_ptr<answers::Format> Chat(OpenAiHead head, bool token_ids) const override {
    return std::make_unique<ChatMessages>(std::move(head), token_ids);
  }
  std::unique_ptr<answers::Format> Completion(OpenAiHead head, const tokenizer::Tokenizer& tokenizer,
                                              answers::CompletionOptions options) const override {
    return std::make_unique<CompletionMessages>(std::move(head), tokenizer, std::move(options));
  }
  std::unique_ptr<answers::Format> Turn(std::shared_ptr<answers::TurnCounts> counts) const override {
    return std::make_unique<TurnMessages>(std::move(counts));
  }
  std::string EmptyTurn(int64_t session_id, bool /*stream*/) const override {
    return TurnMessage("", {.session_id = session_id}, llm::FinishReason::kStop);
  }
};

}  // namespace

const answers::Writers& MessageWriters() {
  static const MessageWritersImpl kWriters;
  return kWriters;
}

}  // namespace ingot::rpc
