// For tests: an Llm whose tokens are bytes and whose model is a hash.
#pragma once

#include <memory>
#include <string>

#include "engine/fake_model.h"
#include "formats/checkpoint_in_memory.h"
#include "llm/llm_impl.h"

namespace ingot::llm {

// Ids 0…255 are bytes; 256 is BOS, 257 EOS, 258 <|user|>, 259 <|assistant|>: special.
class ByteTokenizer : public tokenizer::Tokenizer {
 public:
  static constexpr int32_t kBos = 256, kEos = 257, kUser = 258, kAssistant = 259, kVocab = 260;

  std::vector<int32_t> Encode(const MarkedText& text, const tokenizer::EncodeOptions& options) const override {
    std::vector<int32_t> ids;
    if (options.add_special_tokens && adds_bos()) ids.push_back(kBos);
    for (size_t at = 0; at < text.text.size();) {
      const int32_t special = SpecialAt(text, at);
      ids.push_back(special >= 0 ? special : static_cast<uint8_t>(text.text[at]));
      at += special >= 0 ? IdToToken(special).size() : 1;
    }
    return ids;
  }
  std::string TokenBytes(int32_t id) const override {
    return id < 256 ? std::string(1, static_cast<char>(id)) : IdToToken(id);
  }
  int32_t vocab_size() const override { return kVocab; }
  bool IsSpecial(int32_t id) const override { return id >= 256; }
  int32_t TokenToId(std::string_view token) const override {
    for (int32_t id = kBos; id < kVocab; ++id) {
      if (IdToToken(id) == token) return id;
    }
    return -1;
  }
  std::string IdToToken(int32_t id) const override {
    constexpr const char* kNames[] = {"<s>", "</s>", "<|user|>", "<|assistant|>"};
    return id < 256 ? TokenBytes(id) : kNames[id - 256];
  }
  int32_t bos_id() const override { return kBos; }
  bool adds_bos() const override { return true; }
  const std::vector<int32_t>& eos_ids() const override { return eos_; }
  bool strips_leading_space() const override { return false; }

 private:
  int32_t SpecialAt(const MarkedText& text, size_t at) const {
    for (int32_t id = kBos; id < kVocab; ++id) {
      const std::string name = IdToToken(id);
      if (text.text.compare(at, name.size(), name) != 0) continue;
      for (const MarkedText::Span& span : text.trusted) {
        if (span.begin <= at && at + name.size() <= span.end) return id;
      }
    }
    return -1;
  }
  std::vector<int32_t> eos_ = {kEos};
};

inline constexpr const char* kFakeTemplate =
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}";

struct FakeLlm {
  std::unique_ptr<Llm> llm;
  engine::FakeModel* model;  // llm's
};

// On the CPU, with half a GiB.
inline LlmParts FakeParts(std::string_view template_source) {
  LlmParts parts;
  parts.checkpoint = std::make_shared<formats::CheckpointInMemory>("fake");
  parts.tokenizer = std::make_unique<ByteTokenizer>();
  if (!template_source.empty()) parts.chat_template = chat::ChatTemplate::Compile(template_source, "fake").value();
  parts.model = std::make_unique<engine::FakeModel>(ByteTokenizer::kVocab);
  parts.backend = ops::MakeCpuBackend(1);
  parts.memory = [] { return MemoryAllowance{.total_bytes = int64_t{1} << 30, .available_bytes = int64_t{1} << 29}; };
  return parts;
}

inline LoadOptions FakeOptions(LoadOptions options) {
  options.model = "fake";
  if (options.num_threads == 0) options.num_threads = 1;
  if (options.session_len == 0) options.session_len = 512;
  if (options.max_batch_size == 0) options.max_batch_size = 4;
  options.kv_cache_bytes = int64_t{4} << 20;
  return options;
}

inline FakeLlm MakeFakeLlm(bool with_template = true, LoadOptions options = {},
                           std::string_view source = kFakeTemplate) {
  options = FakeOptions(options);
  LlmParts parts = FakeParts(with_template ? source : "");
  if (options.num_threads > 1) parts.backend = ops::MakeCpuBackend(options.num_threads);
  auto* const model = static_cast<engine::FakeModel*>(parts.model.get());
  auto llm = MakeLlm(std::move(parts), options);
  INGOT_CHECK(llm.has_value());
  return {*std::move(llm), model};
}

}  // namespace ingot::llm
