// /v1/completions.
#include <algorithm>

#include "answers/routes.h"
#include "answers/wire.h"
#include "text/utf8.h"
#include "tokenizer/tokenizer.h"

namespace ingot::answers {
namespace {

constexpr int64_t kMaxAnswersAtOnce = 512;  // prompts · n

struct CompletionOptions {
  bool token_ids = false, echo = false, logprobs = false, prompt_logprobs = false;
  bool prompt_only = false;          // max_tokens 0: the prompt and its logprobs alone
  std::vector<std::string> prompts;  // as text, with echo
  int64_t n = 1;
};

// As OpenAI writes the text of a token that is a part of a character: bytes:\xe6\x97.
std::string TextOf(const llm::TokenLogprob& token) {
  if (IsValidUtf8(token.bytes)) return token.bytes;
  std::string text = "bytes:";
  for (const char c : token.bytes) text += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
  return text;
}

// Of a piece of UTF-8 that may begin and end within a character.
size_t CharactersBegun(std::string_view bytes) {
  return static_cast<size_t>(std::ranges::count_if(bytes, [](char c) { return (c & 0xC0) != 0x80; }));
}

// {"tokens":[…],"token_logprobs":[…],"top_logprobs":[…],"text_offset":[…]}
class LegacyLogprobs {
 public:
  // Of tokens whose text is `text`, which begins at character `offset`.
  LegacyLogprobs(const tokenizer::Tokenizer& tokenizer, std::string text, size_t offset)
      : tokenizer_(tokenizer), text_(std::move(text)), offset_(offset) {}
  // The first of a prompt has no logprob: nothing predicts it.
  void AddPrompt(const std::vector<llm::TokenInfo>& tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) Add(tokens[i], i > 0);
  }
  void AddAnswer(const std::vector<llm::TokenInfo>& tokens) {
    for (const llm::TokenInfo& token : tokens) Add(token, true);
  }
  std::string Json() const {
    return JsonObject()
        .AddJson("tokens", JsonList(tokens_))
        .AddJson("token_logprobs", JsonList(values_))
        .AddJson("top_logprobs", JsonList(tops_, [](const std::string& top) { return top; }))
        .AddJson("text_offset", JsonList(offsets_))
        .Text();
  }

 private:
  void Add(const llm::TokenInfo& token, bool has_logprob) {
    tokens_.push_back(TextOf(token.chosen));
    values_.push_back(has_logprob ? std::optional(token.chosen.logprob) : std::nullopt);
    tops_.push_back(has_logprob ? TopJson(token) : "null");
    offsets_.push_back(offset_);
    Pass(token.chosen);
  }
  // Two tokens of the same text: the likelier one is reported.
  static std::string TopJson(const llm::TokenInfo& token) {
    JsonObject json;
    std::vector<std::string> seen;
    const auto add = [&](const llm::TokenLogprob& one) {
      std::string text = TextOf(one);
      if (std::ranges::find(seen, text) != seen.end()) return;
      json.Add(text, one.logprob);
      seen.push_back(std::move(text));
    };
    for (const llm::TokenLogprob& one : token.top) add(one);
    add(token.chosen);
    return json.Text();
  }
  // Continues behind the token in the text, which has neither special tokens nor the space of a SentencePiece's first
  // word, and may end before the tokens do (at a stop string).
  void Pass(const llm::TokenLogprob& token) {
    std::string_view bytes = token.bytes;
    const std::string_view rest = std::string_view(text_).substr(passed_);
    if (!rest.starts_with(bytes)) {
      if (tokenizer_.IsSpecial(token.id)) return;
      if (passed_ == 0 && bytes.starts_with(' ')) bytes.remove_prefix(1);
    }
    offset_ += CharactersBegun(rest.substr(0, bytes.size()));
    passed_ += std::min(bytes.size(), rest.size());
  }

  const tokenizer::Tokenizer& tokenizer_;
  const std::string text_;
  std::vector<std::string> tokens_, tops_;
  std::vector<std::optional<float>> values_;
  std::vector<size_t> offsets_;
  size_t offset_, passed_ = 0;  // characters of the whole text, bytes of text_
};

// As vLLM writes them: null for the first token, then {"ID":{"logprob":…,"rank":…,"decoded_token":…}}. The rank of a
// token that is not among the alternatives is null.
std::string PromptLogprobs(const std::vector<llm::TokenInfo>& tokens) {
  const auto one_json = [&](const llm::TokenInfo& token) {
    if (&token == tokens.data()) return std::string("null");
    JsonObject json;
    const auto add = [&](const llm::TokenLogprob& one, std::optional<size_t> rank) {
      json.AddJson(std::to_string(one.id),
                   JsonObject().Add("logprob", one.logprob).Add("rank", rank).Add("decoded_token", TextOf(one)).Text());
    };
    for (size_t i = 0; i < token.top.size(); ++i) add(token.top[i], i + 1);
    if (std::ranges::find(token.top, token.chosen.id, &llm::TokenLogprob::id) == token.top.end())
      add(token.chosen, std::nullopt);
    return json.Text();
  };
  return JsonList(tokens, one_json);
}

class CompletionFormat : public Format {
 public:
  CompletionFormat(OpenAiHead head, const tokenizer::Tokenizer& tokenizer, CompletionOptions options)
      : head_(std::move(head)), tokenizer_(tokenizer), options_(std::move(options)) {}

  std::string Piece(const Choice& choice, const llm::Event& whole) override {
    const bool echoes = options_.echo && choice.is_first;
    const llm::Event event = options_.prompt_only ? WithoutAnswer(whole) : whole;
    if (event.text.empty() && event.logprobs.empty() && !event.finish && !echoes) return "";
    const size_t before = CountCharacters(choice.choice.text) +
                          (options_.echo && !choice.is_first ? CountCharacters(PromptOf(event.index)) : 0);
    const std::string text = (echoes ? PromptOf(event.index) : "") + event.text;
    LegacyLogprobs logprobs(tokenizer_, text, before);
    if (echoes) logprobs.AddPrompt(event.prompt_logprobs);
    logprobs.AddAnswer(event.logprobs);
    const bool has_logprobs = options_.logprobs && (!event.logprobs.empty() || echoes);
    return head_.Chunk(kObject,
                       "[" + ChoiceJson(event.index, text, has_logprobs ? logprobs.Json() : "null", event) + "]");
  }

  std::string End(const llm::Usage& usage) override { return head_.End(kObject, UsageOf(usage)); }

  std::string Whole(const std::vector<Choice>& choices, const llm::Usage& usage) override {
    const std::string list = JsonList(choices, [&](const Choice& state) {
      const llm::Choice choice = options_.prompt_only ? WithoutAnswer(state.choice) : state.choice;
      const std::string text = (options_.echo ? PromptOf(state.index) : "") + choice.text;
      LegacyLogprobs logprobs(tokenizer_, text, 0);
      if (options_.echo) logprobs.AddPrompt(choice.prompt_logprobs);
      logprobs.AddAnswer(choice.logprobs);
      return ChoiceJson(state.index, text, options_.logprobs ? logprobs.Json() : "null", choice);
    });
    return head_.Object(kObject, list).AddJson("usage", UsageJson(UsageOf(usage))).Text();
  }

 private:
  const std::string& PromptOf(int index) const { return options_.prompts[static_cast<size_t>(index / options_.n)]; }

  // Of an llm::Event or an llm::Choice. One token is drawn where none is wanted: it is not shown.
  template <typename Part>
  static Part WithoutAnswer(Part part) {
    part.text.clear();
    part.token_ids.clear();
    part.logprobs.clear();
    if (part.finish == llm::FinishReason::kStop) part.finish = llm::FinishReason::kLength;
    return part;
  }
  llm::Usage UsageOf(llm::Usage usage) const {
    if (options_.prompt_only) usage.completion_tokens = 0;
    return usage;
  }

  // `part`: an llm::Event or an llm::Choice.
  template <typename Part>
  std::string ChoiceJson(int index, const std::string& text, const std::string& logprobs, const Part& part) const {
    JsonObject json;
    json.Add("index", index).Add("text", text).AddJson("logprobs", logprobs);
    if (options_.token_ids) json.AddJson("token_ids", JsonList(part.token_ids));
    if (options_.prompt_logprobs && !part.prompt_logprobs.empty())
      json.AddJson("prompt_logprobs", PromptLogprobs(part.prompt_logprobs));
    return json.Add("finish_reason", WireFinish(part.finish)).Text();
  }

  static constexpr const char* kObject = "text_completion";
  const OpenAiHead head_;
  const tokenizer::Tokenizer& tokenizer_;
  const CompletionOptions options_;
};

// Text, ids, or lists of either: one request each, as `common` except for the prompt.
std::vector<llm::Request> ForPrompts(const boost::json::value& prompt, const llm::Request& common) {
  std::vector<llm::Request> requests;
  const auto add = [&](const boost::json::value& one) {
    requests.push_back(common);
    if (one.is_string()) {
      requests.back().prompt = std::string(one.get_string());
    } else {
      requests.back().token_ids = ToIds(one.get_array());
    }
  };
  if (prompt.is_string() || prompt.get_array().front().is_number()) {
    add(prompt);
  } else {
    for (const auto& one : prompt.get_array()) add(one);
  }
  return requests;
}

Status CheckCompletion(const Fields& fields, const std::vector<llm::Request>& requests) {
  const int64_t n = requests.front().n, answers = std::ssize(requests) * n;
  if (answers > kMaxAnswersAtOnce) {
    return Status(InvalidArgument("{} prompts with n {} make {} answers, at most {} are given", requests.size(), n,
                                  answers, kMaxAnswersAtOnce))
        .Of("prompt");
  }
  if (fields.Int("max_tokens") == 0 && !fields.Bool("echo", false))
    return Status(InvalidArgument("max_tokens 0 gives something with echo only, which is the prompt")).Of("max_tokens");
  return {};
}

}  // namespace

Result<Prepared> ReadCompletion(const Fields& fields, const ServedModel& model, const Caller& caller) {
  llm::Request common;
  INGOT_RETURN_IF_ERROR(ReadParams(fields, model.llm, &common));
  common.add_special_tokens = fields.Bool("add_special_tokens", true);
  common.default_max_tokens = DefaultTokens(model.limits, kCompletionTokens);
  common.logprobs = fields.Int("logprobs");
  CompletionOptions options{.token_ids = fields.Bool("return_token_ids", false),
                            .echo = fields.Bool("echo", false),
                            .logprobs = fields.Has("logprobs"),
                            .prompt_logprobs = fields.Has("prompt_logprobs"),
                            .prompt_only = common.max_tokens == 0,
                            .prompts = {},
                            .n = common.n};
  if (options.echo && !common.prompt_logprobs) common.prompt_logprobs = common.logprobs;
  if (options.prompt_only) common.max_tokens = 1;
  Prepared prepared{.stream = fields.Bool("stream", false)};
  std::vector<llm::Request>& requests = prepared.question.requests;
  requests = ForPrompts(*fields.Find("prompt"), common);
  INGOT_RETURN_IF_ERROR(CheckCompletion(fields, requests));
  for (const llm::Request& request : requests) {
    if (options.echo)
      options.prompts.push_back(request.prompt
                                    ? *request.prompt
                                    : model.llm.tokenizer().Decode(request.token_ids, /*skip_special_tokens=*/false));
  }
  OpenAiHead head{"cmpl-" + caller.request_id, model.name, model.fingerprint,
                  AsksForUsage(fields) || caller.always_include_usage};
  prepared.format = std::make_unique<CompletionFormat>(std::move(head), model.llm.tokenizer(), std::move(options));
  return prepared;
}

}  // namespace ingot::answers
