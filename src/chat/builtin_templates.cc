// Templates for checkpoints that carry none, written from the formats their makers publish.
#include <algorithm>
#include <array>
#include <cctype>

#include "chat/chat_template.h"

namespace ingot::chat {
namespace {

constexpr std::string_view kChatMl = R"jinja(
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{% endif %})jinja";

constexpr std::string_view kQwen = R"jinja(
{%- if not messages or messages[0].role != 'system' %}
{{- '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{% endif %})jinja";

constexpr std::string_view kSmolLm = R"jinja(
{%- if not messages or messages[0].role != 'system' %}
{{- '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{% endif %})jinja";

constexpr std::string_view kInternLm = R"jinja(
{{- bos_token }}
{%- for message in messages %}
{%- if message.role == 'system' %}{{- '<|System|>:' + message.content + '\n' }}
{%- elif message.role == 'assistant' %}{{- '<|Bot|>:' + message.content + '<eoa>\n' }}
{%- else %}{{- '<|User|>:' + message.content + '<eoh>\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|Bot|>:' }}{% endif %})jinja";

constexpr std::string_view kInternLm2 = R"jinja(
{{- bos_token }}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{% endif %})jinja";

constexpr std::string_view kLlama2 = R"jinja(
{%- set ns = namespace(system='') %}
{%- for message in messages %}
{%- if message.role == 'system' %}
{%- set ns.system = '<<SYS>>\n' + message.content + '\n<</SYS>>\n\n' %}
{%- elif message.role == 'assistant' %}
{{- ' ' + message.content | trim + ' ' + eos_token }}
{%- else %}
{{- bos_token + '[INST] ' + ns.system + message.content | trim + ' [/INST]' }}
{%- set ns.system = '' %}
{%- endif %}
{%- endfor %})jinja";

constexpr std::string_view kLlama3 = R"jinja(
{{- bos_token }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %})jinja";

constexpr std::string_view kMistral = R"jinja(
{{- bos_token }}
{%- set ns = namespace(system='') %}
{%- for message in messages %}
{%- if message.role == 'system' %}
{%- set ns.system = message.content + '\n\n' %}
{%- elif message.role == 'assistant' %}
{{- ' ' + message.content | trim + eos_token }}
{%- else %}
{{- '[INST] ' + ns.system + message.content + ' [/INST]' }}
{%- set ns.system = '' %}
{%- endif %}
{%- endfor %})jinja";

constexpr std::string_view kGemma = R"jinja(
{{- bos_token }}
{%- set ns = namespace(system='') %}
{%- for message in messages %}
{%- if message.role == 'system' %}
{%- set ns.system = message.content | trim + '\n\n' %}
{%- else %}
{%- set role = 'model' if message.role == 'assistant' else message.role %}
{{- '<start_of_turn>' + role + '\n' + ns.system + message.content | trim + '<end_of_turn>\n' }}
{%- set ns.system = '' %}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\n' }}{% endif %})jinja";

constexpr std::string_view kVicuna = R"jinja(
{{- bos_token }}
{%- if not messages or messages[0].role != 'system' %}
{{- "A chat between a curious user and an artificial intelligence assistant. " }}
{{- "The assistant gives helpful, detailed, and polite answers to the user's questions. " }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'system' %}{{- message.content + ' ' }}
{%- elif message.role == 'assistant' %}{{- 'ASSISTANT: ' + message.content + eos_token }}
{%- else %}{{- 'USER: ' + message.content + ' ' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- 'ASSISTANT:' }}{% endif %})jinja";

constexpr std::string_view kPhi3 = R"jinja(
{{- bos_token }}
{%- for message in messages %}
{{- '<|' + message.role + '|>\n' + message.content + '<|end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>\n' }}{% endif %})jinja";

constexpr std::string_view kDeepSeek = R"jinja(
{{- bos_token }}
{%- for message in messages %}
{%- if message.role == 'system' %}{{- message.content + '\n\n' }}
{%- elif message.role == 'assistant' %}{{- 'Assistant: ' + message.content + eos_token }}
{%- else %}{{- 'User: ' + message.content + '\n\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- 'Assistant:' }}{% endif %})jinja";

constexpr std::string_view kDeepSeekR1 = R"jinja(
{{- bos_token }}
{%- for message in messages %}
{%- if message.role == 'system' %}{{- message.content }}
{%- elif message.role == 'assistant' %}
{{- '<｜Assistant｜>' + message.content.split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}
{%- else %}{{- '<｜User｜>' + message.content }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<｜Assistant｜>' }}{% endif %})jinja";

constexpr std::string_view kZephyr = R"jinja(
{%- for message in messages %}
{{- '<|' + message.role + '|>\n' + message.content + eos_token + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>\n' }}{% endif %})jinja";

constexpr std::string_view kAlpaca = R"jinja(
{%- if not messages or messages[0].role != 'system' %}
{{- 'Below is an instruction that describes a task. ' }}
{{- 'Write a response that appropriately completes the request.\n\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'system' %}{{- message.content + '\n\n' }}
{%- elif message.role == 'assistant' %}{{- '### Response:\n' + message.content + eos_token + '\n\n' }}
{%- else %}{{- '### Instruction:\n' + message.content + '\n\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '### Response:\n' }}{% endif %})jinja";

constexpr std::string_view kChatGlm3 = R"jinja(
{{- '[gMASK]sop' }}
{%- for message in messages %}
{{- '<|' + message.role + '|>\n ' + message.content }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>' }}{% endif %})jinja";

constexpr std::string_view kBaichuan2 = R"jinja(
{%- for message in messages %}
{%- if message.role == 'system' %}{{- message.content }}
{%- elif message.role == 'assistant' %}{{- '<reserved_107>' + message.content + eos_token }}
{%- else %}{{- '<reserved_106>' + message.content }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<reserved_107>' }}{% endif %})jinja";

constexpr std::string_view kSolar = R"jinja(
{%- for message in messages %}
{{- '### ' + message.role | capitalize + ':\n' + message.content + '\n\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '### Assistant:\n' }}{% endif %})jinja";

constexpr std::string_view kCommandR = R"jinja(
{{- bos_token }}
{%- set names = {'system': 'SYSTEM', 'assistant': 'CHATBOT'} %}
{%- for message in messages %}
{{- '<|START_OF_TURN_TOKEN|><|' + names.get(message.role, 'USER') + '_TOKEN|>' }}
{{- message.content | trim + '<|END_OF_TURN_TOKEN|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %})jinja";

struct Builtin {
  std::string_view name, source;
};
constexpr Builtin kBuiltins[] = {
    {"alpaca", kAlpaca},          {"baichuan2", kBaichuan2}, {"chatglm3", kChatGlm3},
    {"chatml", kChatMl},          {"command-r", kCommandR},  {"deepseek", kDeepSeek},
    {"deepseek-r1", kDeepSeekR1}, {"gemma", kGemma},         {"internlm", kInternLm},
    {"internlm2", kInternLm2},    {"llama2", kLlama2},       {"llama3", kLlama3},
    {"mistral", kMistral},        {"phi3", kPhi3},           {"qwen", kQwen},
    {"smollm", kSmolLm},          {"solar", kSolar},         {"vicuna", kVicuna},
    {"zephyr", kZephyr},
};

// Names under which users of LMDeploy and others know them.
struct Alias {
  std::string_view alias, name;
};
constexpr Alias kAliases[] = {
    {"baichuan2-7b", "baichuan2"},
    {"chatglm3-6b", "chatglm3"},
    {"codellama", "llama2"},
    {"cogito", "llama3"},
    {"deepseek-chat", "deepseek"},
    {"deepseek-v3", "deepseek-r1"},
    {"gemma2", "gemma"},
    {"gemma3", "gemma"},
    {"internlm-chat", "internlm"},
    {"internlm-chat-7b", "internlm"},
    {"internlm-chat-20b", "internlm"},
    {"internlm-chat-7b-8k", "internlm"},
    {"internlm2-chat", "internlm2"},
    {"internlm2-chat-1_8b", "internlm2"},
    {"internlm2-chat-7b", "internlm2"},
    {"internlm2-chat-20b", "internlm2"},
    {"internlm2_5", "internlm2"},
    {"internlm3", "internlm2"},
    {"llama-2", "llama2"},
    {"llama-2-chat", "llama2"},
    {"llama2-chat", "llama2"},
    {"llama-3", "llama3"},
    {"llama3_1", "llama3"},
    {"llama3_2", "llama3"},
    {"mistral-7b-instruct", "mistral"},
    {"mixtral", "mistral"},
    {"phi-3", "phi3"},
    {"qwen-7b", "qwen"},
    {"qwen-14b", "qwen"},
    {"qwen2", "qwen"},
    {"qwen2.5", "qwen"},
    {"qwen2d5", "qwen"},
    {"qwen3", "chatml"},
    {"smollm2", "smollm"},
    {"solar-70b", "solar"},
    {"tinyllama", "zephyr"},
    {"yi", "chatml"},
    {"yi-chat", "chatml"},
};

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

// The last two components of a path: "InternLM/internlm-chat-7b". What is above them is the user's own.
std::string_view NameOfPath(std::string_view path) {
  while (path.ends_with('/')) path.remove_suffix(1);
  const size_t last = path.rfind('/');
  if (last == path.npos || last == 0) return path;
  const size_t before = path.rfind('/', last - 1);
  return before == path.npos ? path : path.substr(before + 1);
}

// "it" as a word of its own: "gemma-2-2b-it", "gemma-3-4b-it-q4_0.gguf".
bool HasWord(std::string_view text, std::string_view word) {
  for (size_t at = text.find(word); at != text.npos; at = text.find(word, at + 1)) {
    const size_t end = at + word.size();
    const bool starts = at == 0 || !std::isalnum(static_cast<unsigned char>(text[at - 1]));
    if (starts && (end == text.size() || !std::isalnum(static_cast<unsigned char>(text[end])))) return true;
  }
  return false;
}

bool LooksLikeChat(std::string_view name) {
  constexpr std::string_view kMarks[] = {"chat",   "instruct",  "vicuna", "alpaca", "zephyr",
                                         "hermes", "assistant", "-rlhf",  "-dpo"};
  return HasWord(name, "it") || std::any_of(std::begin(kMarks), std::end(kMarks),
                                            [&](std::string_view mark) { return name.find(mark) != name.npos; });
}

// What a name or an architecture has in it; the first match counts.
constexpr Alias kByName[] = {
    {"internlm2", "internlm2"},
    {"internlm3", "internlm2"},
    {"internlm", "internlm"},
    {"vicuna", "vicuna"},
    {"alpaca", "alpaca"},
    {"tinyllama", "zephyr"},
    {"zephyr", "zephyr"},
    {"hermes", "chatml"},
    {"deepseek-r1", "deepseek-r1"},
    {"deepseek-v3", "deepseek-r1"},
    {"deepseek", "deepseek"},
    {"smollm", "smollm"},
    {"codellama", "llama2"},
    {"llama-3", "llama3"},
    {"llama3", "llama3"},
    {"llama-2", "llama2"},
    {"llama2", "llama2"},
    {"mixtral", "mistral"},
    {"mistral", "mistral"},
    {"qwen3", "chatml"},
    {"qwen", "qwen"},
    {"gemma", "gemma"},
    {"phi-3", "phi3"},
    {"phi3", "phi3"},
    {"chatglm3", "chatglm3"},
    {"baichuan2", "baichuan2"},
    {"solar", "solar"},
    {"yi-", "chatml"},
    {"command-r", "command-r"},
    {"cohere", "command-r"},
    {"deepseek_v3", "deepseek-r1"},
    {"llama", "llama2"},
};

}  // namespace

std::vector<std::string> BuiltinTemplateNames() {
  std::vector<std::string> names;
  for (const Builtin& builtin : kBuiltins) names.emplace_back(builtin.name);
  return names;
}

std::optional<std::string_view> BuiltinTemplate(std::string_view name) {
  const std::string lower = Lower(name);
  std::string_view wanted = lower;
  for (const Alias& alias : kAliases) {
    if (alias.alias == lower) wanted = alias.name;
  }
  for (const Builtin& builtin : kBuiltins) {
    if (builtin.name == wanted) return builtin.source;
  }
  return std::nullopt;
}

std::optional<std::string_view> GuessTemplate(std::string_view architecture, std::string_view model_name) {
  const std::string name = Lower(NameOfPath(model_name));
  if (!LooksLikeChat(name)) return std::nullopt;
  for (const std::string& text : {name, Lower(architecture)}) {
    for (const Alias& each : kByName) {
      if (text.find(each.alias) != std::string::npos) return BuiltinTemplate(each.name);
    }
  }
  return std::nullopt;
}

}  // namespace ingot::chat
