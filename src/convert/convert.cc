#include "convert/convert.h"

#include <boost/json/serialize.hpp>
#include <filesystem>

#include "base/mapped_file.h"
#include "convert/model_config.h"
#include "convert/output_plan.h"
#include "convert/tokenizer_files.h"
#include "formats/writers/gguf_writer.h"
#include "formats/writers/safetensors_writer.h"
#include "models/model.h"

namespace ingot::convert {
namespace {

namespace fs = std::filesystem;

// What both directions begin with: a checkpoint that holds together, taken apart.
struct Source {
  models::ModelSpec spec;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;
  std::vector<CanonicalTensor> tensors;
};

Result<Source> ReadSource(const formats::Checkpoint& checkpoint) {
  Source source;
  INGOT_ASSIGN_OR_RETURN(source.spec, models::ReadModelSpec(checkpoint));
  INGOT_RETURN_IF_ERROR(models::CheckWeights(checkpoint, source.spec));
  INGOT_ASSIGN_OR_RETURN(source.tokenizer, tokenizer::Tokenizer::Create(checkpoint.vocabulary()));
  INGOT_ASSIGN_OR_RETURN(source.tensors, ReadCanonical(checkpoint, source.spec));
  return source;
}

// Makes a new folder, and removes it with all that is in it unless Keep is called.
class OutputFolder {
 public:
  static Result<OutputFolder> Create(const std::string& path, bool force) {
    std::error_code error;
    const bool existed = fs::exists(path, error);
    if (existed && !fs::is_directory(path, error)) return InvalidArgument("{} is a file; name a directory", path);
    if (existed && !fs::is_empty(path, error) && !force)
      return InvalidArgument("{} is not empty; name another directory, or use --force", path);
    fs::create_directories(path, error);
    if (error) return Io("{}: cannot create: {}", path, error.message());
    return OutputFolder(existed ? "" : path);
  }
  OutputFolder(OutputFolder&& other) noexcept : made_(std::exchange(other.made_, "")) {}
  OutputFolder& operator=(OutputFolder&&) = delete;
  ~OutputFolder() {
    std::error_code ignored;
    if (!made_.empty()) fs::remove_all(made_, ignored);
  }
  void Keep() { made_.clear(); }

 private:
  explicit OutputFolder(std::string made) : made_(std::move(made)) {}
  std::string made_;  // to be removed; "" if it was there before
};

const char* TorchName(Encoding encoding) {
  if (encoding == Encoding::kBF16) return "bfloat16";
  return encoding == Encoding::kF32 ? "float32" : "float16";
}

boost::json::value IdOrNull(int64_t id) { return id < 0 ? boost::json::value(nullptr) : boost::json::value(id); }

// One id as a number, several as a list, as Hugging Face writes them.
boost::json::value EosValue(const std::vector<int32_t>& ids) {
  if (ids.empty()) return nullptr;
  if (ids.size() == 1) return ids.front();
  return boost::json::array(ids.begin(), ids.end());
}

Status WriteJsonFile(const fs::path& path, const boost::json::object& object) {
  return WriteFile(path.string(), boost::json::serialize(object) + "\n");
}

Status WriteHuggingFaceTexts(const formats::Checkpoint& checkpoint, const Source& source, const models::Family& family,
                             const ConvertOptions& options, ConvertReport* report) {
  const fs::path folder = options.output;
  INGOT_ASSIGN_OR_RETURN(boost::json::object config,
                         HuggingFaceConfig(source.spec, family, TorchName(options.encoding)));
  config["bos_token_id"] = IdOrNull(source.tokenizer->bos_id());
  config["eos_token_id"] = EosValue(source.tokenizer->eos_ids());
  INGOT_RETURN_IF_ERROR(WriteJsonFile(folder / "config.json", config));

  boost::json::object generation = checkpoint.generation_config();
  generation["bos_token_id"] = config["bos_token_id"];
  generation["eos_token_id"] = config["eos_token_id"];
  INGOT_RETURN_IF_ERROR(WriteJsonFile(folder / "generation_config.json", generation));
  INGOT_ASSIGN_OR_RETURN(const auto files, HuggingFaceTokenizerFiles(checkpoint.vocabulary(), *source.tokenizer,
                                                                     checkpoint.chat_template()));
  report->files = {"config.json", "generation_config.json"};
  for (const auto& [name, content] : files) {
    INGOT_RETURN_IF_ERROR(WriteFile((folder / name).string(), content));
    report->files.push_back(name);
  }
  if (checkpoint.chat_template().empty())
    report->notices.push_back("the checkpoint has no chat template, so neither has the output");
  return {};
}

int64_t PlannedBytes(const Plan& plan) {
  int64_t total = 0;
  for (const PlannedTensor& tensor : plan) total += formats::BytesOf(tensor.out).value_or(0);
  return total;
}

}  // namespace

Result<ConvertReport> ToHuggingFace(const formats::Checkpoint& checkpoint, const ConvertOptions& options,
                                    ThreadPool& pool) {
  if (options.encoding != Encoding::kF16 && options.encoding != Encoding::kBF16 && options.encoding != Encoding::kF32) {
    return InvalidArgument("a Hugging Face directory holds f16, bf16 or f32, not {}", InfoOf(options.encoding).name);
  }
  INGOT_ASSIGN_OR_RETURN(Source source, ReadSource(checkpoint));
  const models::Family& family = HuggingFaceFamily(source.spec);
  INGOT_ASSIGN_OR_RETURN(OutputFolder folder, OutputFolder::Create(options.output, options.force));
  ConvertReport report;
  INGOT_RETURN_IF_ERROR(WriteHuggingFaceTexts(checkpoint, source, family, options, &report));
  INGOT_ASSIGN_OR_RETURN(const Plan plan, PlanHuggingFace(std::move(source.tensors), family, options.encoding));
  INGOT_ASSIGN_OR_RETURN(const auto writer, formats::SafetensorsWriter::Create(options.output, OutputsOf(plan)));
  INGOT_RETURN_IF_ERROR(
      StreamPlan(plan, pool, [&](std::span<const std::byte> bytes) { return writer->Write(bytes); }, options.progress));
  INGOT_RETURN_IF_ERROR(writer->Finish());
  folder.Keep();
  report.bytes = PlannedBytes(plan);
  report.files.push_back("model.safetensors");
  return report;
}

Result<ConvertReport> ToGguf(const formats::Checkpoint& checkpoint, const ConvertOptions& options, ThreadPool& pool) {
  std::error_code error;
  if (fs::exists(options.output, error) && !options.force)
    return InvalidArgument("{} exists; name another file, or use --force", options.output);
  INGOT_ASSIGN_OR_RETURN(Source source, ReadSource(checkpoint));
  std::string architecture;
  const models::Family& family = GgufFamily(source.spec, &architecture);
  ConvertReport report;
  const std::string name = fs::path(checkpoint.path()).lexically_normal().filename().string();
  INGOT_ASSIGN_OR_RETURN(GgufConfig config, MakeGgufConfig(source.spec, architecture, name, options.encoding));
  INGOT_ASSIGN_OR_RETURN(const auto tokenizer,
                         GgufTokenizerMetadata(checkpoint.vocabulary(), *source.tokenizer, checkpoint.chat_template(),
                                               source.spec.vocab_size));
  config.metadata.insert(config.metadata.end(), tokenizer.begin(), tokenizer.end());
  INGOT_ASSIGN_OR_RETURN(Plan plan,
                         PlanGguf(std::move(source.tensors), source.spec, family, options.encoding, &report.notices));
  for (auto& [factors_name, factors] : config.rope_factors) {
    const auto size = static_cast<int64_t>(factors.size());
    plan.push_back({{factors_name, Encoding::kF32, {size}}, nullptr, std::move(factors)});
  }
  INGOT_ASSIGN_OR_RETURN(const auto writer,
                         formats::GgufWriter::Create(options.output, config.metadata, OutputsOf(plan)));
  INGOT_RETURN_IF_ERROR(
      StreamPlan(plan, pool, [&](std::span<const std::byte> bytes) { return writer->Write(bytes); }, options.progress));
  INGOT_RETURN_IF_ERROR(writer->Finish());
  report.bytes = PlannedBytes(plan);
  report.files = {options.output};
  return report;
}

}  // namespace ingot::convert
