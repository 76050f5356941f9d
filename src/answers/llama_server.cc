// llama-server's own routes: /completion, and what it tells of itself.
#include <algorithm>

#include "answers/routes.h"
#include "answers/wire.h"
#include "chat/chat_template.h"
#include "llm/prompt.h"
#include "tokenizer/tokenizer.h"

namespace ingot::answers {
namespace {

constexpr int64_t kRandomSeed = 0xFFFFFFFF;  // as llama.cpp says it

// The parameters of an answer under llama.cpp's names.
std::string SettingsJson(const llm::Request& request) {
  const sampling::Params& sampling = request.sampling;
  const int64_t max_tokens = request.max_tokens.value_or(-1);
  JsonObject json;
  for (const auto& [name, value] : LlamaSettings(sampling)) json.AddJson(name, value);
  return json.Add("n_predict", max_tokens)
      .Add("max_tokens", max_tokens)
      .Add("seed", sampling.seed.value_or(kRandomSeed))
      .Add("repeat_last_n", -1)
      .Add("presence_penalty", sampling.presence_penalty)
      .Add("frequency_penalty", sampling.frequency_penalty)
      .AddJson("stop", JsonList(request.stop))
      .Add("ignore_eos", request.ignore_eos)
      .Add("n_probs", request.logprobs.value_or(0))
      .Text();
}

std::string TimingsJson(const llm::Usage& usage, const llm::Timings& timings) {
  JsonObject json;
  json.Add("cache_n", usage.cached_tokens);
  const auto add = [&](const std::string& phase, int64_t tokens, double seconds) {
    const auto count = static_cast<double>(tokens);
    json.Add(phase + "_n", tokens)
        .Add(phase + "_ms", seconds * 1e3)
        .Add(phase + "_per_token_ms", tokens > 0 ? seconds * 1e3 / count : 0)
        .Add(phase + "_per_second", seconds > 0 ? count / seconds : 0);
  };
  add("prompt", usage.prompt_tokens - usage.cached_tokens, timings.prefill_seconds);
  add("predicted", usage.completion_tokens, timings.decode_seconds);
  return json.Text();
}

std::string ProbabilitiesJson(const std::vector<llm::TokenInfo>& tokens) {
  const auto one = [](const llm::TokenLogprob& token) {
    return JsonObject()
        .Add("id", token.id)
        .Add("token", token.bytes)
        .AddJson("bytes", BytesJson(token))
        .Add("logprob", token.logprob);
  };
  return JsonList(tokens, [&](const llm::TokenInfo& token) {
    const auto top = [&](const llm::TokenLogprob& other) { return one(other).Text(); };
    return one(token.chosen).AddJson("top_logprobs", JsonList(token.top, top)).Text();
  });
}

const char* StopType(llm::FinishReason finish, const std::string& stop_reason) {
  if (finish == llm::FinishReason::kLength) return "limit";
  if (finish != llm::FinishReason::kStop) return "none";
  return stop_reason.empty() ? "eos" : "word";
}

struct LlamaOptions {
  std::string model, settings;       // settings: JSON
  std::vector<std::string> prompts;  // as text
  int64_t n = 1;                     // answers a prompt
  bool probabilities = false, return_tokens = false;
  bool prompt_only = false;  // n_predict 0: one token is drawn, and not told
};

class LlamaFormat : public Format {
 public:
  explicit LlamaFormat(LlamaOptions options)
      : options_(std::move(options)), num_told_(options_.prompts.size() * static_cast<size_t>(options_.n)) {}

  std::string Piece(const Choice& choice, const llm::Event& event) override {
    std::string out;
    const auto index = static_cast<size_t>(event.index);
    if (!options_.prompt_only && (!event.text.empty() || !event.token_ids.empty())) {
      num_told_[index] += std::ssize(event.token_ids);
      JsonObject json = Begin(event.index, event.text, event.token_ids, false);
      Counts(num_told_[index], event.usage.prompt_tokens, json);
      if (options_.probabilities) json.AddJson("completion_probabilities", ProbabilitiesJson(event.logprobs));
      out += Sent(json);
    }
    if (event.finish) {
      JsonObject json = Begin(event.index, "", {}, true);
      End(event.index, {choice.usage, choice.timings, *event.finish, event.stop_reason}, json);
      out += Sent(json);
    }
    return out;
  }
  std::string End(const llm::Usage&) override { return ""; }
  std::string Whole(const std::vector<Choice>& choices, const llm::Usage&) override {
    const auto one = [&](const Choice& choice) {
      const llm::Choice& answer = choice.choice;
      const bool told = !options_.prompt_only;
      const std::vector<int32_t> ids = told && options_.return_tokens ? answer.token_ids : std::vector<int32_t>();
      JsonObject json = Begin(choice.index, told ? answer.text : "", ids, true);
      End(choice.index, {choice.usage, choice.timings, answer.finish, answer.stop_reason}, json);
      if (told && options_.probabilities) json.AddJson("completion_probabilities", ProbabilitiesJson(answer.logprobs));
      return json.Text();
    };
    return choices.size() == 1 ? one(choices[0]) : JsonList(choices, one);
  }

 private:
  struct Ending {
    const llm::Usage& usage;
    const llm::Timings& timings;
    llm::FinishReason finish;
    const std::string& stop_reason;
  };
  static std::string Sent(const JsonObject& json) { return "data: " + json.Text() + "\n\n"; }
  static JsonObject Begin(int index, const std::string& text, const std::vector<int32_t>& ids, bool stop) {
    return JsonObject()
        .Add("index", index)
        .Add("content", text)
        .AddJson("tokens", JsonList(ids))
        .Add("stop", stop)
        .Add("id_slot", -1);
  }
  static void Counts(int64_t predicted, int64_t evaluated, JsonObject& json) {
    json.Add("tokens_predicted", predicted).Add("tokens_evaluated", evaluated);
  }
  void End(int index, const Ending& ending, JsonObject& json) const {
    llm::Usage usage = ending.usage;
    if (options_.prompt_only) usage.completion_tokens = 0;
    const llm::FinishReason finish = options_.prompt_only ? llm::FinishReason::kLength : ending.finish;
    Counts(usage.completion_tokens, usage.prompt_tokens, json);
    json.Add("tokens_cached", usage.cached_tokens)
        .Add("model", options_.model)
        .Add("prompt", options_.prompts[static_cast<size_t>(index / options_.n)])
        .AddJson("generation_settings", options_.settings)
        .Add("truncated", false)
        .Add("stop_type", StopType(finish, ending.stop_reason))
        .Add("stopping_word", ending.stop_reason)
        .AddJson("timings", TimingsJson(usage, ending.timings));
  }

  const LlamaOptions options_;
  std::vector<int64_t> num_told_;  // [answers]: tokens
};

// A BOS comes before a text that begins the prompt, where the model wants one.
llm::Request WithPrompt(const boost::json::value& prompt, const tokenizer::Tokenizer& tokenizer, llm::Request request) {
  if (prompt.is_string()) {
    request.prompt = std::string(prompt.get_string());
    return request;
  }
  const boost::json::array& pieces = prompt.get_array();
  for (size_t i = 0; i < pieces.size(); ++i) {
    const std::vector<int32_t> ids =
        pieces[i].is_string()
            ? tokenizer.Encode(MarkedText::Trusted(std::string(pieces[i].get_string())), {.add_special_tokens = i == 0})
            : ToIds({pieces[i]});
    request.token_ids.insert(request.token_ids.end(), ids.begin(), ids.end());
  }
  return request;
}

// A list is one prompt where a number is among its items.
Result<std::vector<llm::Request>> ForPrompts(const boost::json::value& prompt, const tokenizer::Tokenizer& tokenizer,
                                             const llm::Request& common) {
  const auto is_number = [](const boost::json::value& item) { return item.is_number(); };
  const auto is_list = [](const boost::json::value& item) { return item.is_array(); };
  if (prompt.is_string()) return std::vector{WithPrompt(prompt, tokenizer, common)};
  const boost::json::array& items = prompt.get_array();
  if (std::ranges::any_of(items, is_number)) {
    if (std::ranges::any_of(items, is_list))
      return Error(Status(InvalidArgument("prompt has token ids, so it is one prompt, and has a list too; give token "
                                          "ids and texts, or a list of prompts"))
                       .Of("prompt"));
    return std::vector{WithPrompt(prompt, tokenizer, common)};
  }
  std::vector<llm::Request> requests;
  for (const boost::json::value& one : items) requests.push_back(WithPrompt(one, tokenizer, common));
  return requests;
}

}  // namespace

Result<Prepared> ReadLlamaCompletion(const Fields& fields, const ServedModel& model, const Caller&) {
  const tokenizer::Tokenizer& tokenizer = model.llm.tokenizer();
  llm::Request common;
  INGOT_RETURN_IF_ERROR(ReadParams(fields, model.llm, &common));
  INGOT_RETURN_IF_ERROR(CheckPenaltyWindow(fields, common));
  if (common.sampling.seed == kRandomSeed) common.sampling.seed.reset();
  common.n = fields.Int("n_cmpl").value_or(1);
  common.default_max_tokens = DefaultTokens(model.limits, 0);
  const int64_t num_probabilities = fields.Int("n_probs").value_or(0);
  if (num_probabilities > 0) common.logprobs = num_probabilities;
  LlamaOptions options{.model = model.name,
                       .settings = SettingsJson(common),
                       .prompts = {},
                       .n = common.n,
                       .probabilities = num_probabilities > 0,
                       .return_tokens = fields.Bool("return_tokens", false),
                       .prompt_only = common.max_tokens == 0};
  if (options.prompt_only) common.max_tokens = 1;
  Prepared prepared{.stream = fields.Bool("stream", false)};
  std::vector<llm::Request>& requests = prepared.question.requests;
  INGOT_ASSIGN_OR_RETURN(requests, ForPrompts(*fields.Find("prompt"), tokenizer, common));
  if (std::ssize(requests) > kMaxPrompts) {
    return Error(Status(InvalidArgument("prompt has {} prompts; at most {} are taken", requests.size(), kMaxPrompts))
                     .Of("prompt"));
  }
  for (const llm::Request& request : requests)
    options.prompts.push_back(request.prompt ? *request.prompt : tokenizer.Decode(request.token_ids, false));
  prepared.format = std::make_unique<LlamaFormat>(std::move(options));
  return prepared;
}

std::string LlamaProps(const ServedModel& model, std::string_view version) {
  const llm::Llm& llm = model.llm;
  const llm::SpecialTexts special = llm::SpecialTextsOf(llm.checkpoint(), llm.tokenizer());
  llm::Request defaults;
  defaults.sampling = llm.default_sampling();
  const auto settings =
      JsonObject().Add("id", 0).Add("n_ctx", llm.session_len()).AddJson("params", SettingsJson(defaults));
  return JsonObject()
      .AddJson("default_generation_settings", settings.Text())
      .Add("total_slots", llm.options().max_batch_size)
      .Add("model_alias", model.name)
      .Add("model_path", model.root.empty() ? model.name : model.root)
      .Add("chat_template", llm.chat_template() != nullptr ? llm.chat_template()->source() : "")
      .Add("bos_token", special.bos)
      .Add("eos_token", special.eos)
      .AddJson("modalities", JsonObject().Add("vision", false).Add("audio", false).Text())
      .Add("build_info", fmt::format("ingot {}", version))
      .Add("is_sleeping", false)
      .Text();
}

std::string LlamaSlots(const ServedModel& model) {
  const llm::Stats stats = model.llm.stats();
  std::vector<int> slots;
  for (int i = 0; i < model.llm.options().max_batch_size; ++i) slots.push_back(i);
  return JsonList(slots, [&](int id) {
    return JsonObject()
        .Add("id", id)
        .Add("n_ctx", model.llm.session_len())
        .Add("speculative", false)
        .Add("is_processing", id < stats.running)
        .Text();
  });
}

}  // namespace ingot::answers
