#include "tokenizer/tokenizer.h"

#include "text/utf8.h"
#include "tokenizer/pipeline.h"

namespace ingot::tokenizer {
namespace {

Result<Pipeline> ReadAny(const Vocabulary& vocabulary) {
  if (!vocabulary.tokenizer_json.empty()) return ReadTokenizerJson(vocabulary);
  if (!vocabulary.sentencepiece_model.empty()) return ReadSentencePiece(vocabulary);
  if (vocabulary.gguf) return ReadGgufVocabulary(vocabulary);
  return NotFound("no tokenizer.json, no tokenizer.model and no GGUF vocabulary");
}

Result<std::unique_ptr<Tokenizer>> CreateTokenizer(const Vocabulary& vocabulary) {
  INGOT_ASSIGN_OR_RETURN(Pipeline pipeline, ReadAny(vocabulary));
  INGOT_RETURN_IF_ERROR(ApplyConfig(vocabulary, pipeline));
  return std::make_unique<PipelineTokenizer>(std::move(pipeline));
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::Create(const Vocabulary& vocabulary) {
  Result<std::unique_ptr<Tokenizer>> result = CreateTokenizer(vocabulary);
  if (!result && !vocabulary.source.empty()) return Error(result.error().Annotate(vocabulary.source));
  return result;
}

std::vector<int32_t> Tokenizer::Encode(std::string text, const EncodeOptions& options) const {
  return Encode(MarkedText::Trusted(std::move(text)), options);
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  IncrementalDecoder decoder(*this, skip_special_tokens);
  std::string text;
  for (const int32_t id : ids) text += decoder.Push(id);
  return text + decoder.Finish();
}

std::string IncrementalDecoder::Push(int32_t id) {
  if (id < 0 || id >= tokenizer_->vocab_size() || (skip_special_tokens_ && tokenizer_->IsSpecial(id))) return "";
  held_ += first_token_ ? tokenizer_->FirstTokenBytes(id) : tokenizer_->TokenBytes(id);
  first_token_ = false;
  if (held_.empty()) return "";
  if (at_start_ && tokenizer_->strips_leading_space() && held_[0] == ' ') {
    held_.erase(0, 1);
    at_start_ = held_.empty() && tokenizer_->strips_every_leading_space();
  } else {
    at_start_ = false;
  }
  const size_t tail = IncompleteTail(held_);
  const std::string text =
      ReplaceInvalidUtf8(std::string_view(held_).substr(0, held_.size() - tail), tokenizer_->replaces_each_byte());
  held_.erase(0, held_.size() - tail);
  return text;
}

std::string IncrementalDecoder::Finish() {
  const std::string text = ReplaceInvalidUtf8(held_, tokenizer_->replaces_each_byte());
  held_.clear();
  return text;
}

}  // namespace ingot::tokenizer
