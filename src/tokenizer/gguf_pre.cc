#include "tokenizer/gguf_pre.h"

#include <algorithm>

#include "tokenizer/splitters.h"

namespace ingot::tokenizer {
namespace {

constexpr std::string_view kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kKimiPattern =
    R"([\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kCjkPattern = "[一-龥ࠀ-一가-퟿]+";

const std::vector<GgufPre>& GgufPres() {
  static const std::vector<GgufPre> kinds = {
      {"gpt-2 gpt2 phi-2 mpt olmo jais trillion granite-docling exaone4", {kGpt2Pattern}},
      {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2", {kLlama3Pattern}, false, true, true},
      {"dbrx smaug-bpe glm4 chatglm-bpe", {kLlama3Pattern}},
      {"qwen2 deepseek-r1-qwen megrez", {kQwen2Pattern}, true},
      {"stablelm2 hunyuan solar-open", {kQwen2Pattern}},
      {"qwen35", {kQwen35Pattern}, true},
      {"gpt-4o llama4 kanana2", {kO200kPattern}},
      {"tekken", {kTekkenPattern}, false, true, true},
      {"kimi-k2", {kKimiPattern}},
      {"smollm starcoder refact command-r codeshell exaone minerva-7b", {kDigitPattern, kGpt2Pattern}},
      {"deepseek-v3 hunyuan-dense joyai-llm", {kDeepSeek3NumberPattern, kDeepSeek3HanPattern, kDeepSeek3Pattern}},
      {"deepseek-coder", {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kCjkPattern, kDigitPattern}},
      {"deepseek-llm",
       {R"([\r\n])", R"(\s?[\p{Lu}\p{Ll}\p{Lt}]+)", R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)", R"(\s+$)", kCjkPattern,
        kDigitPattern}},
      {"falcon", {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2Pattern, "[0-9][0-9][0-9]"}},
      {"default",
       {R"([\p{P}\$\+<=>\^~\|]+)", R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))",
        R"(\p{N}+)", "[0-9][0-9][0-9]"}},
  };
  return kinds;
}

}  // namespace

const GgufPre* FindGgufPre(std::string_view name) {
  for (const GgufPre& kind : GgufPres()) {
    for (size_t begin = 0; begin < kind.names.size();) {
      const size_t end = std::min(kind.names.find(' ', begin), kind.names.size());
      if (kind.names.substr(begin, end - begin) == name) return &kind;
      begin = end + 1;
    }
  }
  return nullptr;
}

std::string KnownGgufPres() {
  std::string names;
  for (const GgufPre& kind : GgufPres()) {
    names += (names.empty() ? "" : ", ") + std::string(kind.names.substr(0, kind.names.find(' ')));
  }
  return names;
}

std::string GgufPreName(const std::vector<std::string>& patterns, bool nfc, bool ignore_merges) {
  for (const GgufPre& kind : GgufPres()) {
    const bool same = std::equal(patterns.begin(), patterns.end(), kind.patterns.begin(), kind.patterns.end());
    if (same && kind.nfc == nfc && kind.ignore_merges == ignore_merges)
      return std::string(kind.names.substr(0, kind.names.find(' ')));
  }
  return "";
}

}  // namespace ingot::tokenizer
