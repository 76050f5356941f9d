#include "server/openai/completions.h"

#include <algorithm>

#include "base/json.h"
#include "server/answers/answer_exchange.h"
#include "server/answers/request_fields.h"
#include "server/openai/wire.h"
#include "text/utf8.h"
#include "tokenizer/tokenizer.h"

namespace ingot::server {
namespace {

constexpr size_t kMaxAnswersAtOnce = 512;  // prompts · n

struct CompletionOptions {
  bool include_usage = false, token_ids = false, echo = false, logprobs = false, prompt_logprobs = false;
  std::vector<std::string> prompts;  // as text, with echo
  int n = 1;
};

// As OpenAI writes the text of a token that is a part of a character: bytes:\xe6\x97.
std::string TextOf(const llm::TokenLogprob& token) {
  if (IsValidUtf8(token.bytes)) return token.bytes;
  std::string text = "bytes:";
  for (const char c : token.bytes) text += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
  return text;
}

// {"tokens":[…],"token_logprobs":[…],"top_logprobs":[…],"text_offset":[…]}
class LegacyLogprobs {
 public:
  // Of tokens whose text is `text`, which begins at character `offset`.
  LegacyLogprobs(const tokenizer::Tokenizer& tokenizer, std::string text, size_t offset)
      : tokenizer_(tokenizer), text_(std::move(text)), offset_(offset) {}
  // `known` false: the first token of a prompt, which nothing foretells.
  void Add(const llm::TokenInfo& token, bool known) {
    const char* comma = count_++ > 0 ? "," : "";
    tokens_ += comma;
    AppendJsonString(tokens_, TextOf(token.chosen));
    values_ += comma;
    tops_ += comma;
    if (known) {
      AppendJsonNumber(values_, token.chosen.logprob);
      AppendTop(token);
    } else {
      values_ += "null";
      tops_ += "null";
    }
    offsets_ += comma + std::to_string(offset_);
    Pass(token.chosen);
  }
  std::string Json() const {
    return R"({"tokens":[)" + tokens_ + R"(],"token_logprobs":[)" + values_ + R"(],"top_logprobs":[)" + tops_ +
           R"(],"text_offset":[)" + offsets_ + "]}";
  }

 private:
  void AppendTop(const llm::TokenInfo& token) {
    std::vector<std::string> seen;  // two tokens of the same text: the likelier one is told
    tops_ += '{';
    const auto add = [&](const llm::TokenLogprob& one) {
      std::string text = TextOf(one);
      if (std::ranges::find(seen, text) != seen.end()) return;
      if (!seen.empty()) tops_ += ',';
      AppendJsonString(tops_, text);
      tops_ += ':';
      AppendJsonNumber(tops_, one.logprob);
      seen.push_back(std::move(text));
    };
    for (const llm::TokenLogprob& one : token.top) add(one);
    add(token.chosen);
    tops_ += '}';
  }
  // Goes on behind the token in the text, which has neither special tokens nor the space of a SentencePiece's first
  // word, and may end before the tokens do (at a stop string).
  void Pass(const llm::TokenLogprob& token) {
    std::string_view bytes = token.bytes;
    const std::string_view rest = std::string_view(text_).substr(passed_);
    if (!rest.starts_with(bytes)) {
      if (tokenizer_.IsSpecial(token.id)) return;
      if (passed_ == 0 && bytes.starts_with(' ')) bytes.remove_prefix(1);
    }
    offset_ += CountCharacters(rest.substr(0, bytes.size()));
    passed_ += std::min(bytes.size(), rest.size());
  }

  const tokenizer::Tokenizer& tokenizer_;
  const std::string text_;
  std::string tokens_, values_, tops_, offsets_;
  size_t offset_, passed_ = 0;  // characters of the whole text, bytes of text_
  int count_ = 0;
};

// As vLLM writes them: null for the first token, then {"ID":{"logprob":…,"rank":…,"decoded_token":…}}. The rank of a
// token that is not among the alternatives is null.
void AppendPromptLogprobs(std::string& out, const std::vector<llm::TokenInfo>& tokens) {
  out += "[null";
  for (size_t i = 1; i < tokens.size(); ++i) {
    const auto add = [&](const llm::TokenLogprob& one, const std::string& rank) {
      out += fmt::format(R"("{}":{{"logprob":)", one.id);
      AppendJsonNumber(out, one.logprob);
      out += R"(,"rank":)" + rank + R"(,"decoded_token":)";
      AppendJsonString(out, TextOf(one));
      out += '}';
    };
    out += ",{";
    bool has_chosen = false;
    for (size_t j = 0; j < tokens[i].top.size(); ++j) {
      if (j > 0) out += ',';
      add(tokens[i].top[j], std::to_string(j + 1));
      has_chosen = has_chosen || tokens[i].top[j].id == tokens[i].chosen.id;
    }
    if (!has_chosen) {
      if (!tokens[i].top.empty()) out += ',';
      add(tokens[i].chosen, "null");
    }
    out += '}';
  }
  out += ']';
}

class CompletionFormat : public AnswerFormat {
 public:
  CompletionFormat(AnswerHead head, const tokenizer::Tokenizer& tokenizer, CompletionOptions options)
      : head_(std::move(head)), tokenizer_(tokenizer), options_(std::move(options)) {}

  std::string Piece(const AnswerChoice& choice, const llm::Event& event) override {
    const bool echoes = options_.echo && choice.is_first;
    if (event.text.empty() && event.logprobs.empty() && !event.finish && !echoes) return "";
    std::string out = "data: " + head_.Open("text_completion") + R"(,"choices":[)";
    const size_t before = CountCharacters(choice.choice.text) +
                          (options_.echo && !choice.is_first ? CountCharacters(PromptOf(event.index)) : 0);
    const std::string text = (echoes ? PromptOf(event.index) : "") + event.text;
    LegacyLogprobs logprobs(tokenizer_, text, before);
    if (echoes) AddPrompt(event.prompt_logprobs, &logprobs);
    for (const llm::TokenInfo& token : event.logprobs) logprobs.Add(token, true);
    const bool has_logprobs = options_.logprobs && (!event.logprobs.empty() || echoes);
    AppendChoice(out, {.index = event.index,
                       .text = text,
                       .logprobs = has_logprobs ? logprobs.Json() : "null",
                       .finish = event.finish ? fmt::format("\"{}\"", WireFinish(*event.finish)) : "null",
                       .token_ids = &event.token_ids,
                       .prompt_logprobs = &event.prompt_logprobs});
    out += ']';
    if (options_.include_usage) out += R"(,"usage":null)";
    return out + "}\n\n";
  }

  std::string End(const llm::Usage& usage) override {
    std::string out;
    if (options_.include_usage) {
      out = "data: " + head_.Open("text_completion") + R"(,"choices":[],)";
      AppendUsage(out, usage);
      out += "}\n\n";
    }
    return out + "data: [DONE]\n\n";
  }

  std::string Whole(const std::vector<AnswerChoice>& choices, const llm::Usage& usage) override {
    std::string out = head_.Open("text_completion") + R"(,"choices":[)";
    for (const AnswerChoice& state : choices) {
      if (state.index > 0) out += ',';
      const std::string text = (options_.echo ? PromptOf(state.index) : "") + state.choice.text;
      LegacyLogprobs logprobs(tokenizer_, text, 0);
      if (options_.echo) AddPrompt(state.prompt_logprobs, &logprobs);
      for (const llm::TokenInfo& token : state.choice.logprobs) logprobs.Add(token, true);
      AppendChoice(out, {.index = state.index,
                         .text = text,
                         .logprobs = options_.logprobs ? logprobs.Json() : "null",
                         .finish = fmt::format("\"{}\"", WireFinish(state.choice.finish)),
                         .token_ids = &state.choice.token_ids,
                         .prompt_logprobs = &state.prompt_logprobs});
    }
    out += "],";
    AppendUsage(out, usage);
    return out + "}";
  }

 private:
  struct ChoiceParts {
    int index;
    std::string text, logprobs, finish;
    const std::vector<int32_t>* token_ids;
    const std::vector<llm::TokenInfo>* prompt_logprobs;
  };
  const std::string& PromptOf(int index) const { return options_.prompts[static_cast<size_t>(index / options_.n)]; }

  static void AddPrompt(const std::vector<llm::TokenInfo>& tokens, LegacyLogprobs* logprobs) {
    for (size_t i = 0; i < tokens.size(); ++i) logprobs->Add(tokens[i], i > 0);
  }

  void AppendChoice(std::string& out, const ChoiceParts& parts) const {
    out += fmt::format(R"({{"index":{},"text":)", parts.index);
    AppendJsonString(out, parts.text);
    out += R"(,"logprobs":)" + parts.logprobs;
    if (options_.token_ids) {
      out += R"(,"token_ids":)";
      AppendIds(out, *parts.token_ids);
    }
    if (options_.prompt_logprobs && !parts.prompt_logprobs->empty()) {
      out += R"(,"prompt_logprobs":)";
      AppendPromptLogprobs(out, *parts.prompt_logprobs);
    }
    out += R"(,"finish_reason":)" + parts.finish + "}";
  }

  const AnswerHead head_;
  const tokenizer::Tokenizer& tokenizer_;
  const CompletionOptions options_;
};

// Text, ids, or lists of either: one request each, as `common` but for the prompt.
std::vector<llm::Request> ForPrompts(const boost::json::value& prompt, const llm::Request& common) {
  std::vector<llm::Request> requests;
  const auto add_text = [&](const boost::json::value& text) {
    requests.push_back(common);
    requests.back().prompt = std::string(text.get_string());
  };
  const auto add_ids = [&](const boost::json::array& ids) {
    requests.push_back(common);
    requests.back().token_ids = ToIds(ids);
  };
  if (prompt.is_string()) {
    add_text(prompt);
  } else if (prompt.get_array().front().is_number()) {
    add_ids(prompt.get_array());
  } else {
    for (const auto& one : prompt.get_array()) one.is_string() ? add_text(one) : add_ids(one.get_array());
  }
  return requests;
}

}  // namespace

tl::expected<std::vector<llm::Request>, FieldError> ReadCompletionRequests(const boost::json::value& body,
                                                                           const ServedModel& model) {
  const Fields fields(body);
  llm::Request common;
  if (auto error = ReadCommon(fields, model.llm, &common)) return tl::unexpected(*std::move(error));
  common.add_special_tokens = fields.Bool("add_special_tokens", true);
  common.default_max_tokens = DefaultTokens(model.limits, kCompletionTokens);
  if (const auto top = fields.Int("logprobs")) common.logprobs = static_cast<int>(*top);
  if (const auto top = fields.Int("prompt_logprobs")) common.prompt_logprobs = static_cast<int>(*top);
  if (fields.Bool("echo", false) && common.logprobs && !common.prompt_logprobs)
    common.prompt_logprobs = common.logprobs;
  std::vector<llm::Request> requests = ForPrompts(*fields.Find("prompt"), common);
  const size_t answers = requests.size() * static_cast<size_t>(common.n);
  if (answers > kMaxAnswersAtOnce) {
    return tl::unexpected(
        FieldError{"prompt", InvalidArgument("{} prompts with n {} make {} answers, at most {} are given",
                                             requests.size(), common.n, answers, kMaxAnswersAtOnce)
                                 .value()});
  }
  return requests;
}

void Completions(const ServerContext& context, const Schema& schema, const std::shared_ptr<Exchange>& exchange) {
  const auto body = ReadBody(*exchange, schema);
  if (!body) return;
  const ServedModel* model = ModelOf(context, *exchange, *body);
  if (model == nullptr) return;
  auto requests = ReadCompletionRequests(*body, *model);
  if (!requests) return Refuse(*exchange, requests.error());
  const Fields fields(*body);
  const auto* stream_options = fields.Find("stream_options");
  const bool asks_for_usage = stream_options != nullptr && Fields(*stream_options).Bool("include_usage", false);
  CompletionOptions options{.include_usage = asks_for_usage || context.answers.always_include_usage,
                            .token_ids = fields.Bool("return_token_ids", false),
                            .echo = fields.Bool("echo", false),
                            .logprobs = fields.Has("logprobs"),
                            .prompt_logprobs = fields.Has("prompt_logprobs"),
                            .prompts = {},
                            .n = requests->front().n};
  for (const llm::Request& request : *requests) {
    if (options.echo)
      options.prompts.push_back(request.prompt
                                    ? *request.prompt
                                    : model->llm.tokenizer().Decode(request.token_ids, /*skip_special_tokens=*/false));
  }
  AnswerHead head{"cmpl-" + exchange->request().request_id, model->name, std::time(nullptr)};
  AnswerRequest answer{.requests = *std::move(requests),
                       .params = {},
                       .stream = fields.Bool("stream", false),
                       .ping_seconds = context.answers.ping_seconds};
  answer.params.assign(answer.requests.size(), "prompt");
  Answer(model->llm, context.metrics, exchange,
         std::make_unique<CompletionFormat>(std::move(head), model->llm.tokenizer(), std::move(options)),
         std::move(answer));
}

}  // namespace ingot::server
