#include "convert/convert.h"

#include <filesystem>

#include "base/mapped_file.h"
#include "convert/model_config.h"
#include "convert/output_plan.h"
#include "convert/source.h"
#include "convert/tokenizer_files.h"
#include "formats/writers/gguf_writer.h"
#include "formats/writers/safetensors_writer.h"

namespace ingot::convert {
namespace {

namespace fs = std::filesystem;

// Weights under other names than the new ones would be read along with them.
Status RefuseOtherWeights(const fs::path& folder) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    const std::string extension = entry.path().extension();
    const bool is_weights = extension == ".safetensors" || extension == ".bin" || extension == ".gguf" ||
                            name.ends_with(".safetensors.index.json") || name.ends_with(".bin.index.json");
    if (is_weights && name != "model.safetensors")
      return InvalidArgument("{} holds other weights ({}); name another directory", folder.string(), name);
  }
  if (error) return Io("{}: cannot list: {}", folder.string(), error.message());
  return {};
}

// A folder that is filled, and emptied again of what was put there unless Keep is called.
class OutputFolder {
 public:
  static Result<OutputFolder> Create(const std::string& path, bool force) {
    std::error_code error;
    const bool existed = fs::exists(path, error);
    if (existed && !fs::is_directory(path, error)) return InvalidArgument("{} is a file; name a directory", path);
    if (existed && !fs::is_empty(path, error) && !force)
      return InvalidArgument("{} is not empty; name another directory, or use --force", path);
    if (existed) INGOT_RETURN_IF_ERROR(RefuseOtherWeights(path));
    fs::create_directories(path, error);
    if (error) return Io("{}: cannot create: {}", path, error.message());
    return OutputFolder(path, !existed);
  }
  OutputFolder(OutputFolder&& other) noexcept
      : path_(std::move(other.path_)), is_new_(other.is_new_), written_(std::move(other.written_)) {
    other.path_.clear();
  }
  OutputFolder& operator=(OutputFolder&&) = delete;
  ~OutputFolder() {
    if (path_.empty()) return;
    std::error_code ignored;
    for (const std::string& name : written_) fs::remove(path_ / name, ignored);
    if (is_new_) fs::remove(path_, ignored);
  }

  Status Write(const std::string& name, const std::string& content) {
    INGOT_RETURN_IF_ERROR(WriteFile((path_ / name).string(), content));
    written_.push_back(name);
    return {};
  }
  // What was written, with the weights.
  std::vector<std::string> Keep() {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(path_, error)) {
      if (entry.path().filename().string().find(".safetensors") != std::string::npos)
        written_.push_back(entry.path().filename());
    }
    path_.clear();
    return std::move(written_);
  }

 private:
  OutputFolder(fs::path path, bool is_new) : path_(std::move(path)), is_new_(is_new) {}
  fs::path path_;  // "" once it is to stay
  bool is_new_;
  std::vector<std::string> written_;
};

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
  INGOT_RETURN_IF_ERROR(RefuseSource(checkpoint, options.output));
  INGOT_ASSIGN_OR_RETURN(Source source, ReadSource(checkpoint));
  const models::Family& family = HuggingFaceFamily(source.spec);
  INGOT_ASSIGN_OR_RETURN(boost::json::object config,
                         HuggingFaceConfig(source.spec, family, TorchName(options.encoding)));
  ConvertReport report{.notices = NoticesOf(checkpoint, source)};
  INGOT_ASSIGN_OR_RETURN(const Plan plan, PlanHuggingFace(std::move(source.tensors), family, options.encoding));
  INGOT_ASSIGN_OR_RETURN(OutputFolder folder, OutputFolder::Create(options.output, options.force));
  {
    INGOT_ASSIGN_OR_RETURN(const auto writer, formats::SafetensorsWriter::Create(options.output, OutputsOf(plan)));
    const auto write = [&](std::span<const std::byte> bytes) { return writer->Write(bytes); };
    INGOT_RETURN_IF_ERROR(StreamPlan(plan, pool, write, options.progress));
    INGOT_ASSIGN_OR_RETURN(const auto texts, HuggingFaceTexts(checkpoint, source.tokenizer.get(), std::move(config)));
    for (const auto& [name, content] : texts) INGOT_RETURN_IF_ERROR(folder.Write(name, content));
    INGOT_RETURN_IF_ERROR(writer->Finish());
  }
  report.files = folder.Keep();
  report.bytes = PlannedBytes(plan);
  return report;
}

Result<ConvertReport> ToGguf(const formats::Checkpoint& checkpoint, const ConvertOptions& options, ThreadPool& pool) {
  std::error_code error;
  if (fs::is_directory(options.output, error)) return InvalidArgument("{} is a directory; name a file", options.output);
  if (fs::exists(options.output, error) && !options.force)
    return InvalidArgument("{} exists; name another file, or use --force", options.output);
  INGOT_RETURN_IF_ERROR(RefuseSource(checkpoint, options.output));
  INGOT_ASSIGN_OR_RETURN(Source source, ReadSource(checkpoint));
  if (source.tokenizer == nullptr)
    return InvalidArgument("{} has no tokenizer.json and no tokenizer.model, and a GGUF file needs its vocabulary",
                           checkpoint.path());
  std::string architecture;
  const models::Family& family = GgufFamily(source.spec, &architecture);
  ConvertReport report{.notices = NoticesOf(checkpoint, source)};
  INGOT_ASSIGN_OR_RETURN(GgufHead head, MakeGgufHead(checkpoint, source, architecture, options.encoding));
  report.notices.insert(report.notices.end(), head.notices.begin(), head.notices.end());
  INGOT_ASSIGN_OR_RETURN(Plan plan,
                         PlanGguf(std::move(source.tensors), source.spec, family, options.encoding, &report.notices));
  std::ranges::move(head.rope_factors, std::back_inserter(plan));
  INGOT_ASSIGN_OR_RETURN(const auto writer,
                         formats::GgufWriter::Create(options.output, head.metadata, OutputsOf(plan)));
  INGOT_RETURN_IF_ERROR(WritePlan(plan, pool, *writer, options.progress));
  report.bytes = PlannedBytes(plan);
  report.files = {options.output};
  return report;
}

}  // namespace ingot::convert
