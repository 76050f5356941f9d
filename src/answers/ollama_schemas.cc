// What ollama's routes take and answer.
#include "answers/schema_parts.h"

namespace ingot::answers {
namespace {

constexpr const char* kAtStart = "taken and ignored: said when the server is started";

// `options`: its own names, and parameters of answers under the names that they have everywhere.
Schema Options(const ModelLimits& limits) {
  std::vector<Property> own = {
      {"num_predict", Integer(-2, MaxTokens(limits)).Describe("longest answer; 0 and below: what the context leaves")},
      {"repeat_last_n", Integer(-1, 1 << 30).Describe("penalties count all tokens: -1, or no penalty")},
      {"penalize_newline", Only(true).OrUnsupported("penalties count every token")},
      {"num_keep", Integer(-1, 1 << 30).Describe("taken and ignored: a prompt that is too long is refused")},
      {"num_ctx", Integer(0, 1 << 30)
                      .Describe("taken and ignored: the context is the server's, and what is too long "
                                "for it is refused")}};
  for (const char* name : {"num_batch", "num_gpu", "main_gpu", "num_thread"})
    own.push_back({name, Integer(-1, 1 << 30).Describe(kAtStart)});
  for (const char* name :
       {"numa", "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mmap", "use_mlock", "embedding_only"}) {
    own.push_back({name, Boolean().Describe(kAtStart)});
  }
  return Object(RefuseOthers(Join(std::move(own), AnswerProperties(limits)))).Named("OllamaOptions");
}

std::vector<Property> CommonProperties(const ModelLimits& limits) {
  return {
      {"model", ModelName(limits)},
      {"options", Options(limits)},
      {"stream", Boolean().Default(true).Describe("a JSON object a line, as the answer grows")},
      {"think", AnyOf({Boolean(), String(0, 16)})
                    .Describe("true, false: enable_thinking of the chat template; what is thought is in the answer")},
      {"keep_alive", AnyOf({String(0, 64), Number(-1e9, 1e9)}).Describe("taken and ignored: the model stays")},
      {"logprobs", Boolean().Default(false)},
      {"top_logprobs", ParamOf("logprobs", limits).schema.Describe("alternatives a token; needs logprobs")}};
}

// Asks for nothing where it is "", [] or null.
Property Refused(const char* name, const char* why) {
  return {name, AnyOf({OneOf({""}), Array(Any(), 0, 0)}).OrUnsupported(why)};
}

std::vector<Property> RefusedProperties() {
  return {Refused("format", "structured output is not supported"),
          Refused("images", "images are not supported"),
          Refused("tools", "tools are not supported"),
          Refused("suffix", "filling in before a suffix is not supported"),
          Refused("template", "the server was started with its template"),
          Refused("context", "send the conversation to /api/chat")};
}

Schema OllamaMessages() {
  const Schema message = Object({{"role", OneOf({"system", "developer", "user", "assistant", "tool"}), true},
                                 {"content", String(0, kMaxText).Nullable()},
                                 {"images", Array(Any(), 0, 0).OrUnsupported("images are not supported")},
                                 {"thinking", String(0, kMaxText)},
                                 {"tool_name", String(0, 256)},
                                 {"tool_calls", Array(Any(), 0, 128)}})
                             .NeedsOneOf({"content", "tool_calls"}, /*only_one=*/false)
                             .Named("OllamaMessage");
  return Array(message, 0, kMaxMessages).Describe("the conversation so far").Example(ExampleMessages());
}

Schema TokenLogprob() {
  std::vector<Property> token = {{"token", String(0, 4096), true},
                                 {"logprob", Number(-9999, 0), true},
                                 {"bytes", Array(Integer(0, 255), 0, 4096), true}};
  const Schema top = Object(token).Named("OllamaLogprob");
  token.push_back({"top_logprobs", Array(top, 0, sampling::kMaxLogprobs), true});
  return Object(std::move(token)).Named("OllamaTokenLogprob");
}

// Times in nanoseconds; those of the end come with done: true.
Schema Answer(Property content, const char* name) {
  std::vector<Property> properties = {{"model", String(1, 4096), true},
                                      {"created_at", String(1, 64), true},
                                      std::move(content),
                                      {"done", Boolean(), true},
                                      {"done_reason", OneOf({"stop", "length", "load"})},
                                      {"logprobs", Array(TokenLogprob(), 0, kMaxText)}};
  for (const char* number : {"total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration",
                             "eval_count", "eval_duration"}) {
    properties.push_back({number, Integer(0, int64_t{1} << 62)});
  }
  return Object(std::move(properties)).Named(name);
}

Schema Details() {
  return Object({{"parent_model", String(0, 4096), true},
                 {"format", OneOf({"gguf", "safetensors"}), true},
                 {"family", String(0, 256), true},
                 {"families", Array(String(0, 256), 1, 1), true},
                 {"parameter_size", String(1, 32), true},
                 {"quantization_level", String(0, 64), true}})
      .Named("OllamaDetails");
}

std::vector<Property> ModelProperties() {
  return {{"name", String(1, 4096), true},
          {"model", String(1, 4096), true},
          {"size", Integer(0, int64_t{1} << 62), true},
          {"digest", String(0, 64), true},
          {"details", Details(), true}};
}

Schema ModelsOf(std::vector<Property> model, const char* name) {
  return Object({{"models", Array(Object(std::move(model)), 0, 1024), true}}).Named(name);
}

}  // namespace

void AddOllamaSchemas(const ModelLimits& limits, ApiSchemas* schemas) {
  schemas->ollama_chat_request = Object(RefuseOthers(Join(std::vector<Property>{{"messages", OllamaMessages(), true}},
                                                          CommonProperties(limits), RefusedProperties())))
                                     .Named("OllamaChatRequest")
                                     .Example(boost::json::object{{"messages", ExampleMessages()}, {"stream", false}});
  schemas->ollama_chat_response =
      Answer({"message", Object({{"role", OneOf({"assistant"}), true}, {"content", String(0, kMaxText), true}}), true},
             "OllamaChatAnswer");
  schemas->ollama_generate_request =
      Object(RefuseOthers(Join(
                 std::vector<Property>{
                     {"prompt", String(0, kMaxText).Describe("a user's message; empty: an answer without text")},
                     {"system", String(0, kMaxText).Describe("the system message before it")},
                     {"raw", Boolean().Default(false).Describe("complete the prompt as it is, without the template")}},
                 CommonProperties(limits), RefusedProperties())))
          .Named("OllamaGenerateRequest")
          .Example(boost::json::object{{"prompt", "What is the capital of France?"}, {"stream", false}});
  schemas->ollama_generate_response = Answer({"response", String(0, kMaxText), true}, "OllamaGenerateAnswer");
  schemas->ollama_tags =
      ModelsOf(Join(ModelProperties(), std::vector<Property>{{"modified_at", String(1, 64), true}}), "OllamaTags");
  schemas->ollama_ps =
      ModelsOf(Join(ModelProperties(), std::vector<Property>{{"expires_at", String(1, 64), true},
                                                             {"size_vram", Integer(0, 0), true},
                                                             {"context_length", Integer(1, kMaxCount), true}}),
               "OllamaProcesses");
  schemas->ollama_show_request = Object({{"model", ModelName(limits)},
                                         {"name", String(0, 4096).Describe("the older name of model")},
                                         {"verbose", Boolean().Describe("taken and ignored")}})
                                     .Named("OllamaShowRequest")
                                     .Example(boost::json::object{{"model", boost::json::string(limits.model_name)}});
  schemas->ollama_show_response = Object({{"modelfile", String(0, 0), true},
                                          {"parameters", String(0, 0), true},
                                          {"template", String(0, 0), true},
                                          {"details", Details(), true},
                                          {"model_info", Map(Any(), 64), true},
                                          {"capabilities", Array(String(1, 64), 0, 8), true},
                                          {"modified_at", String(1, 64), true}})
                                      .Named("OllamaModel");
}

}  // namespace ingot::answers
