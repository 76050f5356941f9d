// tokenizer.model files, with what tokenizer_config.json adds to them.
#include <algorithm>
#include <limits>

#include "tokenizer/pipeline.h"
#include "tokenizer/sentencepiece.h"
#include "tokenizer/unigram.h"

namespace ingot::tokenizer {
namespace {

constexpr int32_t kMaxAddedIds = 1 << 16;

// What the files next to tokenizer.model add to its pieces: added_tokens_decoder, else added_tokens.json.
Result<std::vector<AddedToken>> TokensBeside(const Vocabulary& vocabulary, const std::vector<std::string>& pieces) {
  INGOT_ASSIGN_OR_RETURN(const std::vector<AddedToken> configured, ConfiguredTokens(vocabulary));
  std::vector<AddedToken> tokens;
  bool has_decoder = false;
  for (AddedToken token : configured) {
    has_decoder |= token.id >= 0;
    const auto piece = std::ranges::find(pieces, token.content);
    if (token.id < 0 && piece != pieces.end()) token.id = static_cast<int32_t>(piece - pieces.begin());
    token.normalized = false;
    if (token.id >= 0) tokens.push_back(std::move(token));
  }
  if (!has_decoder && !vocabulary.added_tokens_json.empty()) {
    INGOT_ASSIGN_OR_RETURN(const boost::json::value value,
                           ParseJson(vocabulary.added_tokens_json, "added_tokens.json"));
    const JsonView json(value, "added_tokens.json");
    INGOT_ASSIGN_OR_RETURN(const boost::json::object* const object, json.AsObject());
    for (const auto& member : *object) {
      const std::string content = member.key();
      INGOT_ASSIGN_OR_RETURN(const int64_t id, json.Int(content));
      const bool is_named = std::ranges::find(configured, content, &AddedToken::content) != configured.end();
      if (id < 0 || id > std::numeric_limits<int32_t>::max()) return InvalidArgument("{}: {} is no id", content, id);
      tokens.push_back(
          {.id = static_cast<int32_t>(id), .content = content, .special = is_named || IsTurnMarker(content)});
    }
  }
  for (const AddedToken& token : tokens) {
    if (token.id < std::ssize(pieces) + kMaxAddedIds) continue;
    return InvalidArgument("{}: id {} of a vocabulary of {} pieces", token.content, token.id, pieces.size());
  }
  return tokens;
}

// A user-defined piece scores a tenth for each byte but one, which beats its parts: what SentencePiece 0.2.3 does.
std::vector<double> UnigramScores(const SentencePieceModel& model, double& min_score) {
  constexpr float kPerByte = 0.1f;
  float low = std::numeric_limits<float>::max();
  std::vector<double> scores(model.pieces.size(), std::numeric_limits<double>::quiet_NaN());
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    if (model.types[id] == PieceType::kNormal) {
      scores[id] = model.scores[id];
      low = std::min(low, model.scores[id]);
    } else if (model.types[id] == PieceType::kUserDefined) {
      scores[id] =
          static_cast<float>(static_cast<double>(static_cast<float>(model.pieces[id].size()) * kPerByte) - 0.1);
    }
  }
  min_score = low == std::numeric_limits<float>::max() ? 0 : low;
  return scores;
}

std::unique_ptr<Model> MakeModel(const SentencePieceModel& model, const TokenTable* table) {
  if (model.kind == SentencePieceModel::Kind::kBpe) {
    SentencePieceBpeParams params{table, model.scores, model.types, model.byte_fallback, model.unk_id};
    params.scores.resize(table->tokens.size());
    params.types.resize(table->tokens.size(), PieceType::kControl);
    return std::make_unique<SentencePieceBpe>(std::move(params));
  }
  UnigramParams params;
  params.table = table;
  params.scores = UnigramScores(model, params.min_score);
  params.scores.resize(table->tokens.size(), std::numeric_limits<double>::quiet_NaN());
  params.byte_fallback = model.byte_fallback;
  params.unk_id = model.unk_id;
  params.single_precision = true;
  return std::make_unique<UnigramModel>(std::move(params));
}

}  // namespace

DecodePlan SentencePieceDecodePlan(bool strips_leading_space) {
  DecodePlan plan;
  plan.byte_fallback = true;
  plan.strips_leading_space = strips_leading_space;
  plan.steps.push_back([](const std::string& token, bool) {
    std::string text;
    for (size_t at = 0; at < token.size();) {
      const bool space = token.compare(at, 3, "\xE2\x96\x81") == 0;
      text += space ? ' ' : token[at];
      at += space ? 3 : 1;
    }
    return text;
  });
  return plan;
}

Result<Pipeline> ReadSentencePiece(const Vocabulary& vocabulary) {
  INGOT_ASSIGN_OR_RETURN(SentencePieceModel model, ParseSentencePieceModel(vocabulary.sentencepiece_model));
  const int32_t num_pieces = static_cast<int32_t>(model.pieces.size());
  INGOT_ASSIGN_OR_RETURN(std::vector<AddedToken> added, TokensBeside(vocabulary, model.pieces));
  bool legacy = true;
  if (!vocabulary.tokenizer_config_json.empty()) {
    INGOT_ASSIGN_OR_RETURN(const boost::json::value value,
                           ParseJson(vocabulary.tokenizer_config_json, "tokenizer_config.json"));
    const JsonView config(value, "tokenizer_config.json");
    INGOT_ASSIGN_OR_RETURN(legacy, config.Bool("legacy", true));
    INGOT_ASSIGN_OR_RETURN(model.add_dummy_prefix, config.Bool("add_prefix_space", model.add_dummy_prefix));
  }
  std::vector<std::string> spellings = model.pieces;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    // The markers of InternLM's dialogue are user-defined: ordinary text to SentencePiece. Only the template may write
    // them.
    if (model.types[id] == PieceType::kUserDefined && IsTurnMarker(model.pieces[id]))
      model.types[id] = PieceType::kControl;
    if (model.types[id] != PieceType::kControl && model.types[id] != PieceType::kUnknown) continue;
    added.push_back({.id = static_cast<int32_t>(id), .content = model.pieces[id], .special = true});
  }
  for (const AddedToken& token : added) {
    const size_t id = static_cast<size_t>(token.id);
    if (id >= spellings.size()) spellings.resize(id + 1);
    spellings[id] = token.content;
    if (token.special && id < model.types.size() && model.types[id] != PieceType::kUnknown)
      model.types[id] = PieceType::kControl;
  }
  Pipeline pipeline;
  pipeline.table = std::make_unique<TokenTable>(std::move(spellings));
  pipeline.special.resize(pipeline.table->tokens.size());
  for (const AddedToken& token : added) AddToken(pipeline, token);
  SpacingParams spacing;
  INGOT_ASSIGN_OR_RETURN(spacing.charsmap, CharsMap::FromBytes(model.charsmap));
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    if (model.types[id] == PieceType::kUserDefined) spacing.user_defined.Add(model.pieces[id]);
  }
  spacing.add_dummy_prefix = model.add_dummy_prefix;
  spacing.dummy_prefix_at_start_only = !legacy;
  spacing.remove_extra_whitespaces = model.remove_extra_whitespaces;
  spacing.escape_whitespaces = model.escape_whitespaces;
  spacing.whitespace_as_suffix = model.whitespace_as_suffix;
  pipeline.pre_tokenizers.push_back(std::make_unique<SentencePieceNormalizer>(std::move(spacing)));
  pipeline.model = MakeModel(model, pipeline.table.get());
  pipeline.decode = SentencePieceDecodePlan(model.add_dummy_prefix || model.remove_extra_whitespaces);
  pipeline.decode.strips_every_leading_space = model.remove_extra_whitespaces;
  const auto valid = [&](int32_t id) { return id >= 0 && id < num_pieces; };
  if (valid(model.bos_id)) pipeline.bos_id = model.bos_id;
  if (valid(model.eos_id)) pipeline.eos_id = model.eos_id;
  // The Llama family's tokenizers begin a text with BOS unless tokenizer_config.json says otherwise.
  if (pipeline.bos_id >= 0) pipeline.prefix = {pipeline.bos_id};
  return pipeline;
}

}  // namespace ingot::tokenizer
