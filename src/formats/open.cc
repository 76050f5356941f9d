// Checkpoint::Open: which files a path stands for, and how they come together.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/json.h"
#include "base/mapped_file.h"
#include "base/text_file.h"
#include "formats/checkpoint.h"
#include "formats/gguf.h"
#include "formats/hf_config.h"
#include "formats/loaded_checkpoint.h"
#include "formats/quantized.h"
#include "formats/safetensors.h"
#include "formats/split_name.h"
#include "formats/torch_file.h"

namespace ingot::formats {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxTextBytes = size_t{256} << 20;  // of a JSON file or a tokenizer
constexpr const char* kReadable = ".safetensors, .bin, .pt, .pth and .gguf files are read";

bool Exists(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);
}

bool IsGguf(std::string_view path) { return path.ends_with(".gguf"); }
bool IsTorch(std::string_view path) {
  return path.ends_with(".bin") || path.ends_with(".pt") || path.ends_with(".pth");
}

// What a clone without Git LFS leaves in place of a large file.
Status RefuseLfsPointer(std::string_view content, const std::string& path) {
  if (!content.starts_with("version https://git-lfs.github.com/spec/")) return {};
  return InvalidArgument("{}: a pointer of Git LFS in place of the file; fetch it (git lfs pull), or download it again",
                         path);
}

Result<MappedFile> MapFile(const std::string& path) {
  INGOT_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  const std::span<const std::byte> bytes = file.bytes();
  INGOT_RETURN_IF_ERROR(RefuseLfsPointer({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path));
  return file;
}

// ReadTextFile, or ReadFile for what is no text.
using Reader = Result<std::string> (*)(const std::string& path, size_t max_bytes);

Result<std::string> ReadWhole(const std::string& path, Reader read = ReadTextFile) {
  INGOT_ASSIGN_OR_RETURN(std::string content, read(path, kMaxTextBytes));
  INGOT_RETURN_IF_ERROR(RefuseLfsPointer(content, path));
  return content;
}

// The content of a file of the directory, empty if there is none.
Status ReadOptional(const std::string& directory, const char* name, std::string* content, Reader read = ReadTextFile) {
  const std::string path = directory + "/" + name;
  if (!Exists(path)) return {};
  INGOT_ASSIGN_OR_RETURN(*content, ReadWhole(path, read));
  return {};
}

Status ReadHfTexts(const std::string& directory, CheckpointParts* parts) {
  HfTexts texts;
  Vocabulary& vocabulary = parts->vocabulary;
  INGOT_RETURN_IF_ERROR(ReadOptional(directory, "config.json", &texts.config));
  INGOT_RETURN_IF_ERROR(ReadOptional(directory, "generation_config.json", &texts.generation_config));
  INGOT_RETURN_IF_ERROR(ReadOptional(directory, "tokenizer_config.json", &texts.tokenizer_config));
  INGOT_RETURN_IF_ERROR(ReadOptional(directory, "chat_template.jinja", &texts.chat_template_jinja));
  INGOT_RETURN_IF_ERROR(ReadOptional(directory, "chat_template.json", &texts.chat_template_json));
  INGOT_RETURN_IF_ERROR(ReadOptional(directory, "tokenizer.json", &vocabulary.tokenizer_json));
  INGOT_RETURN_IF_ERROR(ReadOptional(directory, "special_tokens_map.json", &vocabulary.special_tokens_map_json));
  INGOT_RETURN_IF_ERROR(ReadOptional(directory, "tokenizer.model", &vocabulary.sentencepiece_model, ReadFile));
  INGOT_RETURN_IF_ERROR(ReadOptional(directory, "added_tokens.json", &vocabulary.added_tokens_json));
  INGOT_ASSIGN_OR_RETURN(HfConfig config, ParseHfConfig(texts, directory));
  vocabulary.source = directory;
  vocabulary.tokenizer_config_json = std::move(texts.tokenizer_config);
  vocabulary.model_type = std::move(config.model_type);
  vocabulary.eos_ids = std::move(config.eos_ids);
  vocabulary.bos_id = config.bos_id;
  parts->config = std::move(config.config);
  parts->generation_config = std::move(config.generation_config);
  parts->chat_template = std::move(config.chat_template);
  return {};
}

// Maps a file of weights and adds its tensors.
Status AddFile(const std::string& path, CheckpointParts* parts) {
  INGOT_ASSIGN_OR_RETURN(MappedFile file, MapFile(path));
  auto tensors = IsTorch(path) ? ParseTorch(file.bytes(), path) : ParseSafetensors(file.bytes(), path);
  if (!tensors) return tensors.error();
  for (TensorEntry& tensor : *tensors) {
    tensor.file = static_cast<int>(parts->files.size());
    parts->tensors.push_back(std::move(tensor));
  }
  parts->files.push_back(std::move(file));
  return {};
}

// The files of an index in the order of their names; each tensor that it lists must be in the file that it names.
Status AddShards(const std::string& directory, const std::string& index_path, CheckpointParts* parts) {
  INGOT_ASSIGN_OR_RETURN(const std::string text, ReadWhole(index_path));
  INGOT_ASSIGN_OR_RETURN(auto missing, ParseShardIndex(text, index_path));
  std::map<std::string, size_t> shards;
  for (const auto& [tensor, shard] : missing) shards[shard] = 0;
  for (const auto& [shard, unused] : shards) {
    const size_t first = parts->tensors.size();
    INGOT_RETURN_IF_ERROR(AddFile(directory + "/" + shard, parts));
    for (size_t i = first; i < parts->tensors.size(); ++i) {
      const auto listed = missing.find(parts->tensors[i].name);
      if (listed != missing.end() && listed->second == shard) missing.erase(listed);
    }
  }
  if (missing.empty()) return {};
  return Corrupt("{}: weight_map.{}: {} has no such tensor ({} are missing in all)", index_path, missing.begin()->first,
                 missing.begin()->second, missing.size());
}

// The file of weights or the index of a Hugging Face directory, in order of preference; empty if there is none.
std::string HfWeights(const std::string& directory) {
  for (const char* name :
       {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    std::string path = directory + "/" + name;
    if (Exists(path)) return path;
  }
  return "";
}

Result<std::shared_ptr<const Checkpoint>> OpenHfDirectory(const std::string& directory, const OpenOptions& options) {
  CheckpointParts parts;
  parts.path = directory;
  INGOT_RETURN_IF_ERROR(ReadHfTexts(directory, &parts));
  if (!options.weights) return LoadedCheckpoint::Make(std::move(parts));
  const std::string weights = HfWeights(directory);
  if (weights.empty()) {
    return NotFound(
        "{}: no weights; looked for model.safetensors, model.safetensors.index.json, pytorch_model.bin and "
        "pytorch_model.bin.index.json",
        directory);
  }
  INGOT_RETURN_IF_ERROR(weights.ends_with(".json") ? AddShards(directory, weights, &parts) : AddFile(weights, &parts));
  INGOT_RETURN_IF_ERROR(GatherQuantized(&parts));
  return LoadedCheckpoint::Make(std::move(parts));
}

Result<std::shared_ptr<const Checkpoint>> OpenHfFile(const std::string& path) {
  CheckpointParts parts;
  parts.path = path;
  const std::string parent = fs::path(path).parent_path().string();
  INGOT_RETURN_IF_ERROR(ReadHfTexts(parent.empty() ? "." : parent, &parts));
  INGOT_RETURN_IF_ERROR(AddFile(path, &parts));
  INGOT_RETURN_IF_ERROR(GatherQuantized(&parts));
  return LoadedCheckpoint::Make(std::move(parts));
}

void AddGgufTensors(GgufFile gguf, MappedFile file, CheckpointParts* parts) {
  for (TensorEntry& tensor : gguf.tensors) {
    tensor.file = static_cast<int>(parts->files.size());
    parts->tensors.push_back(std::move(tensor));
  }
  parts->files.push_back(std::move(file));
}

// The other parts of a split model, whose names follow from the first one's.
Status AddSplits(const std::string& path, int64_t count, CheckpointParts* parts) {
  const auto split = ParseSplitName(path);
  if (!split || split->no != 1 || split->count != count) {
    return InvalidArgument("{}: split.count is {}, so the name must end in {}", path, count,
                           SplitName({.prefix = "", .no = 1, .count = count}));
  }
  for (int64_t no = 2; no <= count; ++no) {
    const std::string part_path = SplitName({.prefix = split->prefix, .no = no, .count = count});
    INGOT_ASSIGN_OR_RETURN(MappedFile file, MapFile(part_path));
    INGOT_ASSIGN_OR_RETURN(GgufFile gguf, ParseGguf(file.bytes(), part_path));
    if (gguf.split_no != no - 1 || gguf.split_count != count) {
      return Corrupt("{}: split.no is {} and split.count {}, expected {} and {}", part_path, gguf.split_no,
                     gguf.split_count, no - 1, count);
    }
    AddGgufTensors(std::move(gguf), std::move(file), parts);
  }
  return {};
}

Result<std::shared_ptr<const Checkpoint>> OpenGguf(const std::string& path, const OpenOptions& options) {
  INGOT_ASSIGN_OR_RETURN(MappedFile file, MapFile(path));
  INGOT_ASSIGN_OR_RETURN(GgufFile gguf, ParseGguf(file.bytes(), path));
  if (gguf.split_count < 1 || gguf.split_count > kMaxSplits || gguf.split_no < 0 || gguf.split_no >= gguf.split_count) {
    return Corrupt("{}: split.no is {} and split.count {}, at most {} parts are read", path, gguf.split_no,
                   gguf.split_count, kMaxSplits);
  }
  if (gguf.split_no != 0) {
    return InvalidArgument("{}: part {} of {}; open the first one, …{}", path, gguf.split_no + 1, gguf.split_count,
                           SplitName({.prefix = "", .no = 1, .count = gguf.split_count}));
  }
  CheckpointParts parts;
  parts.kind = CheckpointKind::kGguf;
  parts.path = path;
  parts.config = std::move(gguf.metadata);
  parts.vocabulary = std::move(gguf.vocabulary);
  if (!options.tokenizer_pre.empty() && parts.vocabulary.gguf) parts.vocabulary.gguf->pre = options.tokenizer_pre;
  parts.chat_template = std::move(gguf.chat_template);
  const int64_t split_count = gguf.split_count, split_tensors = gguf.split_tensors;
  AddGgufTensors(std::move(gguf), std::move(file), &parts);
  if (split_count > 1) INGOT_RETURN_IF_ERROR(AddSplits(path, split_count, &parts));
  if (split_count > 1 && split_tensors >= 0 && static_cast<size_t>(split_tensors) != parts.tensors.size()) {
    return Corrupt("{}: split.tensors.count is {}, the parts have {}", path, split_tensors, parts.tensors.size());
  }
  INGOT_RETURN_IF_ERROR(GatherScaled(&parts));
  return LoadedCheckpoint::Make(std::move(parts));
}

bool StartsAsGguf(const std::string& path) {
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof magic);
  return std::string_view(magic, sizeof magic) == "GGUF";
}

Result<std::shared_ptr<const Checkpoint>> OpenDirectory(const std::string& directory, const OpenOptions& options) {
  // Repositories of GGUF files may carry the configuration of the model that they were made from.
  const bool has_config = Exists(directory + "/config.json");
  const bool has_tokenizer = Exists(directory + "/tokenizer.json") || Exists(directory + "/tokenizer.model");
  if (has_config && !HfWeights(directory).empty()) return OpenHfDirectory(directory, options);
  INGOT_ASSIGN_OR_RETURN(const auto models, FindGgufModels(directory));
  if (models.size() == 1) return OpenGguf(models[0], options);
  if (models.empty() && (has_config || (has_tokenizer && !options.weights))) {
    return OpenHfDirectory(directory, options);
  }
  if (models.empty() && Exists(directory + "/triton_models"))
    return InvalidArgument("{}: converted by LMDeploy; give the checkpoint that it was made from", directory);
  if (models.empty()) return NotFound("{}: neither config.json nor a .gguf file", directory);
  return InvalidArgument("{}: holds {} GGUF models; name one: {}", directory, models.size(), fmt::join(models, ", "));
}

}  // namespace

Result<std::shared_ptr<const Checkpoint>> Checkpoint::Open(const std::string& path, const OpenOptions& options) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    const bool slash = path.size() > 1 && path.ends_with('/');
    return OpenDirectory(slash ? path.substr(0, path.size() - 1) : path, options);
  }
  if (!Exists(path)) return NotFound("{}: no such file or directory", path);
  if (IsGguf(path)) return OpenGguf(path, options);
  if (IsTorch(path) || path.ends_with(".safetensors")) return OpenHfFile(path);
  if (StartsAsGguf(path)) return OpenGguf(path, options);  // whatever its name is: a blob of a cache, say
  return InvalidArgument("{}: not a model; {}", path, kReadable);
}

}  // namespace ingot::formats
