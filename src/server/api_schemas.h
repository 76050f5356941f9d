// What the routes take and answer, for one served model: bounds are those that hold for it.
#pragma once

#include <cstdint>
#include <string>

#include "server/schema/schema.h"

namespace ingot::server {

struct ModelLimits {
  std::string model_name;
  int64_t session_len = 0;  // tokens of prompt and answer
  int64_t vocab_size = 0;
  int64_t max_output_len = 0;  // --max-output-len; 0: what the context leaves
};

inline constexpr int64_t kCompletionTokens = 16;  // max_tokens where a completion names none: OpenAI's
inline constexpr int64_t kGenerateTokens = 128;   // the same of /generate: LMDeploy's
inline constexpr int kMaxChoices = 128;           // n
inline constexpr int kMaxPrompts = 128;           // of a completion request
inline constexpr int kMaxStops = 32;              // stop strings or ids
inline constexpr int kMaxStopLength = 256;
inline constexpr int kMaxBadWords = 128;
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
};

// The longest answer to a request that names none: `wanted` (0: what the context leaves), or what --max-output-len
// allows. 0: what the context leaves.
int64_t DefaultTokens(const ModelLimits& limits, int64_t wanted);

// Fields that many requests share.
std::vector<Property> SamplingProperties(const ModelLimits& limits);
Schema ModelName(const ModelLimits& limits);
Schema TokenIds(const ModelLimits& limits, size_t min);
Schema Stop();
Schema Messages();

}  // namespace ingot::server
