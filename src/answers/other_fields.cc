// Fields of requests that belong to other routes or other servers.
#include <algorithm>

#include "answers/api_schemas.h"

namespace ingot::answers {
namespace {

constexpr const char* kNotHere = "this route does not take it";
constexpr const char* kNotSupported = "not supported";

// Only null asks for nothing.
constexpr const char* kNullOnly[] = {"audio",
                                     "web_search_options",
                                     "grammar",
                                     "format",
                                     "options",
                                     "samplers",
                                     "lora",
                                     "template",
                                     "system",
                                     "images",
                                     "guided_json",
                                     "guided_regex",
                                     "guided_choice",
                                     "guided_grammar",
                                     "structured_outputs",
                                     "json_schema",
                                     "regex",
                                     "ebnf",
                                     "stop_regex",
                                     "moderation",
                                     "chat_template",
                                     "documents",
                                     "allowed_token_ids",
                                     "logits_processors",
                                     "thinking_token_budget",
                                     "prompt_embeds",
                                     "media_io_kwargs",
                                     "mm_processor_kwargs",
                                     "migration_request"};

// Both with the values that ask for nothing.
std::vector<Property> OfOtherRoutes() {
  std::vector<Property> others = {
      {"n", Integer(1, 1).OrUnsupported("more than one answer is given by /v1/chat/completions and /v1/completions")},
      {"prompt_logprobs", Null().OrUnsupported("logprobs of a prompt are given by /v1/completions")},
      {"top_logprobs", Integer(0, 0).OrUnsupported(kNotHere)},
      {"chat_template_kwargs", Map(Any(), 0).OrUnsupported(kNotHere)},
      {"do_preprocess", Only(false).OrUnsupported("chat templates are applied by /v1/chat/completions")},
      {"add_generation_prompt", Only(true).OrUnsupported(kNotHere)},
      {"add_special_tokens", Only(true).OrUnsupported(kNotHere)},
      {"session_id", Integer(-1, -1).OrUnsupported("sessions live at /v1/chat/interactive")}};
  for (const char* name : {"messages", "prompt", "input_ids", "stream_options", "enable_thinking"}) {
    others.push_back({name, Null().OrUnsupported(kNotHere)});
  }
  for (const char* name : {"logprobs", "echo", "return_token_ids", "return_logprob", "continue_final_message"}) {
    others.push_back({name, Only(false).OrUnsupported(kNotHere)});
  }
  return others;
}

std::vector<Property> OfOtherServers() {
  std::vector<Property> others = {
      {"tools", Array(Any(), 0, 0).OrUnsupported("tools are not supported")},
      {"functions", Array(Any(), 0, 0).OrUnsupported("functions are not supported")},
      {"tool_choice", OneOf({"none", "auto"}).OrUnsupported("tools are not supported")},
      {"function_call", OneOf({"none", "auto"}).OrUnsupported("functions are not supported")},
      {"response_format",
       Object({{"type", OneOf({"text"}).OrUnsupported("only {\"type\": \"text\"} is supported"), true}})},
      {"modalities", Array(OneOf({"text"}).OrUnsupported("only text is supported"), 0, 8)},
      {"reasoning_effort", OneOf({"none"}).OrUnsupported("reasoning is not steered")},
      {"truncate_prompt_tokens", Null().OrUnsupported("prompts are not truncated; what is too long is refused")},
      {"suffix", Null().OrUnsupported("filling in before a suffix is not supported")},
      {"best_of", Integer(1, 1).OrUnsupported("best_of above 1 is not supported; use n")},
      {"length_penalty", Number(1, 1).OrUnsupported("there is no beam search")},
      {"typical_p", Number(1, 1).OrUnsupported(kNotSupported)},
      {"tfs_z", Number(1, 1).OrUnsupported(kNotSupported)},
      {"repeat_last_n", Integer(-1, -1).OrUnsupported("the penalty counts the whole prompt and answer")},
      {"do_sample", Only(true).OrUnsupported("temperature 0 takes the likeliest token")},
      {"image_url", Null().OrUnsupported("images are not supported")},
      {"image_data", Null().OrUnsupported("images are not supported")},
      {"adapter_name", Null().OrUnsupported("adapters are not supported")}};
  // Of llama.cpp, text-generation-webui and LMDeploy: 0 turns each off.
  for (const char* name : {"mirostat", "dry_multiplier", "xtc_probability", "dynatemp_range", "top_n_sigma", "top_a",
                           "n_probs", "min_keep", "n_keep", "n_indent", "no_repeat_ngram_size", "repetition_ngram_size",
                           "repetition_ngram_threshold"}) {
    others.push_back({name, Number(0, 0).OrUnsupported(kNotSupported)});
  }
  for (const char* name : {"use_beam_search", "return_routed_experts", "with_cache", "preserve_cache"}) {
    others.push_back({name, Only(false).OrUnsupported(kNotSupported)});
  }
  for (const char* name : kNullOnly) others.push_back({name, Null().OrUnsupported(kNotSupported)});
  return others;
}

}  // namespace

std::vector<Property> IgnoredProperties() {
  return {{"prediction", Map(Any(), 64).Describe("taken and ignored: a guess at the answer")},
          {"prompt_cache_options", Map(Any(), 64).Describe("taken and ignored")},
          {"prompt_cache_retention", String(0, 64).Describe("taken and ignored")},
          {"user", String(0, 1024).Describe("taken and ignored")},
          {"metadata", Map(Any(), 64).Describe("taken and ignored")},
          {"store", Boolean().Describe("taken and ignored")},
          {"service_tier", String(0, 64).Describe("taken and ignored")},
          {"safety_identifier", String(0, 1024).Describe("taken and ignored")},
          {"prompt_cache_key", String(0, 1024).Describe("taken and ignored")},
          {"verbosity", String(0, 64).Describe("taken and ignored")},
          {"parallel_tool_calls", Boolean().Describe("taken and ignored while there are no tools")},
          {"cache_prompt", Boolean().Describe("taken and ignored: prompts are shared as the server was started to")},
          {"id_slot", Integer(-1, 1 << 20).Describe("taken and ignored: the server chooses slots")},
          {"keep_alive", AnyOf({String(0, 64), Number(-1e9, 1e9)}).Describe("taken and ignored: the model stays")},
          {"request_id", String(0, 128).Describe("taken and ignored; X-Request-Id names a request")}};
}

std::vector<Property> RefuseOthers(std::vector<Property> own) {
  for (const auto& others : {OfOtherRoutes(), OfOtherServers()}) {
    for (const Property& other : others) {
      if (std::ranges::find(own, other.name, &Property::name) == own.end()) own.push_back(other);
    }
  }
  return own;
}

}  // namespace ingot::answers
