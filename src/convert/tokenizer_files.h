// A vocabulary, written down: tokenizer.json and its companions for Hugging Face, tokenizer.ggml.* for GGUF.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/vocabulary.h"
#include "formats/writers/gguf_writer.h"
#include "tokenizer/tokenizer.h"

namespace ingot::convert {

// File names and contents. What the checkpoint has in Hugging Face's form is copied; a GGUF vocabulary is written as
// tokenizer.json.
Result<std::vector<std::pair<std::string, std::string>>> HuggingFaceTokenizerFiles(
    const Vocabulary& vocabulary, const tokenizer::Tokenizer& tokenizer, const std::string& chat_template);

// The token that ends a text, of those that end a generation: the one that the tokenizer's files name; -1 if none does.
int32_t MainEos(const Vocabulary& vocabulary, const tokenizer::Tokenizer& tokenizer);

// The token that fills batches up; -1 if the files name none.
int64_t PadId(const Vocabulary& vocabulary, const tokenizer::Tokenizer& tokenizer);

// kUnsupported: a tokenizer that is neither byte-level BPE with a pre-tokenizer that GGUF has a name for nor
// SentencePiece-like. vocab_size: rows of the embedding; ids beyond the tokenizer's get the name [PADid] and the type
// "unused".
Result<formats::GgufMetadata> GgufTokenizerMetadata(const Vocabulary& vocabulary, const tokenizer::Tokenizer& tokenizer,
                                                    const std::string& chat_template, int64_t vocab_size);

}  // namespace ingot::convert
