// Ingot as a C++ library: a model with its tokenizer, chat template and engine. Text in, text out.
//
//   auto llm = ingot::llm::Llm::Load({.model = "model.gguf"});
//   auto answer = (*llm)->Generate({.messages = …});
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"
#include "engine/report.h"
#include "llm/output_parser.h"
#include "sampling/params.h"

namespace ingot::sampling {
class TokenMask;
}
namespace ingot::tokenizer {
class Tokenizer;
}
namespace ingot::chat {
class ChatTemplate;
}
namespace ingot::models {
class Model;
}
namespace ingot::ops {
class Profile;
}
namespace ingot::formats {
class Checkpoint;
}

namespace ingot::llm {

struct LoadOptions {
  std::string model;                   // a directory, a GGUF file, or Org/Name in the local Hugging Face cache
  std::string tokenizer_pre;           // "": tokenizer.ggml.pre of a GGUF file; else instead of it
  std::string chat_template;           // "": the model's own or a guessed one; a built-in's name; or a Jinja file
  std::string generation_config;       // a JSON object: sampling defaults instead of those of the checkpoint's
  std::string meta_instruction;        // system message where a conversation brings none
  std::string backend = "auto";        // native, pytorch, or auto: native where it knows the model
  std::string pytorch_dtype = "auto";  // float32, float16, bfloat16, or auto: the checkpoint's
  std::string device = "cpu";          // cpu, cuda, or auto: cuda where a GPU is found
  bool cuda_graphs = true;             // on cuda: steps of decodes are started as graphs
  int num_threads = 0;                 // 0: what the cgroup and the affinity allow
  bool exact = false;                  // --compute exact: fp32 activations
  bool auto_compute = true;            // --compute auto: exact, too, where fast would be noticed (llm/compute.h)
  int64_t session_len = 0;             // 0: the model's, or what memory holds
  int max_batch_size = 0;              // slots; 0: a default by device
  std::string weights_cache;           // a folder of packed weights to map (models::LoadOptions); "": none
  double cache_max_entry_count = 0.8;  // fraction of free memory for the KV cache
  int64_t kv_cache_bytes = 0;          // or that many bytes; 0: by the fraction
  int cache_block_seq_len = 64;        // tokens of a KV block; a multiple of 32
  int max_prefill_token_num = 512;     // tokens of one forward pass
  int quant_policy = 0;  // bits of the KV cache: 0 (fp16), 8 or 4; 4 is int4 as in LMDeploy today, not int8 as in 0.2
  bool kv_bf16 = false;  // with quant_policy 0: bf16 instead of fp16
  bool enable_prefix_caching = true;  // requests share the blocks of a common beginning
  int speculative_ngram = 0;          // tokens that prompt lookup guesses and a step checks; 0: none
  int max_queue = 1024;               // requests that wait for a slot; more are refused
  int text_threads = 2;               // that turn ids into text and look for stop strings
  // The file with the engine's last steps, written when it stalls or the process crashes with a fatal signal, whose
  // handlers are then set; "": none.
  std::string flight_recorder;
  std::function<void(int64_t done, int64_t total)> progress;  // bytes of weights
  ops::Profile* profile = nullptr;  // times the ops of every step, on the CPU; outlives the Llm
};

struct Request {
  // Exactly one: messages (OpenAI's), a prompt, or token ids.
  boost::json::array messages;
  std::optional<std::string> prompt;
  std::vector<int32_t> token_ids;

  // Parameters: params.cc has their ranges.
  sampling::Params sampling;
  std::vector<sampling::LogitBias> logit_bias;  // added to the logits of these ids
  std::optional<int64_t> max_tokens;            // nullopt: what the context leaves
  int64_t default_max_tokens = 0;               // then: at most so many; 0: all that the context leaves
  int64_t min_tokens = 0;
  std::vector<std::string> stop;  // text is cut before it
  std::vector<int32_t> stop_token_ids;
  bool include_stop = false;  // keep the stop string in the text
  bool ignore_eos = false;
  bool skip_special_tokens = true;
  int64_t n = 1;
  std::optional<int64_t> logprobs;         // alternatives a token beside the chosen one
  std::optional<int64_t> prompt_logprobs;  // the same for the prompt's tokens; such a prompt is always computed
  std::vector<std::string> bad_words;      // texts that no answer contains, however it is cut into tokens
  int64_t priority = 0;                    // of those that wait, lower ones first (as vLLM counts); waiting ages it
  std::optional<double> deadline_seconds;  // from Submit; past it the answer ends with kDeadlineExceeded
  std::string cache_salt;                  // only requests of the same salt share cached blocks
  bool caches_always = false;              // without enable_prefix_caching, too: for a salt of one's own
  bool add_special_tokens = true;          // for prompt
  bool add_generation_prompt = true;
  bool continue_final_message = false;
  boost::json::array tools;
  boost::json::object template_kwargs;
  // What may be drawn: for each of the n answers a mask of its own, null for all tokens; empty: all tokens for all. A
  // mask advances with its answer, so it serves one Submit.
  std::vector<std::shared_ptr<sampling::TokenMask>> token_masks;
  OutputParserMaker output_parser;  // sorts each answer's text; empty: all of it is `text`
};

struct TokenLogprob {
  int32_t id;
  std::string bytes;  // of the token; may be half a character
  float logprob;
};
struct TokenInfo {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;  // descending, as many as asked for
};

using engine::FinishReason;
using engine::FinishReasonName;
using engine::Stats;
using engine::Timings;

struct Usage {
  int64_t prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0;
};

// A piece of an answer, in order. Every choice ends in exactly one event with `finish`.
struct Event {
  int index = 0;                    // which of n
  std::string text;                 // whole UTF-8 characters
  std::string reasoning;            // the same, where the request's output_parser finds some
  std::vector<int32_t> token_ids;   // tokens since the last event
  std::vector<TokenInfo> logprobs;  // one a token where asked for
  // With the first event of a choice where asked for: one a token of the prompt; the first token's has no number, its
  // `chosen.logprob` is 0 and `top` is empty.
  std::vector<TokenInfo> prompt_logprobs;
  std::optional<FinishReason> finish;
  std::string stop_reason;  // the stop string that ended it; "" otherwise
  Status error;             // with kError
  Usage usage;              // of this choice: prompt_tokens always, the others with finish
  Timings timings;          // with finish
};
using EventFn =
    std::function<void(const Event&)>;  // called from a thread of ours, one event at a time per request; must not block

// A running request. Dropping it does not cancel.
class Handle {
 public:
  virtual ~Handle() = default;
  virtual void Cancel() = 0;  // idempotent; the final event still comes, kCancelled where it was not over
  // Cancels it because its answer cannot be delivered: the final event, where it was not over, is kError with this
  // status.
  virtual void Fail(Status why) = 0;
  virtual void Wait() = 0;  // until every choice has ended
  virtual int64_t prompt_tokens() const = 0;
};

struct Choice {
  std::string text, reasoning;
  std::vector<int32_t> token_ids;
  std::vector<TokenInfo> logprobs, prompt_logprobs;
  FinishReason finish = FinishReason::kError;
  std::string stop_reason;
};
struct Answer {
  std::vector<Choice> choices;
  Usage usage;  // the prompt counted once
  Timings timings;
};

// What the model computes on.
struct DeviceState {
  std::string name;  // "CPU", or a GPU's description
  int64_t total_bytes = 0, free_bytes = 0;
};

// Thread safety: all methods from any thread at once.
class Llm {
 public:
  static Result<std::unique_ptr<Llm>> Load(const LoadOptions& options);
  virtual ~Llm() = default;

  // Checks everything first (ranges, template, length), so an error comes before any event. Too long: kTooLong with the
  // counts. Templates and tokenizing run on the caller's thread. Of n answers the i-th draws with seed + i.
  virtual Result<std::shared_ptr<Handle>> Submit(const Request& request, EventFn on_event) = 0;
  // Submit and wait.
  Result<Answer> Generate(const Request& request);
  // The ids that a request's prompt becomes.
  virtual Result<std::vector<int32_t>> Tokenize(const Request& request) const = 0;
  // The text that a request's messages become in the chat template.
  virtual Result<std::string> ApplyTemplate(const Request& request) const = 0;
  // The ids that a request's messages (or prompt) add to a conversation whose last token is an answer's: what the
  // template puts at that answer's end is among them. kUnsupported where the template does not append turns.
  virtual Result<std::vector<int32_t>> TokenizeNextTurn(const Request& request) const = 0;
  // Raw logits of every position of one sequence, in prefill chunks of `chunk` tokens (0: max_prefill_token_num).
  // on_logits(position, [vocab_size]). Runs between requests, on the engine's thread.
  virtual Status Score(std::vector<int32_t> token_ids, int chunk,
                       std::function<void(int64_t position, const float* logits)> on_logits) = 0;

  // The same, with logits from `first_position` on only, and with a look at the hidden states: tap(layer, [num_tokens,
  // hidden_size], num_tokens) for every chunk and layer (-1: the embedding; num_layers: the final norm). May be empty.
  using HiddenFn = std::function<void(int layer, const float* hidden, int64_t num_tokens)>;
  virtual Status ScoreTapped(std::vector<int32_t> token_ids, int64_t first_position, HiddenFn tap,
                             std::function<void(int64_t position, const float* logits)> on_logits) = 0;

  virtual const tokenizer::Tokenizer& tokenizer() const = 0;
  virtual const chat::ChatTemplate* chat_template() const = 0;  // null: a base model, to be completed
  virtual const models::Model& model() const = 0;
  virtual const formats::Checkpoint& checkpoint() const = 0;
  virtual int64_t session_len() const = 0;
  virtual const LoadOptions& options() const = 0;  // with the defaults filled in
  virtual std::string MemoryLedger() const = 0;    // printed at start: weights, KV, workspace
  virtual DeviceState device() const = 0;          // as it is now
  // generation_config.json's sampling defaults.
  virtual const sampling::Params& default_sampling() const = 0;
  // For health: seconds since the engine last made progress while it had work; 0 when idle.
  virtual double StalledSeconds() const = 0;
  // Takes no lock that a step holds.
  virtual Stats stats() const = 0;
};

}  // namespace ingot::llm
