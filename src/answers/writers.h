// Answers that several transports write. The classes here decide what an answer contains; derived classes encode it: as
// JSON for HTTP (json_writers.h), as messages for gRPC (rpc/message_writers.h).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "answers/format.h"
#include "answers/wire.h"

namespace ingot::tokenizer {
class Tokenizer;
}

namespace ingot::answers {

// OpenAI's names of its answers: their field `object`.
inline constexpr const char *kChatObject = "chat.completion", *kChatChunkObject = "chat.completion.chunk",
                            *kCompletionObject = "text_completion";

// /v1/chat/completions
class ChatFormat : public Format {
 public:
  ChatFormat(OpenAiHead head, bool token_ids) : head_(std::move(head)), token_ids_(token_ids) {}

 protected:
  const OpenAiHead head_;
  const bool token_ids_;  // the request's return_token_ids
};

struct CompletionOptions {
  bool token_ids = false, echo = false, logprobs = false, prompt_logprobs = false;
  bool prompt_only = false;          // max_tokens 0: the prompt and its logprobs alone
  std::vector<std::string> prompts;  // as text, with echo
  int64_t n = 1;
};

// Logprobs of completions: lists with one entry for each token.
struct CompletionLogprobs {
  using Alternatives = std::vector<std::pair<std::string, float>>;
  std::vector<std::string> tokens;
  // nullopt: the first token of a prompt, which nothing predicts.
  std::vector<std::optional<float>> token_logprobs;
  std::vector<std::optional<Alternatives>> top_logprobs;
  std::vector<size_t> text_offset;  // characters
};

// What a piece, or the whole answer, contains of a choice.
struct CompletionPart {
  int index = 0;
  std::string text;
  std::optional<CompletionLogprobs> logprobs;
  const std::vector<int32_t>* token_ids = nullptr;               // null: not requested
  const std::vector<llm::TokenInfo>* prompt_logprobs = nullptr;  // null: not requested, or not in this piece
  std::optional<llm::FinishReason> finish;
};

// /v1/completions
class CompletionFormat : public Format {
 public:
  CompletionFormat(OpenAiHead head, const tokenizer::Tokenizer& tokenizer, CompletionOptions options)
      : head_(std::move(head)), tokenizer_(tokenizer), options_(std::move(options)) {}
  std::string Piece(const Choice& choice, const llm::Event& event) final;
  std::string End(const llm::Usage& usage) final { return WriteEnd(UsageOf(usage)); }
  std::string Whole(const std::vector<Choice>& choices, const llm::Usage& usage) final;

 protected:
  virtual std::string WritePiece(const CompletionPart& part) = 0;
  virtual std::string WriteEnd(const llm::Usage& usage) = 0;
  virtual std::string WriteWhole(const std::vector<CompletionPart>& parts, const llm::Usage& usage) = 0;
  const OpenAiHead head_;

 private:
  // `Source`: llm::Event or llm::Choice. `before`: characters of the answer that earlier pieces had.
  template <typename Source>
  CompletionPart PartOf(int index, const Source& source, bool echoes, size_t before) const;
  const std::string& PromptOf(int index) const;
  llm::Usage UsageOf(llm::Usage usage) const;

  const tokenizer::Tokenizer& tokenizer_;
  const CompletionOptions options_;
};
// As vLLM writes them: null for the first token, then {"ID":{"logprob":…,"rank":…,"decoded_token":…}}. The rank of a
// token that is not among the alternatives is null.
std::string PromptLogprobsJson(const std::vector<llm::TokenInfo>& tokens);

// Of a turn of a session. Known once the turn has been submitted, before any event; `tokens` grows with the answer.
struct TurnCounts {
  int64_t session_id = -1, tokens = 0, input_tokens = 0, history_tokens = 0;
};

// /v1/chat/interactive
class TurnFormat : public Format {
 public:
  explicit TurnFormat(std::shared_ptr<TurnCounts> counts) : counts_(std::move(counts)) {}
  std::string Piece(const Choice& choice, const llm::Event& event) final;
  std::string End(const llm::Usage&) final { return ""; }
  std::string Whole(const std::vector<Choice>& choices, const llm::Usage& usage) final;

 protected:
  virtual std::string WritePiece(const std::string& text, const TurnCounts& counts,
                                 std::optional<llm::FinishReason> finish) = 0;
  virtual std::string WriteWhole(const std::string& text, const TurnCounts& counts, llm::FinishReason finish) = 0;

 private:
  const std::shared_ptr<TurnCounts> counts_;
};

// How a transport encodes these answers.
class Writers {
 public:
  virtual ~Writers() = default;
  virtual std::unique_ptr<Format> Chat(OpenAiHead head, bool token_ids) const = 0;
  virtual std::unique_ptr<Format> Completion(OpenAiHead head, const tokenizer::Tokenizer& tokenizer,
                                             CompletionOptions options) const = 0;
  virtual std::unique_ptr<Format> Turn(std::shared_ptr<TurnCounts> counts) const = 0;
  // The answer to a request that is no turn: it stops a session's running turn, or deletes the session.
  virtual std::string EmptyTurn(int64_t session_id, bool stream) const = 0;
};

}  // namespace ingot::answers
