// /v1/completions.
#include <algorithm>

#include "answers/json_writers.h"
#include "answers/routes.h"
#include "text/utf8.h"
#include "tokenizer/tokenizer.h"

namespace ingot::answers {
namespace {

constexpr int64_t kMaxAnswersAtOnce = 512;  // prompts · n

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

// Tokens whose text is `text`, which begins at character `offset`.
class LogprobsBuilder {
 public:
  LogprobsBuilder(const tokenizer::Tokenizer& tokenizer, std::string_view text, size_t offset)
      : tokenizer_(tokenizer), text_(text), offset_(offset) {}
  // The first of a prompt has no logprob: nothing predicts it.
  void AddPrompt(const std::vector<llm::TokenInfo>& tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) Add(tokens[i], i > 0);
  }
  void AddAnswer(const std::vector<llm::TokenInfo>& tokens) {
    for (const llm::TokenInfo& token : tokens) Add(token, true);
  }
  CompletionLogprobs Take() { return std::move(built_); }

 private:
  void Add(const llm::TokenInfo& token, bool has_logprob) {
    built_.tokens.push_back(TextOf(token.chosen));
    built_.token_logprobs.push_back(has_logprob ? std::optional(token.chosen.logprob) : std::nullopt);
    built_.top_logprobs.push_back(has_logprob ? std::optional(Alternatives(token)) : std::nullopt);
    built_.text_offset.push_back(offset_);
    Pass(token.chosen);
  }
  // Two tokens of the same text: the likelier one is reported.
  static CompletionLogprobs::Alternatives Alternatives(const llm::TokenInfo& token) {
    CompletionLogprobs::Alternatives alternatives;
    const auto add = [&](const llm::TokenLogprob& one) {
      std::string text = TextOf(one);
      if (std::ranges::find(alternatives, text, &std::pair<std::string, float>::first) == alternatives.end())
        alternatives.emplace_back(std::move(text), one.logprob);
    };
    for (const llm::TokenLogprob& one : token.top) add(one);
    add(token.chosen);
    return alternatives;
  }
  // Continues behind the token in the text, which has neither special tokens nor the space of a SentencePiece's first
  // word, and may end before the tokens do (at a stop string).
  void Pass(const llm::TokenLogprob& token) {
    std::string_view bytes = token.bytes;
    const std::string_view rest = text_.substr(passed_);
    if (!rest.starts_with(bytes)) {
      if (tokenizer_.IsSpecial(token.id)) return;
      if (passed_ == 0 && bytes.starts_with(' ')) bytes.remove_prefix(1);
    }
    offset_ += CharactersBegun(rest.substr(0, bytes.size()));
    passed_ += std::min(bytes.size(), rest.size());
  }

  const tokenizer::Tokenizer& tokenizer_;
  const std::string_view text_;
  CompletionLogprobs built_;
  size_t offset_, passed_ = 0;  // characters of the whole text, bytes of text_
};

// {"tokens":[…],"token_logprobs":[…],"top_logprobs":[…],"text_offset":[…]}
std::string LogprobsJson(const CompletionLogprobs& logprobs) {
  const auto top_json = [](const std::optional<CompletionLogprobs::Alternatives>& alternatives) -> std::string {
    if (!alternatives) return "null";
    JsonObject json;
    for (const auto& [text, logprob] : *alternatives) json.Add(text, logprob);
    return json.Text();
  };
  return JsonObject()
      .AddJson("tokens", JsonList(logprobs.tokens))
      .AddJson("token_logprobs", JsonList(logprobs.token_logprobs))
      .AddJson("top_logprobs", JsonList(logprobs.top_logprobs, top_json))
      .AddJson("text_offset", JsonList(logprobs.text_offset))
      .Text();
}

class CompletionJson : public CompletionFormat {
 public:
  using CompletionFormat::CompletionFormat;

 protected:
  std::string WritePiece(const CompletionPart& part) override {
    return head_.Chunk(kCompletionObject, "[" + ChoiceJson(part) + "]");
  }
  std::string WriteEnd(const llm::Usage& usage) override { return head_.End(kCompletionObject, usage); }
  std::string WriteWhole(const std::vector<CompletionPart>& parts, const llm::Usage& usage) override {
    return head_.Object(kCompletionObject, JsonList(parts, ChoiceJson)).AddJson("usage", UsageJson(usage)).Text();
  }

 private:
  static std::string ChoiceJson(const CompletionPart& part) {
    JsonObject json;
    json.Add("index", part.index).Add("text", part.text);
    json.AddJson("logprobs", part.logprobs ? LogprobsJson(*part.logprobs) : "null");
    if (part.token_ids != nullptr) json.AddJson("token_ids", JsonList(*part.token_ids));
    if (part.prompt_logprobs != nullptr) json.AddJson("prompt_logprobs", PromptLogprobsJson(*part.prompt_logprobs));
    return json.Add("finish_reason", WireFinish(part.finish)).Text();
  }
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

std::string PromptLogprobsJson(const std::vector<llm::TokenInfo>& tokens) {
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

// With prompt_only, the engine still draws one token: the answer leaves it out.
template <typename Source>
CompletionPart CompletionFormat::PartOf(int index, const Source& source, bool echoes, size_t before) const {
  static const std::vector<int32_t> kNoIds;
  const bool has_answer = !options_.prompt_only;
  CompletionPart part{.index = index, .finish = source.finish};
  if (echoes) part.text = PromptOf(index);
  if (has_answer) part.text += source.text;
  const bool has_logprobs = has_answer && !source.logprobs.empty();
  if (options_.logprobs && (has_logprobs || echoes || std::is_same_v<Source, llm::Choice>)) {
    LogprobsBuilder logprobs(tokenizer_, part.text, before);
    if (echoes) logprobs.AddPrompt(source.prompt_logprobs);
    if (has_answer) logprobs.AddAnswer(source.logprobs);
    part.logprobs = logprobs.Take();
  }
  if (options_.token_ids) part.token_ids = has_answer ? &source.token_ids : &kNoIds;
  if (options_.prompt_logprobs && !source.prompt_logprobs.empty()) part.prompt_logprobs = &source.prompt_logprobs;
  if (!has_answer && part.finish == llm::FinishReason::kStop) part.finish = llm::FinishReason::kLength;
  return part;
}

std::string CompletionFormat::Piece(const Choice& choice, const llm::Event& event) {
  const bool echoes = options_.echo && choice.is_first;
  const bool has_more = !options_.prompt_only && (!event.text.empty() || !event.logprobs.empty());
  if (!has_more && !event.finish && !echoes) return "";
  // Only logprobs need it, and counting takes time.
  size_t before = 0;
  if (options_.logprobs && !choice.is_first) {
    before = CountCharacters(choice.choice.text) + (options_.echo ? CountCharacters(PromptOf(event.index)) : 0);
  }
  return WritePiece(PartOf(event.index, event, echoes, before));
}

std::string CompletionFormat::Whole(const std::vector<Choice>& choices, const llm::Usage& usage) {
  std::vector<CompletionPart> parts;
  for (const Choice& one : choices) parts.push_back(PartOf(one.index, one.choice, options_.echo, 0));
  return WriteWhole(parts, UsageOf(usage));
}

const std::string& CompletionFormat::PromptOf(int index) const {
  return options_.prompts[static_cast<size_t>(index / options_.n)];
}

llm::Usage CompletionFormat::UsageOf(llm::Usage usage) const {
  if (options_.prompt_only) usage.completion_tokens = 0;
  return usage;
}

std::unique_ptr<Format> MakeCompletionJson(OpenAiHead head, const tokenizer::Tokenizer& tokenizer,
                                           CompletionOptions options) {
  return std::make_unique<CompletionJson>(std::move(head), tokenizer, std::move(options));
}

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
  prepared.format = caller.writers->Completion(std::move(head), model.llm.tokenizer(), std::move(options));
  return prepared;
}

}  // namespace ingot::answers
