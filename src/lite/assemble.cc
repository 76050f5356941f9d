#include <algorithm>
#include <filesystem>

#include "base/mapped_file.h"
#include "convert/model_config.h"
#include "formats/writers/gguf_writer.h"
#include "formats/writers/safetensors_writer.h"
#include "lite/parts.h"
#include "lite/work_folder.h"

namespace ingot::lite {
namespace {

namespace fs = std::filesystem;
using convert::Plan;

// Embedding, layers, then what is left, as other tools order them.
Result<Plan> PlanAll(const OutputForm& form, const WorkFolder& work, int num_layers) {
  const bool is_gguf = form.kind == OutputKind::kGguf;
  INGOT_ASSIGN_OR_RETURN(Plan rest, CopyOfPart(form, work.PartPath(-1, is_gguf)));
  Plan plan;
  plan.push_back(std::move(rest.front()));
  for (int layer = 0; layer < num_layers; ++layer) {
    INGOT_ASSIGN_OR_RETURN(Plan part, CopyOfPart(form, work.PartPath(layer, is_gguf)));
    plan.insert(plan.end(), std::make_move_iterator(part.begin()), std::make_move_iterator(part.end()));
  }
  plan.insert(plan.end(), std::make_move_iterator(rest.begin() + 1), std::make_move_iterator(rest.end()));
  return plan;
}

Status WriteFolder(const std::string& path, const Plan& plan,
                   const std::vector<std::pair<std::string, std::string>>& texts, ThreadPool& pool) {
  std::error_code error;
  fs::remove_all(path, error);
  fs::create_directories(path, error);
  if (error) return Io("{}: cannot create: {}", path, error.message());
  INGOT_ASSIGN_OR_RETURN(const auto writer, formats::SafetensorsWriter::Create(path, convert::OutputsOf(plan)));
  INGOT_RETURN_IF_ERROR(convert::WritePlan(plan, pool, *writer));
  for (const auto& [name, content] : texts) INGOT_RETURN_IF_ERROR(WriteFile(path + "/" + name, content));
  return {};
}

}  // namespace

Result<int64_t> Assemble(const formats::Checkpoint& checkpoint, const convert::Source& source, const OutputForm& form,
                         const WorkFolder& work, ThreadPool& pool) {
  INGOT_ASSIGN_OR_RETURN(Plan plan, PlanAll(form, work, source.spec.num_layers));
  if (form.kind == OutputKind::kGguf) {
    INGOT_ASSIGN_OR_RETURN(convert::GgufHead head,
                           convert::MakeGgufHead(checkpoint, source, form.gguf_architecture, form.gguf_encoding));
    std::ranges::move(head.rope_factors, std::back_inserter(plan));
    INGOT_ASSIGN_OR_RETURN(const auto writer, formats::GgufWriter::Create(work.result_path(true), head.metadata,
                                                                          convert::OutputsOf(plan)));
    INGOT_RETURN_IF_ERROR(convert::WritePlan(plan, pool, *writer));
  } else {
    INGOT_ASSIGN_OR_RETURN(boost::json::object config,
                           convert::HuggingFaceConfig(source.spec, *form.family, convert::TorchName(form.dense)));
    config["quantization_config"] = form.quantization;
    INGOT_ASSIGN_OR_RETURN(const auto texts,
                           convert::HuggingFaceTexts(checkpoint, source.tokenizer.get(), std::move(config)));
    INGOT_RETURN_IF_ERROR(WriteFolder(work.result_path(false), plan, texts, pool));
  }
  int64_t bytes = 0;
  for (const convert::PlannedTensor& tensor : plan) bytes += formats::BytesOf(tensor.out).value_or(0);
  return bytes;
}

}  // namespace ingot::lite
