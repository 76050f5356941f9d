#include "tokenizer/pipeline.h"

#include "text/utf8.h"

namespace ingot::tokenizer {

PipelineTokenizer::PipelineTokenizer(Pipeline pipeline) : pipeline_(std::move(pipeline)) {
  text_.reserve(pipeline_.table->tokens.size());
  for (int32_t id = 0; id < vocab_size(); ++id) {
    const std::string& token = DecodedAs(id);
    text_.push_back(token.empty() ? "" : pipeline_.decode.TokenText(token, false));
  }
}

const std::string& PipelineTokenizer::DecodedAs(int32_t id) const {
  const auto found = pipeline_.decoded_as.find(id);
  return found == pipeline_.decoded_as.end() ? pipeline_.table->tokens[static_cast<size_t>(id)] : found->second;
}

std::string PipelineTokenizer::FirstTokenBytes(int32_t id) const {
  if (!pipeline_.decode.first_differs || !Holds(id)) return TokenBytes(id);
  return pipeline_.decode.TokenText(DecodedAs(id), true);
}

bool PipelineTokenizer::adds_bos() const {
  return !pipeline_.prefix.empty() && pipeline_.prefix[0] == pipeline_.bos_id;
}

void PipelineTokenizer::EncodeText(std::string_view text, bool at_start, std::vector<int32_t>& ids) const {
  RunPreTokenizers(pipeline_.pre_tokenizers, 0, text, at_start,
                   [&](std::string_view piece, bool) { pipeline_.model->Encode(piece, ids); });
}

std::vector<int32_t> PipelineTokenizer::Encode(const MarkedText& text, const EncodeOptions& options) const {
  if (!pipeline_.keeps_invalid_bytes && !IsValidUtf8(text.text)) return Encode(MakeValid(text), options);
  std::vector<int32_t> ids;
  ids.reserve(text.text.size() / 4 + 8);
  if (options.add_special_tokens) ids = pipeline_.prefix;
  const size_t prefix_size = ids.size();
  const bool plain = pipeline_.normalizers.empty() && pipeline_.added_normalized.empty();
  for (const TokenOrText& part : pipeline_.added.Split(text.text, text.trusted)) {
    if (part.id >= 0) {
      ids.push_back(part.id);
      continue;
    }
    const bool at_start = part.begin == 0;
    if (plain) {
      EncodeText(std::string_view(text.text).substr(part.begin, part.end - part.begin), at_start, ids);
      continue;
    }
    MarkedText piece = Slice(text, part.begin, part.end);
    Apply(pipeline_.normalizers, piece);
    for (const TokenOrText& inner : pipeline_.added_normalized.Split(piece.text, piece.trusted)) {
      if (inner.id >= 0) {
        ids.push_back(inner.id);
      } else {
        EncodeText(std::string_view(piece.text).substr(inner.begin, inner.end - inner.begin),
                   at_start && inner.begin == 0, ids);
      }
    }
  }
  // A text that brings its own BOS gets no second one.
  if (prefix_size > 0 && ids.size() > prefix_size && ids[0] == pipeline_.bos_id &&
      ids[prefix_size] == pipeline_.bos_id) {
    ids.erase(ids.begin());
  }
  if (options.add_special_tokens) ids.insert(ids.end(), pipeline_.suffix.begin(), pipeline_.suffix.end());
  return ids;
}

void AddToken(Pipeline& pipeline, const AddedToken& token) {
  const size_t id = static_cast<size_t>(token.id);
  if (pipeline.special.size() < pipeline.table->tokens.size()) pipeline.special.resize(pipeline.table->tokens.size());
  if (token.special) pipeline.special[id] = true;
  if (!token.normalized) {
    pipeline.added.Add(token, token.content);
    return;
  }
  MarkedText content = MarkedText::Trusted(token.content);
  Apply(pipeline.normalizers, content);
  pipeline.added_normalized.Add(token, content.text);
  if (content.text != token.content) pipeline.decoded_as[token.id] = content.text;
}

}  // namespace ingot::tokenizer
