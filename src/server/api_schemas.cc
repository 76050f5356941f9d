#include "server/api_schemas.h"

#include <limits>

#include "server/other_fields.h"

namespace ingot::server {
namespace {

constexpr int64_t kMaxCount = int64_t{1} << 40;  // of tokens, in answers

boost::json::array ExampleMessages() { return {{{"role", "user"}, {"content", "What is the capital of France?"}}}; }

template <typename... Lists>
std::vector<Property> Join(std::vector<Property> first, Lists... rest) {
  (first.insert(first.end(), rest.begin(), rest.end()), ...);
  return first;
}

constexpr int64_t kMaxAnswerTokens = std::numeric_limits<int32_t>::max();

// Without a cap of the server's, what is too long for the context is told with the counts when the prompt is known.
int64_t MaxTokens(const ModelLimits& limits) {
  return limits.max_output_len > 0 ? limits.max_output_len : kMaxAnswerTokens;
}
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
                               {"top_logprobs", Array(Logprob(), 0, 20), true}})
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

Property KwargsProperty() {
  return {"chat_template_kwargs", Map(Any(), 64).Describe("variables for the chat template")};
}
Property ThinkingProperty() {
  return {"enable_thinking", Boolean().Describe("LMDeploy's short form of that in chat_template_kwargs")};
}

// How messages become a prompt.
std::vector<Property> TemplateProperties() {
  return {{"add_generation_prompt", Boolean().Default(true)},
          {"continue_final_message", Boolean().Default(false).Describe("go on writing the last message")},
          ThinkingProperty(),
          KwargsProperty()};
}

std::vector<Property> StreamProperties() {
  return {{"stream", Boolean().Default(false).Describe("send the answer as server-sent events, as it grows")},
          {"stream_options",
           Object({{"include_usage", Boolean().Default(false)},
                   {"continuous_usage_stats", Only(false).OrUnsupported("usage is told once, in the last chunk")}})
               .Describe("with stream: a last chunk tells the usage, as a whole answer does of itself")}};
}

std::vector<Property> ChoiceProperties() {
  return {{"n", Integer(1, kMaxChoices).Default(1).Describe("answers to the prompt; the i-th draws with seed + i")},
          {"return_token_ids", Boolean().Default(false).Describe("adds token_ids to every choice")}};
}

// Of every route that answers.
std::vector<Property> AnswerProperties() {
  return {{"seed", Integer(std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max())
                       .Describe("the same seed gives the same answer, whoever else is served")},
          {"stop", Stop()},
          {"include_stop_str_in_output", Boolean().Default(false)},
          {"priority", Integer(-1000, 1000).Default(0).Describe("of those that wait, lower ones go first")},
          {"timeout", Number(0.001, 1e6).Describe("seconds from now after which the request ends with an error")},
          {"cache_salt", String(0, 256).Describe("only requests of the same salt share cached prompts")}};
}

Schema ChatRequest(const ModelLimits& limits) {
  std::vector<Property> own = {
      {"model", ModelName(limits)},
      {"messages", Messages(), true},
      {"max_tokens", Tokens(limits, "longest answer; default: what the context leaves")},
      {"max_completion_tokens", Tokens(limits, "the newer name of max_tokens, which it overrides")},
      {"do_preprocess", Only(true).OrUnsupported("/v1/completions and /generate take prompts as they are")},
      {"logprobs", Boolean().Default(false)},
      {"top_logprobs", Integer(0, 20).Describe("alternatives a token; needs logprobs")},
  };
  return Object(RefuseOthers(Join(std::move(own), TemplateProperties(), SamplingProperties(limits), AnswerProperties(),
                                  ChoiceProperties(), StreamProperties(), IgnoredProperties())))
      .Named("ChatCompletionRequest")
      .Example(boost::json::object{{"messages", ExampleMessages()}, {"max_tokens", 64}, {"temperature", 0}});
}

Schema ChatResponse() {
  const Schema message = Object({{"role", OneOf({"assistant"}), true}, {"content", String(0, kMaxText), true}});
  const Schema choice = Object({{"index", Integer(0, kMaxChoices), true},
                                {"message", message, true},
                                {"logprobs", TokenLogprobs().Nullable(), true},
                                {"finish_reason", FinishReason(), true},
                                {"token_ids", Array(Integer(0, kMaxCount), 0, kMaxText)}});
  return Object(Join(AnswerHead("chat.completion"),
                     std::vector<Property>{{"choices", Array(choice, 1, kMaxChoices), true}, {"usage", Usage(), true}}))
      .Named("ChatCompletion");
}

Schema ChatChunk() {
  const Schema delta = Object({{"role", OneOf({"assistant"})}, {"content", String(0, kMaxText)}});
  const Schema choice = Object({{"index", Integer(0, kMaxChoices), true},
                                {"delta", delta, true},
                                {"logprobs", TokenLogprobs().Nullable(), true},
                                {"finish_reason", FinishReason().Nullable(), true},
                                {"token_ids", Array(Integer(0, kMaxCount), 0, kMaxText)}});
  return Object(Join(AnswerHead("chat.completion.chunk"),
                     std::vector<Property>{{"choices", Array(choice, 0, kMaxChoices), true}, {"usage", Usage()}}))
      .Named("ChatCompletionChunk");
}

Schema CompletionRequest(const ModelLimits& limits) {
  const Schema prompt = AnyOf({String(1, kMaxText), Array(String(1, kMaxText), 1, kMaxPrompts), TokenIds(limits, 1),
                               Array(TokenIds(limits, 1), 1, kMaxPrompts)})
                            .Describe("text, token ids, or lists of either");
  std::vector<Property> own = {
      {"model", ModelName(limits)},
      {"prompt", prompt, true},
      {"max_tokens", Tokens(limits, "longest answer").Default(DefaultTokens(limits, kCompletionTokens))},
      {"logprobs", Integer(0, 20).Describe("alternatives a token beside the chosen one")},
      {"echo", Boolean().Default(false).Describe("put the prompt before the answer")},
      {"prompt_logprobs", Integer(0, 20).Describe("the same as logprobs for the prompt's tokens")},
      {"add_special_tokens", Boolean().Default(true).Describe("a BOS before the prompt where the model wants one")}};
  return Object(RefuseOthers(Join(std::move(own), SamplingProperties(limits), AnswerProperties(), ChoiceProperties(),
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
  return Object(RefuseOthers(Join(std::move(own), SamplingProperties(limits), AnswerProperties())))
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
      {"when_full", OneOf({"refuse", "renew"})
                        .Default("refuse")
                        .Describe("renew: begin anew when the session has no room for the turn")},
      ThinkingProperty(),
      KwargsProperty()};
  return Object(RefuseOthers(Join(std::move(own), SamplingProperties(limits), AnswerProperties())))
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

Schema ModelName(const ModelLimits& limits) {
  return String(0, 4096)
      .Describe("the served model")
      .Default(boost::json::string(limits.model_name))
      .Example(boost::json::string(limits.model_name));
}

Schema TokenIds(const ModelLimits& limits, size_t min) {
  return Array(Integer(0, limits.vocab_size - 1), min,
               kMaxText);  // more than the context holds is told with the counts
}

Schema Stop() {
  return AnyOf({String(1, kMaxStopLength), Array(String(1, kMaxStopLength), 0, kMaxStops)})
      .Describe("strings that end the answer, which is cut before them");
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

int64_t DefaultTokens(const ModelLimits& limits, int64_t wanted) {
  if (limits.max_output_len == 0) return wanted;
  return wanted > 0 ? std::min(wanted, limits.max_output_len) : limits.max_output_len;
}

std::vector<Property> SamplingProperties(const ModelLimits& limits) {
  const Schema id = Integer(0, limits.vocab_size - 1);
  const Schema min_tokens = Integer(0, std::min(MaxTokens(limits), std::max<int64_t>(limits.session_len - 1, 0)));
  return {{"temperature", Number(0, 2).Describe("0: always the likeliest token")},
          {"top_p", Number(0, 1).Describe("draw from the likeliest that together have this probability")},
          {"top_k", Integer(-1, 1 << 24).Describe("draw from the k likeliest; 0 and -1: all")},
          {"min_p", Number(0, 1).Describe("drop tokens less likely than this share of the likeliest")},
          {"repetition_penalty", Number(0.01, 10).Describe("above 1: disfavour tokens of prompt and answer")},
          {"presence_penalty", Number(-2, 2).Describe("subtracted once for tokens of the answer")},
          {"frequency_penalty", Number(-2, 2).Describe("subtracted for each time a token is in the answer")},
          {"logit_bias", Map(Number(-100, 100), 1024).Describe("token id → what is added to its logit")},
          {"bad_words", Array(String(1, kMaxStopLength), 0, kMaxBadWords).Describe("never come out")},
          {"min_tokens", Schema(min_tokens).Describe("no end before so many tokens")},
          {"min_new_tokens", Schema(min_tokens).Describe("LMDeploy's name of min_tokens")},
          {"stop_token_ids", Array(id, 0, kMaxStops).Describe("tokens that end the answer")},
          {"ignore_eos", Boolean().Default(false).Describe("go on after the model ends its answer")},
          {"skip_special_tokens", Boolean().Default(true)},
          {"spaces_between_special_tokens", Boolean().Describe("taken and ignored")}};
}

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
  tokenize_request =
      Object(Join(TemplateProperties(),
                  std::vector<Property>{{"model", ModelName(limits)},
                                        {"prompt", String(0, kMaxText).Describe("text; or give messages")},
                                        {"messages", Messages()},
                                        {"add_special_tokens", Boolean().Default(true)},
                                        {"return_token_strs", Boolean().Default(false)},
                                        {"chat_template", Null().OrUnsupported("not supported")},
                                        {"documents", Null().OrUnsupported("not supported")},
                                        {"tools", Array(Any(), 0, 0).OrUnsupported("tools are not supported")}}))
          .NeedsOneOf({"prompt", "messages"}, /*only_one=*/true)
          .Named("TokenizeRequest")
          .Example(boost::json::object{{"prompt", "Hello"}, {"return_token_strs", true}});
  tokenize_response = Object({{"count", Integer(0, kMaxCount), true},
                              {"max_model_len", Integer(0, kMaxCount), true},
                              {"tokens", ids, true},
                              {"token_strs", Array(String(0, 4096), 0, kMaxText).Nullable(), true}})
                          .Named("Tokens");
  detokenize_request =
      Object({{"model", ModelName(limits)}, {"tokens", Array(Integer(0, limits.vocab_size - 1), 0, kMaxText), true}})
          .Named("DetokenizeRequest")
          .Example(boost::json::object{{"tokens", {1, 2, 3}}});
  detokenize_response = Object({{"prompt", String(0, 0), true}}).Named("Text");
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
}

}  // namespace ingot::server
