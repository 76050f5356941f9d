#include "models/known_shapes.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "models/spec_internal.h"

namespace ingot::models {
namespace {

// Members of config.json. `more` are those that only this family, or this model, has.
struct Row {
  const char* name;
  const char* model_type;
  int64_t hidden, intermediate, layers, heads, kv_heads, head_dim, vocab, max_position;
  bool tied = false;
  const char* more = "";
};

constexpr const char* kLlama31Rope =
    R"(,"rope_theta":5e5,"rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":8192})";
constexpr const char* kLlama32Rope =
    R"(,"rope_theta":5e5,"rope_scaling":{"rope_type":"llama3","factor":32,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":8192})";
constexpr const char* kMixtral8 =
    R"(,"rope_theta":1e6,"sliding_window":null,"num_local_experts":8,"num_experts_per_tok":2)";
constexpr const char* kGemma3Rope = R"(,"sliding_window":1024,"rope_scaling":{"rope_type":"linear","factor":8})";

// clang-format off
constexpr auto kRows = std::to_array<Row>({
    {"llama-2-7b", "llama", 4096, 11008, 32, 32, 32, 128, 32000, 4096},
    {"llama-2-13b", "llama", 5120, 13824, 40, 40, 40, 128, 32000, 4096},
    {"llama-2-70b", "llama", 8192, 28672, 80, 64, 8, 128, 32000, 4096},
    {"llama-3-8b", "llama", 4096, 14336, 32, 32, 8, 128, 128256, 8192, false, R"(,"rope_theta":5e5)"},
    {"llama-3-70b", "llama", 8192, 28672, 80, 64, 8, 128, 128256, 8192, false, R"(,"rope_theta":5e5)"},
    {"llama-3.1-8b", "llama", 4096, 14336, 32, 32, 8, 128, 128256, 131072, false, kLlama31Rope},
    {"llama-3.1-70b", "llama", 8192, 28672, 80, 64, 8, 128, 128256, 131072, false, kLlama31Rope},
    {"llama-3.1-405b", "llama", 16384, 53248, 126, 128, 8, 128, 128256, 131072, false, kLlama31Rope},
    {"llama-3.2-1b", "llama", 2048, 8192, 16, 32, 8, 64, 128256, 131072, true, kLlama32Rope},
    {"llama-3.2-3b", "llama", 3072, 8192, 28, 24, 8, 128, 128256, 131072, true, kLlama32Rope},
    {"tinyllama-1.1b", "llama", 2048, 5632, 22, 32, 4, 64, 32000, 2048},
    {"smollm2-135m", "llama", 576, 1536, 30, 9, 3, 64, 49152, 8192, true, R"(,"rope_theta":1e5)"},
    {"smollm2-360m", "llama", 960, 2560, 32, 15, 5, 64, 49152, 8192, true, R"(,"rope_theta":1e5)"},
    {"smollm2-1.7b", "llama", 2048, 8192, 24, 32, 32, 64, 49152, 8192, true, R"(,"rope_theta":1.3e5)"},
    {"mistral-7b", "mistral", 4096, 14336, 32, 32, 8, 128, 32000, 32768, false, R"(,"sliding_window":4096)"},
    {"mistral-7b-v0.3", "mistral", 4096, 14336, 32, 32, 8, 128, 32768, 32768, false, R"(,"sliding_window":null,"rope_theta":1e6)"},
    {"mixtral-8x7b", "mixtral", 4096, 14336, 32, 32, 8, 128, 32000, 32768, false, kMixtral8},
    {"mixtral-8x22b", "mixtral", 6144, 16384, 56, 48, 8, 128, 32768, 65536, false, kMixtral8},
    {"qwen2.5-0.5b", "qwen2", 896, 4864, 24, 14, 2, 64, 151936, 32768, true, R"(,"rope_theta":1e6)"},
    {"qwen2.5-1.5b", "qwen2", 1536, 8960, 28, 12, 2, 128, 151936, 32768, true, R"(,"rope_theta":1e6)"},
    {"qwen2.5-3b", "qwen2", 2048, 11008, 36, 16, 2, 128, 151936, 32768, true, R"(,"rope_theta":1e6)"},
    {"qwen2.5-7b", "qwen2", 3584, 18944, 28, 28, 4, 128, 152064, 32768, false, R"(,"rope_theta":1e6)"},
    {"qwen2.5-14b", "qwen2", 5120, 13824, 48, 40, 8, 128, 152064, 32768, false, R"(,"rope_theta":1e6)"},
    {"qwen2.5-32b", "qwen2", 5120, 27648, 64, 40, 8, 128, 152064, 32768, false, R"(,"rope_theta":1e6)"},
    {"qwen2.5-72b", "qwen2", 8192, 29568, 80, 64, 8, 128, 152064, 32768, false, R"(,"rope_theta":1e6)"},
    {"qwen3-0.6b", "qwen3", 1024, 3072, 28, 16, 8, 128, 151936, 40960, true, R"(,"rope_theta":1e6)"},
    {"qwen3-1.7b", "qwen3", 2048, 6144, 28, 16, 8, 128, 151936, 40960, true, R"(,"rope_theta":1e6)"},
    {"qwen3-4b", "qwen3", 2560, 9728, 36, 32, 8, 128, 151936, 40960, true, R"(,"rope_theta":1e6)"},
    {"qwen3-8b", "qwen3", 4096, 12288, 36, 32, 8, 128, 151936, 40960, false, R"(,"rope_theta":1e6)"},
    {"qwen3-14b", "qwen3", 5120, 17408, 40, 40, 8, 128, 151936, 40960, false, R"(,"rope_theta":1e6)"},
    {"qwen3-32b", "qwen3", 5120, 25600, 64, 64, 8, 128, 151936, 40960, false, R"(,"rope_theta":1e6)"},
    {"qwen3-30b-a3b", "qwen3_moe", 2048, 6144, 48, 32, 4, 128, 151936, 40960, false,
     R"(,"rope_theta":1e6,"num_experts":128,"num_experts_per_tok":8,"moe_intermediate_size":768,"norm_topk_prob":true)"},
    {"qwen3-235b-a22b", "qwen3_moe", 4096, 12288, 94, 64, 4, 128, 151936, 40960, false,
     R"(,"rope_theta":1e6,"num_experts":128,"num_experts_per_tok":8,"moe_intermediate_size":1536,"norm_topk_prob":true)"},
    {"gemma-2-2b", "gemma2", 2304, 9216, 26, 8, 4, 256, 256000, 8192, true},
    {"gemma-2-9b", "gemma2", 3584, 14336, 42, 16, 8, 256, 256000, 8192, true},
    {"gemma-2-27b", "gemma2", 4608, 36864, 46, 32, 16, 128, 256000, 8192, true, R"(,"query_pre_attn_scalar":144)"},
    {"gemma-3-1b", "gemma3_text", 1152, 6912, 26, 4, 1, 256, 262144, 32768, true, R"(,"sliding_window":512)"},
    {"gemma-3-4b", "gemma3_text", 2560, 10240, 34, 8, 4, 256, 262208, 131072, true, kGemma3Rope},
    {"gemma-3-12b", "gemma3_text", 3840, 15360, 48, 16, 8, 256, 262208, 131072, true, kGemma3Rope},
    {"gemma-3-27b", "gemma3_text", 5376, 21504, 62, 32, 16, 128, 262208, 131072, true, kGemma3Rope},
    {"phi-3-mini", "phi3", 3072, 8192, 32, 32, 32, 96, 32064, 4096, false, R"(,"sliding_window":2047)"},
    {"phi-4", "phi3", 5120, 17920, 40, 40, 10, 128, 100352, 16384, false, R"(,"sliding_window":null,"rope_theta":2.5e5)"},
    {"internlm-7b", "internlm", 4096, 11008, 32, 32, 32, 128, 103168, 2048, false, R"(,"bias":true)"},
    {"internlm-20b", "internlm", 5120, 13824, 60, 40, 40, 128, 103168, 4096, false, R"(,"bias":false)"},
    {"internlm2-7b", "internlm2", 4096, 14336, 32, 32, 8, 128, 92544, 32768, false, R"(,"bias":false,"rope_theta":1e6)"},
    {"internlm2-20b", "internlm2", 6144, 16384, 48, 48, 8, 128, 92544, 32768, false, R"(,"bias":false,"rope_theta":1e6)"},
});
// clang-format on

std::string ConfigOf(const Row& row) {
  return fmt::format(
      R"({{"model_type":"{}","hidden_size":{},"intermediate_size":{},"num_hidden_layers":{},"num_attention_heads":{},)"
      R"("num_key_value_heads":{},"head_dim":{},"vocab_size":{},"max_position_embeddings":{},"tie_word_embeddings":{}{}}})",
      row.model_type, row.hidden, row.intermediate, row.layers, row.heads, row.kv_heads, row.head_dim, row.vocab,
      row.max_position, row.tied, row.more);
}

}  // namespace

std::string PlainName(std::string_view name) {
  std::string plain;
  for (const char c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      plain += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  return plain;
}

std::vector<std::string> KnownShapeNames() {
  std::vector<std::string> names;
  for (const Row& row : kRows) names.emplace_back(row.name);
  return names;
}

Result<ModelSpec> KnownShape(std::string_view name) {
  const std::string plain = PlainName(name);
  std::vector<std::string> similar;
  for (const Row& row : kRows) {
    const std::string known = PlainName(row.name);
    if (known == plain) return ReadConfigSpec(ConfigOf(row), row.name);
    if (plain.size() >= 3 && known.starts_with(plain.substr(0, 4))) similar.emplace_back(row.name);
  }
  return NotFound("no shape is called {}; known are {}", name,
                  fmt::join(similar.empty() ? KnownShapeNames() : similar, ", "));
}

Result<ModelSpec> ReadConfigSpec(std::string_view text, const std::string& path) {
  INGOT_ASSIGN_OR_RETURN(const boost::json::value config, ParseJson(text, path));
  Result<ModelSpec> spec = ReadHuggingFaceSpec(config);
  if (!spec) return Error(spec.error().Annotate(path));
  return spec;
}

}  // namespace ingot::models
