// What a checkpoint says of its tokenizer, before anyone has made sense of it. formats/ fills it, tokenizer/ and chat/
// read it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ingot {

// The vocabulary of a GGUF file (its tokenizer.ggml.* keys).
struct GgufVocabulary {
  std::string model;                // tokenizer.ggml.model: "gpt2", "llama", …
  std::string pre;                  // tokenizer.ggml.pre: "llama-bpe", "qwen2", "smollm", …; may be empty
  std::vector<std::string> tokens;  // [vocab_size]
  std::vector<float> scores;        // [vocab_size] or empty
  std::vector<int32_t>
      token_types;  // [vocab_size] or empty; 1 normal 2 unknown 3 control 4 user-defined 5 unused 6 byte
  std::vector<std::string> merges;  // "left right", by rank
  std::optional<int64_t> bos_id, eos_id, eot_id, eom_id, unk_id, pad_id;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
};

// Files are given as text, empty where the checkpoint has none. At least one of tokenizer_json, sentencepiece_model and
// gguf is there, in that order of preference.
struct Vocabulary {
  std::string source;                 // the file or folder, for error messages
  std::string tokenizer_json;         // Hugging Face `tokenizers` file
  std::string tokenizer_config_json;  // add_bos_token, eos_token, added_tokens_decoder, …
  std::string special_tokens_map_json;
  std::string sentencepiece_model;  // protobuf bytes of tokenizer.model
  std::string added_tokens_json;    // beside tokenizer.model: {"<|im_start|>": 32000}
  std::optional<GgufVocabulary> gguf;
  std::string model_type;         // config.json's model_type ("llama", "internlm", …); "" if unknown
  std::vector<int64_t> eos_ids;   // from config.json and generation_config.json; the tokenizer adds its own
  std::optional<int64_t> bos_id;  // from config.json
};

}  // namespace ingot
