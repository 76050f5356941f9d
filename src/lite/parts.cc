#include "lite/parts.h"

#include <boost/json/serialize.hpp>
#include <filesystem>

#include "base/mapped_file.h"
#include "formats/safetensors.h"
#include "formats/writers/gguf_writer.h"
#include "formats/writers/pack_quantized.h"
#include "formats/writers/safetensors_writer.h"
#include "lite/layer.h"
#include "lite/matrices.h"

namespace ingot::lite {
namespace {

namespace fs = std::filesystem;
using convert::Plan;
using models::RoleTensor;

Status AddQuantized(const OutputForm& form, const std::string& name, const QuantizedWeight& weight, Plan* plan) {
  const formats::Packing packing = PackingOf(form.kind);
  const WeightRows& rows = weight.rows;
  INGOT_RETURN_IF_ERROR(formats::CheckPackable(name, packing, rows.format, rows.rows, rows.cols));
  for (formats::OutputBytes& tensor : formats::PackQuantized(name, packing, rows, weight.order.get())) {
    auto owner = std::make_shared<const std::vector<std::byte>>(std::move(tensor.bytes));
    plan->push_back({std::move(tensor.out), nullptr, {}, {*owner, owner, nullptr}});
  }
  return {};
}

Result<Plan> PlanGgufPart(const OutputForm& form, std::vector<RoleTensor> tensors, QuantizedWeights quantized,
                          std::vector<std::string>* notices) {
  for (auto& [i, weight] : quantized) tensors[i].matrix = CodesMatrix(std::move(weight.rows), std::move(weight.order));
  return convert::PlanGguf(std::move(tensors), form.spec, *form.family, form.gguf_encoding, notices);
}

// A mapped file and its tensors, as they are stored in it.
struct RawFile {
  MappedFile file;
  std::vector<formats::TensorEntry> tensors;
};

}  // namespace

formats::Packing PackingOf(OutputKind kind) {
  if (kind == OutputKind::kAwq) return formats::Packing::kAwqGemm;
  return kind == OutputKind::kGptq ? formats::Packing::kGptq : formats::Packing::kInt8;
}

Result<Plan> PlanPart(const OutputForm& form, const std::vector<RoleTensor>& tensors, QuantizedWeights quantized,
                      std::vector<std::string>* notices) {
  if (form.kind == OutputKind::kGguf) return PlanGgufPart(form, tensors, std::move(quantized), notices);
  Plan plan;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto found = quantized.find(i);
    if (found == quantized.end()) {
      INGOT_ASSIGN_OR_RETURN(Plan dense, convert::PlanHuggingFace({tensors[i]}, *form.family, form.dense));
      plan.insert(plan.end(), std::make_move_iterator(dense.begin()), std::make_move_iterator(dense.end()));
      continue;
    }
    INGOT_ASSIGN_OR_RETURN(const std::string name, convert::HuggingFaceName(tensors[i], *form.family));
    INGOT_RETURN_IF_ERROR(AddQuantized(form, name, found->second, &plan));
    quantized.erase(found);
    RoleTensor bias = tensors[i];
    bias.matrix = nullptr;
    INGOT_ASSIGN_OR_RETURN(Plan rest, convert::PlanHuggingFace({std::move(bias)}, *form.family, form.dense));
    std::ranges::move(rest, std::back_inserter(plan));
  }
  return plan;
}

Status WritePart(const OutputForm& form, const Plan& plan, const std::string& path, ThreadPool& pool) {
  if (form.kind == OutputKind::kGguf) {
    const formats::GgufMetadata metadata = {{"general.architecture", form.gguf_architecture}};
    INGOT_ASSIGN_OR_RETURN(const auto writer, formats::GgufWriter::Create(path, metadata, convert::OutputsOf(plan)));
    return convert::WritePlan(plan, pool, *writer);
  }
  std::error_code error;
  const std::string temporary = path + ".tmp";
  fs::remove_all(temporary, error);
  fs::create_directories(temporary, error);
  if (error) return Io("{}: cannot create: {}", temporary, error.message());
  const auto write_all = [&]() -> Status {
    INGOT_ASSIGN_OR_RETURN(const auto writer,
                           formats::SafetensorsWriter::Create(temporary, convert::OutputsOf(plan), formats::kOneShard));
    INGOT_RETURN_IF_ERROR(convert::WritePlan(plan, pool, *writer));
    const boost::json::object config = {{"model_type", form.family->model_types.front()},
                                        {"quantization_config", form.quantization}};
    return WriteFile(temporary + "/config.json", boost::json::serialize(config));
  };
  if (Status status = write_all(); !status.ok()) {
    fs::remove_all(temporary, error);
    return status;
  }
  fs::rename(temporary, path, error);
  return error ? Io("{}: cannot rename: {}", path, error.message()) : Status();
}

Result<Part> ReadPart(const OutputForm& form, const std::string& path, int layer) {
  Part part;
  INGOT_ASSIGN_OR_RETURN(part.checkpoint, formats::Checkpoint::Open(path));
  INGOT_ASSIGN_OR_RETURN(part.tensors, models::ReadLayerRoles(*part.checkpoint, form.spec, form.names, layer));
  return part;
}

Result<Plan> CopyOfPart(const OutputForm& form, const std::string& path) {
  Plan plan;
  if (form.kind == OutputKind::kGguf) {
    INGOT_ASSIGN_OR_RETURN(const auto checkpoint, formats::Checkpoint::Open(path));
    for (const formats::TensorEntry* tensor : checkpoint->tensors())
      plan.push_back({{tensor->name, tensor->encoding, tensor->shape},
                      nullptr,
                      {},
                      {tensor->bytes, checkpoint, [tensor, checkpoint] { checkpoint->DropPages(*tensor); }}});
    return plan;
  }
  const std::string name = path + "/model.safetensors";
  INGOT_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(name));
  const auto file = std::make_shared<RawFile>(RawFile{std::move(mapped), {}});
  INGOT_ASSIGN_OR_RETURN(file->tensors, formats::ParseSafetensors(file->file.bytes(), name));
  for (const formats::TensorEntry& tensor : file->tensors) {
    const auto begin = static_cast<size_t>(tensor.bytes.data() - file->file.bytes().data());
    const auto drop = [file, begin, size = tensor.bytes.size()] { file->file.DropPages(begin, size); };
    plan.push_back({{tensor.name, tensor.encoding, tensor.shape}, nullptr, {}, {tensor.bytes, file, drop}});
  }
  return plan;
}

}  // namespace ingot::lite
