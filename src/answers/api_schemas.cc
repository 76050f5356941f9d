#include "answers/api_schemas.h"

#include <algorithm>
#include <limits>

#include "answers/schema_parts.h"

namespace ingot::answers {

int64_t MaxTokens(const ModelLimits& limits) {
  return limits.max_output_len > 0 ? limits.max_output_len : std::numeric_limits<int32_t>::max();
}

boost::json::array ExampleMessages() { return {{{"role", "user"}, {"content", "What is the capital of France?"}}}; }

namespace {

const auto kMaxN = static_cast<int64_t>(llm::FindParam("n")->high);

Schema Tokens(const ModelLimits& limits, const char* description) {
  return Integer(1, MaxTokens(limits)).Describe(description);
}

Schema ContentPart() {
  return Object({{"type", OneOf({"text"}).OrUnsupported("only parts of type text are taken"), true},
                 {"text", String(0, kMaxText), true}});
}

Schema Content() {
  return AnyOf({String(0, kMaxText), Array(ContentPart(), 0, 1024)}).Describe("text, or parts of it");
}

}  // namespace

Schema ModelName(const ModelLimits& limits) {
  return String(0, 4096)
      .Describe("the served model")
      .Default(boost::json::string(limits.model_name))
      .Example(boost::json::string(limits.model_name));
}

Schema TokenIds(const ModelLimits& limits, size_t min) {
  return Array(Integer(0, limits.vocab_size - 1), min,
               kMaxText);  // more than the context holds is refused with the counts
}

Schema Messages() {
  const Schema message = Object({{"role", OneOf({"system", "developer", "user", "assistant", "tool"}), true},
                                 {"content", Content().Nullable()},
                                 {"name", String(0, 256)},
                                 {"tool_call_id", String(0, 256)},
                                 {"tool_calls", Array(Any(), 0, 128)}})
                             .NeedsOneOf({"content", "tool_calls"}, /*only_one=*/false)
                             .Named("Message");
  return Array(message, 1, kMaxMessages).Describe("the conversation so far").Example(ExampleMessages());
}

namespace {

Schema Logprob() {
  return Object({{"token", String(0, 4096), true},
                 {"logprob", Number(-9999, 0), true},
                 {"bytes", Array(Integer(0, 255), 0, 4096).Nullable(), true}})
      .Named("Logprob");
}

Schema TokenLogprobs() {
  const Schema token = Object({{"token", String(0, 4096), true},
                               {"logprob", Number(-9999, 0), true},
                               {"bytes", Array(Integer(0, 255), 0, 4096).Nullable(), true},
                               {"top_logprobs", Array(Logprob(), 0, sampling::kMaxLogprobs), true}})
                           .Named("TokenLogprob");
  return Object({{"content", Array(token, 0, kMaxText).Nullable(), true}}).Named("ChatLogprobs");
}

Schema Usage() {
  return Object({{"prompt_tokens", Integer(0, kMaxCount), true},
                 {"completion_tokens", Integer(0, kMaxCount), true},
                 {"total_tokens", Integer(0, kMaxCount), true},
                 {"prompt_tokens_details", Object({{"cached_tokens", Integer(0, kMaxCount), true}}), true},
                 {"completion_tokens_details",
                  Object({{"reasoning_tokens", Integer(0, kMaxCount), true},
                          {"accepted_prediction_tokens", Integer(0, kMaxCount), true},
                          {"rejected_prediction_tokens", Integer(0, kMaxCount), true}}),
                  true}})
      .Named("Usage");
}

std::vector<Property> AnswerHead(const char* object) {
  return {{"id", String(1, 256), true},
          {"object", OneOf({object}), true},
          {"created", Integer(0, kMaxCount), true},
          {"model", String(1, 4096), true},
          {"system_fingerprint", String(0, 64), true}};
}

Schema FinishReason() { return OneOf({"stop", "length"}); }

}  // namespace

Property KwargsProperty() {
  return {"chat_template_kwargs", Map(Any(), 64).Describe("variables for the chat template")};
}
Property ThinkingProperty() {
  return {"enable_thinking", Boolean().Describe("LMDeploy's short form of that in chat_template_kwargs")};
}

std::vector<Property> TemplateProperties() {
  return {{"add_generation_prompt", Boolean().Default(true)},
          {"continue_final_message", Boolean().Default(false).Describe("continue the last message")},
          ThinkingProperty(),
          KwargsProperty()};
}

Property ParamOf(const char* name, const ModelLimits& limits) { return ParamProperty(*llm::FindParam(name), limits); }

namespace {

std::vector<Property> StreamProperties() {
  return {{"stream", Boolean().Default(false).Describe("send the answer as server-sent events, as it grows")},
          {"stream_options",
           Object({{"include_usage", Boolean().Default(false)},
                   {"continuous_usage_stats", Only(false).OrUnsupported("usage is reported once, in the last chunk")}})
               .Describe("with stream: a last chunk tells the usage, as a whole answer does of itself")}};
}

std::vector<Property> ChoiceProperties(const ModelLimits& limits) {
  return {ParamOf("n", limits),
          {"return_token_ids", Boolean().Default(false).Describe("adds token_ids to every choice")}};
}

}  // namespace

std::vector<Property> AnswerProperties(const ModelLimits& limits) {
  std::vector<Property> properties;
  for (const llm::Param& param : llm::AllParams()) {
    if ((param.uses & llm::kInBody) != 0) properties.push_back(ParamProperty(param, limits));
  }
  properties.push_back(
      {"min_new_tokens", ParamOf("min_tokens", limits).schema.Describe("LMDeploy's name of min_tokens")});
  properties.push_back(
      {"repeat_penalty",
       ParamOf("repetition_penalty", limits).schema.Describe("llama.cpp's name of repetition_penalty")});
  properties.push_back(
      {"n_predict",
       Integer(-1, MaxTokens(limits)).Describe("llama.cpp's name of max_tokens; -1: what the context leaves")});
  properties.push_back({"spaces_between_special_tokens", Boolean().Describe("taken and ignored")});
  return properties;
}

namespace {

Schema ChatRequest(const ModelLimits& limits) {
  std::vector<Property> own = {
      {"model", ModelName(limits)},
      {"messages", AnyOf({Messages(), String(1, kMaxText)}).Describe("the conversation so far; a text: one message"),
       true},
      {"max_tokens", Tokens(limits, "longest answer; default: what the context leaves")},
      {"max_completion_tokens", Tokens(limits, "the newer name of max_tokens, which it overrides")},
      {"do_preprocess", Only(true).OrUnsupported("/v1/completions and /generate take prompts as they are")},
      {"logprobs", Boolean().Default(false)},
      {"top_logprobs", ParamOf("logprobs", limits).schema.Describe("alternatives a token; needs logprobs")},
  };
  return Object(RefuseOthers(Join(std::move(own), TemplateProperties(), AnswerProperties(limits),
                                  ChoiceProperties(limits), StreamProperties(), IgnoredProperties())))
      .Named("ChatCompletionRequest")
      .Example(boost::json::object{{"messages", ExampleMessages()}, {"max_tokens", 64}, {"temperature", 0}});
}

Schema ChatResponse() {
  const Schema message = Object({{"role", OneOf({"assistant"}), true}, {"content", String(0, kMaxText), true}});
  const Schema choice = Object({{"index", Integer(0, kMaxN), true},
                                {"message", message, true},
                                {"logprobs", TokenLogprobs().Nullable(), true},
                                {"finish_reason", FinishReason(), true},
                                {"token_ids", Array(Integer(0, kMaxCount), 0, kMaxText)}});
  return Object(Join(AnswerHead("chat.completion"),
                     std::vector<Property>{{"choices", Array(choice, 1, kMaxN), true}, {"usage", Usage(), true}}))
      .Named("ChatCompletion");
}

Schema ChatChunk() {
  const Schema delta = Object({{"role", OneOf({"assistant"})}, {"content", String(0, kMaxText)}});
  const Schema choice = Object({{"index", Integer(0, kMaxN), true},
                                {"delta", delta, true},
                                {"logprobs", TokenLogprobs().Nullable(), true},
                                {"finish_reason", FinishReason().Nullable(), true},
                                {"token_ids", Array(Integer(0, kMaxCount), 0, kMaxText)}});
  return Object(Join(AnswerHead("chat.completion.chunk"),
                     std::vector<Property>{{"choices", Array(choice, 0, kMaxN), true}, {"usage", Usage()}}))
      .Named("ChatCompletionChunk");
}

Schema CompletionRequest(const ModelLimits& limits) {
  const Schema prompt = AnyOf({String(1, kMaxText), Array(String(1, kMaxText), 1, kMaxPrompts), TokenIds(limits, 1),
                               Array(TokenIds(limits, 1), 1, kMaxPrompts)})
                            .Describe("text, token ids, or lists of either");
  std::vector<Property> own = {
      {"model", ModelName(limits)},
      {"prompt", prompt, true},
      {"max_tokens", Integer(0, MaxTokens(limits))
                         .Describe("longest answer; 0, with echo: the prompt and its logprobs alone")
                         .Default(DefaultTokens(limits, kCompletionTokens))},
      ParamOf("logprobs", limits),
      {"echo", Boolean().Default(false).Describe("put the prompt before the answer")},
      ParamOf("prompt_logprobs", limits),
      {"add_special_tokens", Boolean().Default(true).Describe("a BOS before the prompt where the model wants one")}};
  return Object(RefuseOthers(Join(std::move(own), AnswerProperties(limits), ChoiceProperties(limits),
                                  StreamProperties(), IgnoredProperties())))
      .Named("CompletionRequest")
      .Example(boost::json::object{{"prompt", "The capital of France is"}, {"max_tokens", 16}, {"temperature", 0}});
}

Schema CompletionResponse() {
  const Schema alternative = Object({{"logprob", Number(-9999, 0), true},
                                     {"rank", Integer(1, kMaxCount).Nullable(), true},
                                     {"decoded_token", String(0, 4096), true}});
  const Schema logprobs =
      Object({{"tokens", Array(String(0, 4096), 0, kMaxText), true},
              {"token_logprobs", Array(Number(-9999, 0).Nullable(), 0, kMaxText), true},
              {"top_logprobs", Array(Map(Number(-9999, 0), 1024).Nullable(), 0, kMaxText).Nullable(), true},
              {"text_offset", Array(Integer(0, kMaxCount), 0, kMaxText), true}})
          .Named("CompletionLogprobs");
  const Schema choice = Object({{"index", Integer(0, kMaxCount), true},
                                {"text", String(0, kMaxText), true},
                                {"logprobs", Schema(logprobs).Nullable(), true},
                                {"finish_reason", FinishReason().Nullable(), true},
                                {"prompt_logprobs", Array(Map(alternative, 1024).Nullable(), 0, kMaxText)},
                                {"token_ids", Array(Integer(0, kMaxCount), 0, kMaxText)}});
  return Object(Join(AnswerHead("text_completion"),
                     std::vector<Property>{{"choices", Array(choice, 0, kMaxCount), true}, {"usage", Usage()}}))
      .Named("Completion");
}

Schema GenerateRequest(const ModelLimits& limits) {
  std::vector<Property> own = {
      {"model", ModelName(limits)},
      {"prompt", String(1, kMaxText).Describe("text; or give input_ids")},
      {"input_ids", TokenIds(limits, 1)},
      {"max_tokens", Tokens(limits, "longest answer").Default(DefaultTokens(limits, kGenerateTokens))},
      {"stream", Boolean().Default(false)},
      {"return_logprob", Boolean().Default(false)}};
  return Object(RefuseOthers(Join(std::move(own), AnswerProperties(limits))))
      .NeedsOneOf({"prompt", "input_ids"}, /*only_one=*/true)
      .Named("GenerateRequest")
      .Example(boost::json::object{{"prompt", "The capital of France is"}, {"max_tokens", 16}, {"temperature", 0}});
}

Schema GenerateResponse() {
  const Schema finish = Object({{"type", FinishReason(), true}}).Nullable();
  const Schema pair = Array(Number(-9999, 1e9), 2, 2).Describe("[logprob, token id]");
  const Schema meta = Object({{"prompt_tokens", Integer(0, kMaxCount), true},
                              {"completion_tokens", Integer(0, kMaxCount), true},
                              {"finish_reason", finish, true},
                              {"output_token_logprobs", Array(pair, 0, kMaxText)}});
  return Object({{"text", String(0, kMaxText), true},
                 {"output_ids", Array(Integer(0, kMaxCount), 0, kMaxText), true},
                 {"meta_info", meta, true}})
      .Named("Generation");
}

Schema InteractiveRequest(const ModelLimits& limits) {
  constexpr int64_t kHigh = std::numeric_limits<int64_t>::max();
  const Schema stop = ParamOf("stop", limits).schema;
  std::vector<Property> own = {
      {"model", ModelName(limits)},
      {"prompt", AnyOf({String(0, kMaxText), Messages()}).Describe("the new turn: text, or messages"), true},
      {"session_id",
       Integer(-1, kHigh).Default(-1).Describe("-1: a new session, whose id the server chooses, from 1000000000 on")},
      {"interactive_mode", Boolean().Default(false).Describe("keep the session after the answer")},
      {"stream", Boolean().Default(false).Describe("a JSON object a line, as the answer grows")},
      {"request_output_len",
       Integer(0, MaxTokens(limits))
           .Describe("longest answer; default: what the context leaves. 0 with an empty prompt forgets the session")},
      {"max_tokens", Tokens(limits, "OpenAI's name of request_output_len, which overrides it")},
      {"cancel", Boolean().Default(false).Describe("stop the session's running answer")},
      {"stop", AnyOf({stop, Boolean()})
                   .Describe("text, or texts, that the answer ends before; true is cancel, as in LMDeploy 0.2")},
      {"when_full", OneOf({"refuse", "renew"})
                        .Default("refuse")
                        .Describe("renew: drop the history when the session has no room for the turn")},
      ThinkingProperty(),
      KwargsProperty()};
  return Object(RefuseOthers(Join(std::move(own), AnswerProperties(limits))))
      .Named("InteractiveRequest")
      .Example(boost::json::object{{"prompt", "What is the capital of France?"},
                                   {"session_id", 1},
                                   {"interactive_mode", true},
                                   {"request_output_len", 64}});
}

Schema InteractiveResponse() {
  return Object({{"text", String(0, kMaxText), true},
                 {"tokens", Integer(0, kMaxCount), true},
                 {"input_tokens", Integer(0, kMaxCount), true},
                 {"history_tokens", Integer(0, kMaxCount), true},
                 {"finish_reason", FinishReason().Nullable(), true},
                 {"session_id", Integer(-1, std::numeric_limits<int64_t>::max()), true}})
      .Named("InteractiveAnswer");
}

Schema ModelSchema() {
  return Object({{"id", String(1, 4096), true},
                 {"object", OneOf({"model"}), true},
                 {"created", Integer(0, kMaxCount), true},
                 {"owned_by", String(1, 64), true},
                 {"root", String(1, 4096)},
                 {"permission", Array(Any(), 0, 0)},
                 {"max_model_len", Integer(1, kMaxCount)}})
      .Named("Model");
}

Schema SessionSchema() {
  return Object({{"session_id", Integer(0, std::numeric_limits<int64_t>::max()), true},
                 {"tokens", Integer(0, kMaxCount), true},
                 {"turns", Integer(0, kMaxCount), true},
                 {"created", Integer(0, kMaxCount), true},
                 {"last_used", Integer(0, kMaxCount), true},
                 {"running", Boolean(), true},
                 {"owner", String(0, 64).Describe("a hash of the API key; for administrators")}})
      .Named("Session");
}

}  // namespace

int64_t DefaultTokens(const ModelLimits& limits, int64_t wanted) {
  if (limits.max_output_len == 0) return wanted;
  return wanted > 0 ? std::min(wanted, limits.max_output_len) : limits.max_output_len;
}

namespace {

// A parameter's range as a schema; the model's own bounds are narrower for some.
struct ParamSchema {
  const llm::Param& param;
  const ModelLimits& limits;

  Schema operator()(const bool*) const { return Boolean(); }
  Schema operator()(const double*) const { return Number(param.low, param.high); }
  Schema operator()(const int64_t*) const {
    const auto bound = [](double value) {
      constexpr double kEnd = 0x1p63;
      if (value >= kEnd) return std::numeric_limits<int64_t>::max();
      return value <= -kEnd ? std::numeric_limits<int64_t>::min() : static_cast<int64_t>(value);
    };
    int64_t high = bound(param.high);
    if (std::string_view(param.name) == "min_tokens")
      high = std::min(MaxTokens(limits), std::max<int64_t>(limits.session_len - 1, 0));
    return Integer(bound(param.low), high);
  }
  template <typename T>
  Schema operator()(const std::optional<T>*) const {
    return (*this)(static_cast<const T*>(nullptr));
  }
  Schema operator()(const std::string*) const { return Text(); }
  Schema operator()(const std::vector<std::string>*) const {
    return AnyOf({Text(), Array(Text(), 0, param.max_entries)});
  }
  Schema operator()(const std::vector<int32_t>*) const {
    return Array(Integer(0, limits.vocab_size - 1), 0, param.max_entries);
  }
  Schema operator()(const std::vector<sampling::LogitBias>*) const {
    return Map(Number(param.low, param.high), param.max_entries);
  }
  Schema Text() const { return String(static_cast<size_t>(param.low), static_cast<size_t>(param.high)); }
};

}  // namespace

Property ParamProperty(const llm::Param& param, const ModelLimits& limits) {
  llm::Request request;
  Schema schema = std::visit(ParamSchema{param, limits}, param.field(request)).Describe(param.help);
  const boost::json::value value = ValueOf(param, request);
  // The model says what sampling defaults are.
  if ((param.uses & llm::kAsDefault) == 0 && (value.is_bool() || value.is_number())) schema.default_value = value;
  return {param.name, std::move(schema)};
}

namespace {

// llama-server's: a piece that is no text is a list of its bytes.
Schema TokenPiece() {
  return Object({{"id", Integer(0, kMaxCount), true},
                 {"piece", AnyOf({String(0, 4096), Array(Integer(0, 255), 0, 4096)}), true}})
      .Named("TokenPiece");
}

Schema TokenizeRequest(const ModelLimits& limits) {
  return Object(
             Join(TemplateProperties(),
                  std::vector<Property>{
                      {"model", ModelName(limits)},
                      {"prompt", String(0, kMaxText).Describe("text; or give messages")},
                      {"messages", Messages()},
                      {"add_special_tokens", Boolean().Default(true)},
                      {"return_token_strs", Boolean().Default(false)},
                      {"content", String(0, kMaxText).Describe("llama-server's name of the text")},
                      {"add_special", Boolean().Default(false).Describe("with content: a BOS")},
                      {"parse_special", Boolean().Default(true).Describe("with content: read special tokens as such")},
                      {"with_pieces", Boolean().Default(false).Describe("with content: id and piece")},
                      {"chat_template", Null().OrUnsupported("not supported")},
                      {"documents", Null().OrUnsupported("not supported")},
                      {"tools", Array(Any(), 0, 0).OrUnsupported("tools are not supported")}}))
      .NeedsOneOf({"prompt", "messages", "content"}, /*only_one=*/true)
      .Named("TokenizeRequest")
      .Example(boost::json::object{{"prompt", "Hello"}, {"return_token_strs", true}});
}

}  // namespace

ApiSchemas::ApiSchemas(const ModelLimits& limits)
    : chat_request(ChatRequest(limits)),
      chat_response(ChatResponse()),
      chat_chunk(ChatChunk()),
      completion_request(CompletionRequest(limits)),
      completion_response(CompletionResponse()),
      generate_request(GenerateRequest(limits)),
      generate_response(GenerateResponse()) {
  const Schema text_or_texts = AnyOf({String(0, kMaxText), Array(String(0, kMaxText), 1, kMaxPrompts)});
  const Schema ids = Array(Integer(0, kMaxCount), 0, kMaxText);
  const Schema counts = AnyOf({Integer(0, kMaxCount), Array(Integer(0, kMaxCount), 0, kMaxPrompts)});
  encode_request = Object({{"model", ModelName(limits)},
                           {"input", text_or_texts, true},
                           {"do_preprocess", Boolean().Default(false).Describe("render it as a user's message first")},
                           {"add_bos", Boolean().Default(true)}})
                       .Named("EncodeRequest")
                       .Example(boost::json::object{{"input", "Hello"}});
  encode_response = Object({{"input_ids", AnyOf({ids, Array(ids, 0, kMaxPrompts)}), true}, {"length", counts, true}})
                        .Named("Encoding");
  tokenize_request = TokenizeRequest(limits);
  tokenize_response = Object({{"count", Integer(0, kMaxCount), true},
                              {"max_model_len", Integer(0, kMaxCount), true},
                              {"tokens", AnyOf({ids, Array(TokenPiece(), 0, kMaxText)}), true},
                              {"token_strs", Array(String(0, 4096), 0, kMaxText).Nullable(), true}})
                          .Named("Tokens");
  detokenize_request =
      Object({{"model", ModelName(limits)}, {"tokens", Array(Integer(0, limits.vocab_size - 1), 0, kMaxText), true}})
          .Named("DetokenizeRequest")
          .Example(boost::json::object{{"tokens", {1, 2, 3}}});
  detokenize_response =
      Object({{"prompt", String(0, 0), true}, {"content", String(0, 0).Describe("the same, as llama-server calls it")}})
          .Named("Text");
  interactive_request = InteractiveRequest(limits);
  interactive_response = InteractiveResponse();
  session = SessionSchema();
  session_list = Object({{"data", Array(session, 0, 1000), true}, {"has_more", Boolean(), true}}).Named("SessionList");
  rewind_request = Object({{"step", Integer(0, kMaxCount).Describe("tokens that stay"), true}})
                       .Named("RewindRequest")
                       .Example(boost::json::object{{"step", 0}});
  model = ModelSchema();
  model_list = Object({{"object", OneOf({"list"}), true}, {"data", Array(model, 0, 1024), true}}).Named("ModelList");
  health = Object({{"status", OneOf({"initializing", "healthy", "unhealthy", "draining"}), true},
                   {"message", String(0, 1024)}})
               .Named("Health");
  version = Object({{"version", String(1, 64), true}}).Named("Version");
  AddLlamaServerSchemas(limits, this);
  AddOllamaSchemas(limits, this);
}

}  // namespace ingot::answers
