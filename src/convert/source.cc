#include "convert/source.h"

#include <boost/json/serialize.hpp>
#include <filesystem>

#include "convert/model_config.h"
#include "convert/tokenizer_files.h"
#include "models/model.h"

namespace ingot::convert {
namespace {

namespace fs = std::filesystem;

bool HasVocabulary(const Vocabulary& vocabulary) {
  return !vocabulary.tokenizer_json.empty() || !vocabulary.sentencepiece_model.empty() ||
         (vocabulary.gguf && !vocabulary.gguf->tokens.empty());
}

boost::json::value IdOrNull(int64_t id) { return id < 0 ? boost::json::value(nullptr) : boost::json::value(id); }

// One id as a number, several as a list, as Hugging Face writes them.
boost::json::value OneOrList(const boost::json::array& ids) {
  if (ids.empty()) return nullptr;
  return ids.size() == 1 ? ids.front() : boost::json::value(ids);
}

// The one that a text ends with comes first.
boost::json::array EosIds(const Vocabulary& vocabulary, const tokenizer::Tokenizer& tokenizer) {
  const int32_t main = MainEos(vocabulary, tokenizer);
  boost::json::array ids;
  if (main >= 0) ids.push_back(main);
  for (const int32_t id : tokenizer.eos_ids()) {
    if (id != main) ids.push_back(id);
  }
  return ids;
}

}  // namespace

Result<Source> ReadSource(const formats::Checkpoint& checkpoint) {
  Source source;
  INGOT_ASSIGN_OR_RETURN(source.spec, models::ReadModelSpec(checkpoint));
  INGOT_ASSIGN_OR_RETURN(source.tensors, models::ReadRoles(checkpoint, source.spec));
  if (HasVocabulary(checkpoint.vocabulary())) {
    INGOT_ASSIGN_OR_RETURN(source.tokenizer, tokenizer::Tokenizer::Create(checkpoint.vocabulary()));
  }
  return source;
}

Status RefuseSource(const formats::Checkpoint& checkpoint, const std::string& output) {
  std::vector<std::string> sources = checkpoint.files();
  sources.push_back(checkpoint.path());
  for (const std::string& source : sources) {
    std::error_code error;
    if (fs::equivalent(source, output, error))
      return InvalidArgument("{} is the model that is to be converted; name another output", output);
  }
  return {};
}

Result<GgufHead> MakeGgufHead(const formats::Checkpoint& checkpoint, const Source& source,
                              const std::string& architecture, Encoding encoding) {
  const std::string name = fs::path(checkpoint.path()).lexically_normal().filename().string();
  INGOT_ASSIGN_OR_RETURN(GgufConfig config, MakeGgufConfig(source.spec, architecture, name, encoding));
  INGOT_ASSIGN_OR_RETURN(const auto tokenizer,
                         GgufTokenizerMetadata(checkpoint.vocabulary(), *source.tokenizer, checkpoint.chat_template(),
                                               source.spec.vocab_size));
  GgufHead head{.metadata = std::move(config.metadata), .notices = std::move(config.notices)};
  head.metadata.insert(head.metadata.end(), tokenizer.begin(), tokenizer.end());
  for (auto& [factors_name, factors] : config.rope_factors) {
    const auto size = static_cast<int64_t>(factors.size());
    head.rope_factors.push_back({{factors_name, Encoding::kF32, {size}}, nullptr, std::move(factors), {}});
  }
  return head;
}

const char* TorchName(Encoding encoding) {
  if (encoding == Encoding::kBF16) return "bfloat16";
  return encoding == Encoding::kF32 ? "float32" : "float16";
}

Result<std::vector<std::pair<std::string, std::string>>> HuggingFaceTexts(const formats::Checkpoint& checkpoint,
                                                                          const tokenizer::Tokenizer* tokenizer,
                                                                          boost::json::object config) {
  const Vocabulary& vocabulary = checkpoint.vocabulary();
  // All of them are written, null too: else transformers takes the family's, which a smaller vocabulary lacks.
  boost::json::value bos = IdOrNull(vocabulary.bos_id.value_or(-1)), pad;
  boost::json::array eos(vocabulary.eos_ids.begin(), vocabulary.eos_ids.end());
  std::vector<std::pair<std::string, std::string>> files;
  if (tokenizer != nullptr) {
    bos = IdOrNull(tokenizer->bos_id());
    eos = EosIds(vocabulary, *tokenizer);
    pad = IdOrNull(PadId(vocabulary, *tokenizer));
    INGOT_ASSIGN_OR_RETURN(files, HuggingFaceTokenizerFiles(vocabulary, *tokenizer, checkpoint.chat_template()));
  }
  boost::json::object generation = checkpoint.generation_config();
  config["bos_token_id"] = generation["bos_token_id"] = bos;
  config["eos_token_id"] = generation["eos_token_id"] = OneOrList(eos);
  config["pad_token_id"] = pad;
  files.emplace_back("generation_config.json", boost::json::serialize(generation) + "\n");
  files.emplace_back("config.json", boost::json::serialize(config) + "\n");
  return files;
}

std::vector<std::string> NoticesOf(const formats::Checkpoint& checkpoint, const Source& source) {
  std::vector<std::string> notices;
  if (source.tokenizer == nullptr) notices.push_back("the checkpoint has no tokenizer, so neither has the output");
  if (checkpoint.chat_template().empty())
    notices.push_back("the checkpoint has no chat template, so neither has the output");
  return notices;
}

}  // namespace ingot::convert
