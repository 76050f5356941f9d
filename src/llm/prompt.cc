#include "llm/prompt.h"

#include <filesystem>

#include "base/json.h"
#include "base/text_file.h"

namespace ingot::llm {
namespace {

constexpr size_t kMaxTemplateBytes = size_t{4} << 20;

std::string StringMember(const boost::json::object& object, std::string_view key) {
  const boost::json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

std::string ArchitectureOf(const formats::Checkpoint& checkpoint) {
  const boost::json::object& config = checkpoint.config();
  if (checkpoint.kind() == formats::CheckpointKind::kGguf) return StringMember(config, "general.architecture");
  const boost::json::value* all = config.if_contains("architectures");
  if (all == nullptr || !all->is_array() || all->get_array().empty() || !all->get_array()[0].is_string()) {
    return StringMember(config, "model_type");
  }
  return std::string(all->get_array()[0].get_string());
}

// "Org/internlm-chat-7b", "/models/internlm-chat-7b/": the last part; a GGUF's own name in addition.
std::string NameOf(const formats::Checkpoint& checkpoint, std::string name) {
  while (name.size() > 1 && name.back() == '/') name.pop_back();
  name = name.substr(name.rfind('/') + 1);
  if (checkpoint.kind() != formats::CheckpointKind::kGguf) return name;
  return name + " " + StringMember(checkpoint.config(), "general.name");
}

Result<std::string> NamedTemplate(const std::string& name) {
  if (const auto source = chat::BuiltinTemplate(name)) return std::string(*source);
  std::error_code ignored;
  if (std::filesystem::exists(name, ignored)) return ReadTextFile(name, kMaxTemplateBytes);
  std::string known;
  for (const std::string& builtin : chat::BuiltinTemplateNames()) known += (known.empty() ? "" : ", ") + builtin;
  return InvalidArgument("chat-template {} is neither a file nor one of {}", name, known);
}

// The eos_token of tokenizer_config.json: a string, or an object with its content.
std::string ConfiguredEos(const Vocabulary& vocabulary) {
  if (vocabulary.tokenizer_config_json.empty()) return "";
  const auto json = ParseJson(vocabulary.tokenizer_config_json, "tokenizer_config.json");
  if (!json || !json->is_object()) return "";
  const boost::json::value* eos = json->get_object().if_contains("eos_token");
  if (eos == nullptr) return "";
  if (eos->is_object()) return StringMember(eos->get_object(), "content");
  return eos->is_string() ? std::string(eos->get_string()) : "";
}

bool BeginsWithSystemMessage(const boost::json::array& messages) {
  return !messages.empty() && messages[0].is_object() && StringMember(messages[0].get_object(), "role") == "system";
}

Status NoTemplate() {
  std::string known;
  for (const std::string& builtin : chat::BuiltinTemplateNames()) known += (known.empty() ? "" : ", ") + builtin;
  return InvalidArgument(
      "messages: this is a base model without a chat template. Send a prompt to be completed, or choose a template "
      "with "
      "--chat-template NAME ({}) or FILE",
      known);
}

}  // namespace

Result<std::optional<chat::ChatTemplate>> ChooseTemplate(const formats::Checkpoint& checkpoint,
                                                         const LoadOptions& options) {
  std::string source, origin = checkpoint.path();
  if (!options.chat_template.empty()) {
    INGOT_ASSIGN_OR_RETURN(source, NamedTemplate(options.chat_template));
    origin = options.chat_template;
  } else if (!checkpoint.chat_template().empty()) {
    source = checkpoint.chat_template();
  } else if (const auto guess = chat::GuessTemplate(ArchitectureOf(checkpoint), NameOf(checkpoint, options.model))) {
    source = *guess;
  }
  if (source.empty()) return std::nullopt;
  auto compiled = chat::ChatTemplate::Compile(source, "chat template");  // clients see this name: it is no path
  if (!compiled) return Error(compiled.error().Annotate(origin));
  return std::optional(*std::move(compiled));
}

SpecialTexts SpecialTextsOf(const formats::Checkpoint& checkpoint, const tokenizer::Tokenizer& tokenizer) {
  SpecialTexts special;
  if (tokenizer.bos_id() >= 0) special.bos = tokenizer.IdToToken(tokenizer.bos_id());
  const Vocabulary& vocabulary = checkpoint.vocabulary();
  special.eos = ConfiguredEos(vocabulary);
  if (!special.eos.empty()) return special;
  if (vocabulary.gguf && vocabulary.gguf->eos_id) {
    const int64_t id = *vocabulary.gguf->eos_id;
    if (id >= 0 && id < tokenizer.vocab_size()) special.eos = tokenizer.IdToToken(static_cast<int32_t>(id));
  } else if (!tokenizer.eos_ids().empty()) {
    special.eos = tokenizer.IdToToken(tokenizer.eos_ids().front());
  }
  return special;
}

Result<std::vector<int32_t>> PromptMaker::Ids(const Request& request) const {
  if (!request.token_ids.empty()) return request.token_ids;
  if (request.prompt) {
    return tokenizer.Encode(MarkedText::Trusted(*request.prompt), {.add_special_tokens = request.add_special_tokens});
  }
  INGOT_ASSIGN_OR_RETURN(const MarkedText text, Rendered(request));
  return tokenizer.Encode(text, {.add_special_tokens = false});
}

Result<MarkedText> PromptMaker::Rendered(const Request& request) const {
  if (chat_template == nullptr) return Error(NoTemplate());
  chat::RenderInputs inputs{.messages = request.messages,
                            .tools = request.tools,
                            .kwargs = request.template_kwargs,
                            .add_generation_prompt = request.add_generation_prompt,
                            .continue_final_message = request.continue_final_message,
                            .bos_token = special.bos,
                            .eos_token = special.eos};
  if (!meta_instruction.empty() && !BeginsWithSystemMessage(inputs.messages)) {
    const boost::json::object system = {{"role", "system"}, {"content", meta_instruction}};
    inputs.messages.insert(inputs.messages.begin(), system);
  }
  return chat_template->Render(inputs);
}

namespace {

// The ids of `text` as it stands behind `before`; nullopt where the two have a token in common.
std::optional<std::vector<int32_t>> IdsBehind(const tokenizer::Tokenizer& tokenizer, const std::string& before,
                                              const MarkedText& text) {
  MarkedText whole = MarkedText::Untrusted(before);
  const size_t offset = before.size();
  whole.text += text.text;
  for (const MarkedText::Span& span : text.trusted) whole.trusted.push_back({span.begin + offset, span.end + offset});
  const std::vector<int32_t> head = tokenizer.Encode(MarkedText::Untrusted(before), {.add_special_tokens = false});
  std::vector<int32_t> ids = tokenizer.Encode(whole, {.add_special_tokens = false});
  if (head.size() > ids.size() || !std::equal(head.begin(), head.end(), ids.begin())) return std::nullopt;
  ids.erase(ids.begin(), ids.begin() + std::ssize(head));
  return ids;
}

// Stands for an answer in a rendered conversation. Ends in a letter, which no tokenizer joins with what templates write
// after an answer (spaces, line breaks, special tokens).
constexpr const char* kAnswerMark = "Ingot5answer";

}  // namespace

// What the template puts between two turns does not depend on what was said in them, so it is looked up in a
// conversation of which nothing but the place of the answer is known.
Result<std::vector<int32_t>> PromptMaker::NextTurnIds(const Request& request) const {
  if (!request.token_ids.empty()) return request.token_ids;
  if (request.prompt) {
    const MarkedText text = MarkedText::Trusted(*request.prompt);
    // Behind a line break SentencePiece puts no space before it; tokenizers that join it with one put none anyway.
    if (auto ids = IdsBehind(tokenizer, "\n", text)) return *std::move(ids);
    return tokenizer.Encode(text, {.add_special_tokens = false});
  }
  Request turns = request;
  turns.messages = {{{"role", "user"}, {"content", "."}}, {{"role", "assistant"}, {"content", kAnswerMark}}};
  turns.messages.insert(turns.messages.end(), request.messages.begin(), request.messages.end());
  INGOT_ASSIGN_OR_RETURN(const MarkedText text, Rendered(turns));
  const size_t mark = text.text.find(kAnswerMark);
  if (mark != std::string::npos) {
    const MarkedText added = text.From(mark + std::string_view(kAnswerMark).size());
    if (auto ids = IdsBehind(tokenizer, kAnswerMark, added)) return *std::move(ids);
  }
  return Unsupported(
      "the chat template does not simply append turns; send whole conversations to /v1/chat/completions");
}

}  // namespace ingot::llm
