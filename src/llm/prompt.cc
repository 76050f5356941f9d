#include "llm/prompt.h"

#include <filesystem>

#include "base/json.h"
#include "base/mapped_file.h"

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

// "Org/internlm-chat-7b", "/models/internlm-chat-7b/": the last part; a GGUF's own name beside it.
std::string NameOf(const formats::Checkpoint& checkpoint, std::string name) {
  while (name.size() > 1 && name.back() == '/') name.pop_back();
  name = name.substr(name.rfind('/') + 1);
  if (checkpoint.kind() != formats::CheckpointKind::kGguf) return name;
  return name + " " + StringMember(checkpoint.config(), "general.name");
}

Result<std::string> NamedTemplate(const std::string& name) {
  if (const auto source = chat::BuiltinTemplate(name)) return std::string(*source);
  std::error_code ignored;
  if (std::filesystem::exists(name, ignored)) return ReadFile(name, kMaxTemplateBytes);
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
  INGOT_ASSIGN_OR_RETURN(const MarkedText text, chat_template->Render(inputs));
  return tokenizer.Encode(text, {.add_special_tokens = false});
}

}  // namespace ingot::llm
