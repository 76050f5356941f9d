// What the routes take and answer, for one served model: bounds are those that hold for it.
#pragma once

#include <cstdint>
#include <string>

#include "answers/schema.h"
#include "llm/params.h"

namespace ingot::answers {

struct ModelLimits {
  std::string model_name;
  int64_t session_len = 0;  // tokens of prompt and answer
  int64_t vocab_size = 0;
  int64_t max_output_len = 0;  // --max-output-len; 0: what the context leaves
};

inline constexpr int64_t kCompletionTokens = 16;  // max_tokens where a completion names none: OpenAI's
inline constexpr int64_t kGenerateTokens = 128;   // the same of /generate: LMDeploy's
inline constexpr int kMaxPrompts = 128;           // of a completion request
inline constexpr int kMaxMessages = 16384;

// Immutable once made; the router's routes point into it.
struct ApiSchemas {
  explicit ApiSchemas(const ModelLimits& limits);

  Schema chat_request, chat_response, chat_chunk;
  Schema completion_request, completion_response;
  Schema generate_request, generate_response;
  Schema encode_request, encode_response;
  Schema tokenize_request, tokenize_response;
  Schema detokenize_request, detokenize_response;
  Schema model, model_list;
  Schema interactive_request, interactive_response;
  Schema session, session_list, rewind_request;
  Schema health, version;
  // llama-server's
  Schema llama_request, llama_response, llama_chunk, apply_template_request, apply_template_response, props, slots;
  // ollama's
  Schema ollama_chat_request, ollama_chat_response, ollama_generate_request, ollama_generate_response;
  Schema ollama_tags, ollama_ps, ollama_show_request, ollama_show_response;
};
void AddLlamaServerSchemas(const ModelLimits& limits, ApiSchemas* schemas);
void AddOllamaSchemas(const ModelLimits& limits, ApiSchemas* schemas);

// The longest answer to a request that names none: `wanted` (0: what the context leaves), or what --max-output-len
// allows. 0: what the context leaves.
int64_t DefaultTokens(const ModelLimits& limits, int64_t wanted);

// A parameter of llm/params.h as a field of bodies.
Property ParamProperty(const llm::Param& param, const ModelLimits& limits);
// Named by clients, honoured nowhere: what they say changes nothing in an answer.
std::vector<Property> IgnoredProperties();
// `own`, the fields that a route takes, and with them every other field that shapes answers elsewhere, here or at other
// servers: a request that asks for it is refused, never answered without it. Values that ask for nothing are taken.
std::vector<Property> RefuseOthers(std::vector<Property> own);

}  // namespace ingot::answers
