// tokenizer.json.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/log.h"
#include "tokenizer/bpe.h"
#include "tokenizer/pipeline.h"
#include "tokenizer/unigram.h"

namespace ingot::tokenizer {
namespace {

// Ids may leave holes (fine-tuned files do), but a file must not make us allocate what it does not contain.
constexpr int64_t kMaxHoles = int64_t{1} << 20;

Status CheckId(const JsonView& json, int64_t id, int64_t num_tokens) {
  if (id >= 0 && id < num_tokens + kMaxHoles) return {};
  return InvalidArgument("{}: id {} of a vocabulary of {} tokens", json.path(), id, num_tokens);
}

void Place(std::vector<std::string>& spellings, int64_t id, std::string_view token) {
  const size_t index = static_cast<size_t>(id);
  if (index >= spellings.size()) spellings.resize(index + 1);
  spellings[index] = token;
}

Result<std::vector<AddedToken>> ParseAddedTokens(const JsonView& root) {
  std::vector<AddedToken> tokens;
  const std::optional<JsonView> list = root.Find("added_tokens");
  if (!list) return tokens;
  INGOT_ASSIGN_OR_RETURN(const boost::json::array* const array, list->AsArray());
  for (size_t i = 0; i < array->size(); ++i) {
    const JsonView json = list->At(i);
    INGOT_ASSIGN_OR_RETURN(AddedToken token, ParseAddedToken(json));
    INGOT_ASSIGN_OR_RETURN(const int64_t id, json.Int("id"));
    INGOT_RETURN_IF_ERROR(CheckId(json, id, std::numeric_limits<int32_t>::max() - kMaxHoles));
    token.id = static_cast<int32_t>(id);
    if (!token.content.empty()) tokens.push_back(std::move(token));
  }
  return tokens;
}

// The score as the Rust library reads it from its shortest form: all digits as one number, then one division or product
// by a power of ten, which may miss the nearest double by a unit in the last place. Segmentations whose probabilities
// tie are distinguished by that unit.
double AsRustReads(double score) {
  char text[32];
  const char* const end = std::to_chars(text, text + sizeof(text), std::abs(score), std::chars_format::scientific).ptr;
  const char* const e = std::find(static_cast<const char*>(text), end, 'e');
  uint64_t digits = 0;
  int exponent = 0;
  for (const char* c = text; c != e; ++c) {
    if (*c == '.') continue;
    digits = digits * 10 + static_cast<uint64_t>(*c - '0');
    if (c > text) --exponent;
  }
  int written = 0;
  std::from_chars(e + 1 + (e[1] == '+' ? 1 : 0), end, written);
  exponent += written;
  double power = 1;
  const std::string power_text = fmt::format("1e{}", std::abs(exponent));
  std::from_chars(power_text.data(), power_text.data() + power_text.size(), power);
  if (!std::isfinite(score) || !std::isfinite(power) || std::abs(exponent) > 308) return score;
  const double value = exponent < 0 ? static_cast<double>(digits) / power : static_cast<double>(digits) * power;
  return std::signbit(score) ? -value : value;
}

// {"token": id} of BPE, or [["token", score]] of Unigram.
Result<std::vector<std::string>> ParseVocab(const JsonView& model, size_t num_added, std::vector<double>* scores) {
  std::vector<std::string> spellings;
  INGOT_ASSIGN_OR_RETURN(const JsonView vocab, model.Get("vocab"));
  if (scores != nullptr) {
    INGOT_ASSIGN_OR_RETURN(const boost::json::array* const array, vocab.AsArray());
    for (size_t i = 0; i < array->size(); ++i) {
      const JsonView entry = vocab.At(i);
      INGOT_ASSIGN_OR_RETURN(const boost::json::array* const pair, entry.AsArray());
      if (pair->size() != 2)
        return InvalidArgument("{}: {} members instead of a token and its score", entry.path(), pair->size());
      INGOT_ASSIGN_OR_RETURN(std::string token, entry.At(0).AsString());
      INGOT_ASSIGN_OR_RETURN(const double score, entry.At(1).AsDouble());
      spellings.push_back(std::move(token));
      scores->push_back(AsRustReads(score));
    }
    return spellings;
  }
  INGOT_ASSIGN_OR_RETURN(const boost::json::object* const object, vocab.AsObject());
  const int64_t num_tokens = static_cast<int64_t>(object->size() + num_added);
  spellings.resize(object->size());
  for (const auto& [token, value] : *object) {
    if (!value.is_int64())
      return InvalidArgument("{}: the id of \"{}\" is no integer", vocab.path(), std::string_view(token));
    INGOT_RETURN_IF_ERROR(CheckId(vocab, value.get_int64(), num_tokens));
    Place(spellings, value.get_int64(), token);
  }
  return spellings;
}

// "a b", or ["a", "b"] where the parts may hold spaces themselves.
Result<std::vector<std::pair<std::string, std::string>>> ParseMerges(const JsonView& model) {
  INGOT_ASSIGN_OR_RETURN(const JsonView list, model.Get("merges"));
  INGOT_ASSIGN_OR_RETURN(const boost::json::array* const array, list.AsArray());
  std::vector<std::pair<std::string, std::string>> merges;
  merges.reserve(array->size());
  for (size_t i = 0; i < array->size(); ++i) {
    const boost::json::value& value = (*array)[i];
    if (value.is_string()) {
      const std::string_view merge = value.get_string();
      const size_t space = merge.find(' ');
      if (space == std::string_view::npos || merge.find(' ', space + 1) != std::string_view::npos) {
        return InvalidArgument("{}[{}]: \"{}\" is not two tokens with a space between them", list.path(), i, merge);
      }
      merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
      continue;
    }
    const JsonView entry = list.At(i);
    INGOT_ASSIGN_OR_RETURN(const boost::json::array* const pair, entry.AsArray());
    if (pair->size() != 2) return InvalidArgument("{}: {} members instead of two tokens", entry.path(), pair->size());
    INGOT_ASSIGN_OR_RETURN(std::string left, entry.At(0).AsString());
    INGOT_ASSIGN_OR_RETURN(std::string right, entry.At(1).AsString());
    merges.emplace_back(std::move(left), std::move(right));
  }
  return merges;
}

Status ReadBpe(const JsonView& model, bool byte_level, std::vector<bool> excluded, Pipeline& pipeline) {
  for (const char* const field : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    INGOT_ASSIGN_OR_RETURN(const std::string value, model.String(field, ""));
    if (!value.empty()) return Unsupported("{}: {} \"{}\"", model.path(), field, value);
  }
  BpeParams params;
  params.table = pipeline.table.get();
  params.byte_level = byte_level;
  params.excluded = std::move(excluded);
  INGOT_ASSIGN_OR_RETURN(params.byte_fallback, model.Bool("byte_fallback", false));
  INGOT_ASSIGN_OR_RETURN(params.fuse_unk, model.Bool("fuse_unk", false));
  INGOT_ASSIGN_OR_RETURN(params.ignore_merges, model.Bool("ignore_merges", false));
  INGOT_ASSIGN_OR_RETURN(const std::string unk_token, model.String("unk_token", ""));
  if (!unk_token.empty()) params.unk_id = pipeline.table->Find(unk_token);
  INGOT_ASSIGN_OR_RETURN(params.merges, ParseMerges(model));
  Result<std::unique_ptr<BpeModel>> bpe = BpeModel::Create(std::move(params));
  if (!bpe) return bpe.error().Annotate(model.path());
  pipeline.model = *std::move(bpe);
  return {};
}

Status ReadUnigram(const JsonView& model, bool byte_level, std::vector<double> scores,
                   const std::vector<bool>& excluded, Pipeline& pipeline) {
  if (byte_level) return Unsupported("{}: Unigram after a ByteLevel pre-tokenizer", model.path());
  if (scores.empty()) return InvalidArgument("{}: vocab is empty", model.path());
  UnigramParams params;
  params.table = pipeline.table.get();
  params.min_score = *std::min_element(scores.begin(), scores.end());
  params.scores = std::move(scores);
  params.scores.resize(pipeline.table->tokens.size(), std::numeric_limits<double>::quiet_NaN());
  for (size_t id = 0; id < excluded.size(); ++id) {
    if (excluded[id]) params.scores[id] = std::numeric_limits<double>::quiet_NaN();
  }
  INGOT_ASSIGN_OR_RETURN(const int64_t unk_id, model.Int("unk_id", -1));
  if (unk_id >= static_cast<int64_t>(params.scores.size()))
    return InvalidArgument("{}: unk_id {} of {} tokens", model.path(), unk_id, params.scores.size());
  params.unk_id = unk_id < 0 ? -1 : static_cast<int32_t>(unk_id);
  INGOT_ASSIGN_OR_RETURN(params.byte_fallback, model.Bool("byte_fallback", false));
  pipeline.model = std::make_unique<UnigramModel>(std::move(params));
  return {};
}

// What the configuration says of added tokens counts more than tokenizer.json, as in transformers, which gives tokens
// that are only there the ids that come next.   spellings: the model's
void AddConfigured(const std::vector<AddedToken>& configured, const std::vector<std::string>& spellings,
                   std::vector<AddedToken>* added) {
  TokenIds ids;
  for (size_t id = 0; id < spellings.size() && !configured.empty(); ++id) {
    ids.try_emplace(spellings[id], static_cast<int32_t>(id));
  }
  auto next = static_cast<int32_t>(spellings.size());
  for (const AddedToken& token : *added) next = std::max(next, token.id + 1);
  for (AddedToken token : configured) {
    const auto known = std::ranges::find(*added, token.content, &AddedToken::content);
    const bool is_named = token.id < 0;
    if (known != added->end()) {
      token.id = known->id;
      if (!is_named) *known = std::move(token);
      continue;
    }
    const int32_t stated = token.id, own = FindToken(ids, token.content);
    if (own < 0 && is_named) continue;
    token.id = own >= 0 ? own : next++;
    if (stated >= 0 && stated != token.id) {
      Log(LogLevel::kWarning,
          "tokenizer_config.json: added_tokens_decoder.{}: \"{}\" gets the id {}, as in transformers", stated,
          token.content, token.id);
    }
    added->push_back(std::move(token));
  }
}

Status ReadModel(const JsonView& root, const std::vector<AddedToken>& configured, bool byte_level,
                 std::vector<AddedToken>* added, Pipeline& pipeline) {
  INGOT_ASSIGN_OR_RETURN(const JsonView model, root.Get("model"));
  const bool has_merges = model.Find("merges").has_value();
  INGOT_ASSIGN_OR_RETURN(const std::string type, model.String("type", has_merges ? "BPE" : "Unigram"));
  if (type != "BPE" && type != "Unigram") return Unsupported("{}: {}", model.path(), type);
  std::vector<double> scores;
  INGOT_ASSIGN_OR_RETURN(std::vector<std::string> spellings,
                         ParseVocab(model, added->size(), type == "Unigram" ? &scores : nullptr));
  AddConfigured(configured, spellings, added);
  const int64_t num_tokens = static_cast<int64_t>(spellings.size() + added->size());
  std::vector<bool> excluded(spellings.size());
  for (const AddedToken& token : *added) {
    INGOT_RETURN_IF_ERROR(CheckId(root, token.id, num_tokens));
    const size_t id = static_cast<size_t>(token.id);
    if (id >= excluded.size()) excluded.resize(std::max(id + 1, spellings.size()));
    // Not among the model's own: the model cannot produce it. Nor may it produce what only the template may write.
    if (token.special || id >= spellings.size() || spellings[id] != token.content) excluded[id] = true;
    Place(spellings, token.id, token.content);
  }
  excluded.resize(spellings.size());
  pipeline.table = std::make_unique<TokenTable>(std::move(spellings));
  if (type == "BPE") return ReadBpe(model, byte_level, std::move(excluded), pipeline);
  return ReadUnigram(model, byte_level, std::move(scores), excluded, pipeline);
}

// The ids that a name in a template stands for.
Result<std::vector<int32_t>> TemplateIds(const JsonView& processor, const std::string& name, const Pipeline& pipeline) {
  std::vector<int32_t> ids;
  const std::optional<JsonView> names = processor.Find("special_tokens");
  const std::optional<JsonView> entry = names ? names->Find(name) : std::nullopt;
  if (!entry) return InvalidArgument("{}: special_tokens has no \"{}\"", processor.path(), name);
  INGOT_ASSIGN_OR_RETURN(const JsonView list, entry->Get("ids"));
  INGOT_ASSIGN_OR_RETURN(const boost::json::array* const array, list.AsArray());
  for (size_t i = 0; i < array->size(); ++i) {
    INGOT_ASSIGN_OR_RETURN(const int64_t id, list.At(i).AsInt());
    if (id < 0 || id >= static_cast<int64_t>(pipeline.table->tokens.size())) {
      return InvalidArgument("{}: id {} of {} tokens", list.path(), id, pipeline.table->tokens.size());
    }
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

Status ParseTemplate(const JsonView& json, Pipeline& pipeline) {
  INGOT_ASSIGN_OR_RETURN(const JsonView list, json.Get("single"));
  INGOT_ASSIGN_OR_RETURN(const boost::json::array* const array, list.AsArray());
  std::vector<int32_t> prefix, suffix;
  bool after = false;
  for (size_t i = 0; i < array->size(); ++i) {
    const JsonView entry = list.At(i);
    if (entry.Find("Sequence")) {
      if (after) return Unsupported("{}: the text twice", list.path());
      after = true;
      continue;
    }
    INGOT_ASSIGN_OR_RETURN(const JsonView token, entry.Get("SpecialToken"));
    INGOT_ASSIGN_OR_RETURN(const std::string name, token.String("id"));
    INGOT_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, TemplateIds(json, name, pipeline));
    std::vector<int32_t>& side = after ? suffix : prefix;
    side.insert(side.end(), ids.begin(), ids.end());
  }
  pipeline.prefix.insert(pipeline.prefix.begin(), prefix.begin(), prefix.end());
  pipeline.suffix.insert(pipeline.suffix.end(), suffix.begin(), suffix.end());
  return {};
}

// ["</s>", 2] of RobertaProcessing and BertProcessing.
Result<int32_t> ParseNamedId(const JsonView& json, const char* field, const Pipeline& pipeline) {
  INGOT_ASSIGN_OR_RETURN(const JsonView pair, json.Get(field));
  INGOT_ASSIGN_OR_RETURN(const boost::json::array* const array, pair.AsArray());
  if (array->size() != 2) return InvalidArgument("{}: not a token and its id", pair.path());
  INGOT_ASSIGN_OR_RETURN(const int64_t id, pair.At(1).AsInt());
  if (id < 0 || id >= static_cast<int64_t>(pipeline.table->tokens.size())) {
    return InvalidArgument("{}: id {} of {} tokens", pair.path(), id, pipeline.table->tokens.size());
  }
  return static_cast<int32_t>(id);
}

Status ParsePostProcessor(const JsonView& json, Pipeline& pipeline) {
  INGOT_ASSIGN_OR_RETURN(const std::string type, json.String("type"));
  if (type == "ByteLevel") return {};  // only changes offsets
  if (type == "TemplateProcessing") return ParseTemplate(json, pipeline);
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    INGOT_ASSIGN_OR_RETURN(const int32_t cls, ParseNamedId(json, "cls", pipeline));
    INGOT_ASSIGN_OR_RETURN(const int32_t sep, ParseNamedId(json, "sep", pipeline));
    pipeline.prefix.insert(pipeline.prefix.begin(), cls);
    pipeline.suffix.push_back(sep);
    return {};
  }
  if (type == "Sequence") {
    INGOT_ASSIGN_OR_RETURN(const JsonView list, json.Get("processors"));
    INGOT_ASSIGN_OR_RETURN(const boost::json::array* const array, list.AsArray());
    for (size_t i = 0; i < array->size(); ++i) INGOT_RETURN_IF_ERROR(ParsePostProcessor(list.At(i), pipeline));
    return {};
  }
  return Unsupported("{}: post_processor {}", json.path(), type);
}

}  // namespace

Result<Pipeline> ReadTokenizerJson(const Vocabulary& vocabulary) {
  INGOT_ASSIGN_OR_RETURN(const boost::json::value value, ParseJson(vocabulary.tokenizer_json, "tokenizer.json"));
  const JsonView root(value, "tokenizer.json");
  Pipeline pipeline;
  if (const auto normalizer = root.Find("normalizer"))
    INGOT_RETURN_IF_ERROR(ParseNormalizer(*normalizer, pipeline.normalizers));
  bool byte_level = false;
  if (const auto stages = root.Find("pre_tokenizer")) {
    INGOT_RETURN_IF_ERROR(ParsePreTokenizer(*stages, pipeline.pre_tokenizers, byte_level));
  }
  INGOT_ASSIGN_OR_RETURN(std::vector<AddedToken> added, ParseAddedTokens(root));
  INGOT_ASSIGN_OR_RETURN(const std::vector<AddedToken> configured, ConfiguredTokens(vocabulary));
  INGOT_RETURN_IF_ERROR(ReadModel(root, configured, byte_level, &added, pipeline));
  pipeline.special.resize(pipeline.table->tokens.size());
  for (const AddedToken& token : added) AddToken(pipeline, token);
  if (const auto processor = root.Find("post_processor"))
    INGOT_RETURN_IF_ERROR(ParsePostProcessor(*processor, pipeline));
  const std::optional<JsonView> decoder = root.Find("decoder");
  INGOT_ASSIGN_OR_RETURN(pipeline.decode, ParseDecoder(decoder ? &*decoder : nullptr));
  pipeline.keeps_invalid_bytes = byte_level && pipeline.normalizers.empty();
  return pipeline;
}

}  // namespace ingot::tokenizer
