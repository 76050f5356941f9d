#include "lite/preparation.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <filesystem>
#include <numeric>

#include "convert/model_config.h"
#include "formats/writers/pack_quantized.h"
#include "lite/work_folder.h"
#include "llm/eval_windows.h"

namespace ingot::lite {
namespace {

namespace fs = std::filesystem;
using convert::Source;
using models::RoleTensor;

bool IsGguf(const QuantizeOptions& options) { return options.kind == OutputKind::kGguf; }

std::string NameOf(const RoleTensor& tensor, const models::Family& family) {
  return convert::HuggingFaceName(tensor, family).value_or("a matrix");
}

// What does not become codes, as quantization_config names it.
boost::json::array DenseModules(const Source& source, const models::Family& family) {
  boost::json::array names = {"lm_head"};
  for (const RoleTensor& tensor : source.tensors) {
    if (tensor.role != models::Role::kRouter) continue;
    // "model.layers.3.mlp.gate" → "mlp.gate", which holds for all layers
    const std::string name = NameOf(tensor, family), layer = fmt::format(".{}.", tensor.layer);
    names.push_back(boost::json::string(name.substr(name.find(layer) + layer.size())));
    break;
  }
  return names;
}

int64_t GroupSizeForConfig(const Format& format) { return format.group_size == 0 ? -1 : format.group_size; }

boost::json::object AwqConfig(const Source& source, const models::Family& family, const Format& format) {
  return {{"quant_method", "awq"},
          {"version", "gemm"},
          {"bits", format.bits},
          {"group_size", GroupSizeForConfig(format)},
          {"zero_point", format.zero == Format::Zero::kInteger},
          {"modules_to_not_convert", DenseModules(source, family)}};
}

boost::json::object GptqConfig(const Source& source, const models::Family& family, const Recipe& recipe) {
  boost::json::object dynamic;  // GPTQModel's: what matches a pattern after "-:" is not quantized
  for (const boost::json::value& name : DenseModules(source, family)) {
    if (name != "lm_head") dynamic[fmt::format("-:.*{}$", std::string_view(name.as_string()))] = boost::json::object();
  }
  boost::json::object config = {{"quant_method", "gptq"},
                                {"bits", recipe.format.bits},
                                {"group_size", GroupSizeForConfig(recipe.format)},
                                {"sym", recipe.format.zero == Format::Zero::kMidpoint},
                                {"desc_act", recipe.act_order},
                                {"static_groups", false},
                                {"true_sequential", false},
                                {"lm_head", false},
                                {"checkpoint_format", "gptq"}};
  if (!dynamic.empty()) config["dynamic"] = std::move(dynamic);
  return config;
}

boost::json::object Int8Config(const Source& source, const models::Family& family) {
  boost::json::array ignore = DenseModules(source, family);
  for (size_t i = 1; i < ignore.size(); ++i) ignore[i] = "re:.*" + std::string(ignore[i].as_string()) + "$";
  const boost::json::object weights = {{"num_bits", 8},         {"type", "int"},         {"symmetric", true},
                                       {"group_size", nullptr}, {"strategy", "channel"}, {"dynamic", false}};
  const boost::json::object activations = {{"num_bits", 8},         {"type", "int"},       {"symmetric", true},
                                           {"group_size", nullptr}, {"strategy", "token"}, {"dynamic", true}};
  return {{"quant_method", "compressed-tensors"},
          {"format", "int-quantized"},
          {"quantization_status", "compressed"},
          {"ignore", std::move(ignore)},
          {"kv_cache_scheme", nullptr},
          {"config_groups",
           {{"group_0",
             {{"targets", boost::json::array{"Linear"}},
              {"weights", weights},
              {"input_activations", activations},
              {"output_activations", nullptr}}}}}};
}

// Whether the source is in bf16, or is meant to be run in it.
bool IsBf16(const formats::Checkpoint& checkpoint, const Source& source) {
  if (source.tensors.front().matrix->format() == Format::Dense(DType::kBF16)) return true;
  const boost::json::object& config = checkpoint.config();
  const boost::json::value* text = config.if_contains("text_config");
  for (const boost::json::object* object : {&config, text != nullptr ? text->if_object() : nullptr}) {
    for (const char* key : {"torch_dtype", "dtype"}) {
      const boost::json::value* dtype = object != nullptr ? object->if_contains(key) : nullptr;
      if (dtype != nullptr && *dtype == "bfloat16") return true;
    }
  }
  return false;
}

// About what the result takes.
int64_t OutputBytes(const Source& source, const QuantizeOptions& options) {
  const Format& format = options.recipe.format;
  const double bits = format.bits + (format.group_size > 0 ? 32.0 / format.group_size : 0.5);
  double bytes = 0;
  for (const RoleTensor& tensor : source.tensors) {
    if (!tensor.matrix) continue;
    const auto weights = static_cast<double>(tensor.matrix->rows() * tensor.matrix->cols());
    bytes += weights * (models::IsQuantized(tensor.role) ? bits / 8 : 2);
  }
  return static_cast<int64_t>(bytes);
}

Status CheckRoom(const Source& source, const QuantizeOptions& options) {
  const fs::path parent = fs::absolute(options.output).parent_path();
  std::error_code error;
  const fs::space_info space = fs::space(parent, error);
  if (error) return {};  // the parent may have to be created yet
  const int64_t needed = RoomNeeded(source, options);
  if (static_cast<int64_t>(space.available) >= needed) return {};
  return ResourceExhausted("{}: {} MB are free, and {} MB more are needed while quantizing", parent.string(),
                           space.available / 1'000'000, needed / 1'000'000);
}

}  // namespace

Status RefuseQuantized(const formats::Checkpoint& checkpoint) {
  if (checkpoint.kind() == formats::CheckpointKind::kGguf) return {};  // whose blocks are dequantized
  for (const formats::TensorEntry* tensor : checkpoint.tensors()) {
    if (!tensor->quantized) continue;
    return InvalidArgument(
        "{} is quantized already ({}), and a second rounding would add its error to the first's: take the original "
        "checkpoint, or, if there is none, dequantize this one (ingot convert {} --to hf -o DENSE) and take that",
        checkpoint.path(), formats::StoredAs(*tensor), checkpoint.path());
  }
  return {};
}

int64_t LargestGroup(const Source& source) {
  int64_t common = 0;
  for (const RoleTensor& tensor : source.tensors) {
    if (tensor.matrix && models::IsQuantized(tensor.role)) common = std::gcd(common, tensor.matrix->cols());
  }
  for (const int64_t group : {128, 64, 32}) {
    if (common % group == 0) return group;
  }
  return 0;
}

int64_t RoomNeeded(const Source& source, const QuantizeOptions& options) {
  int64_t held = 0;
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(WorkFolder::PathFor(options.output), error)) {
    std::error_code gone;
    if (entry.is_regular_file(gone)) held += static_cast<int64_t>(entry.file_size(gone));
  }
  return std::max<int64_t>(0, 2 * OutputBytes(source, options) - held);  // parts, then the whole
}

Status CheckMatrices(const Source& source, const QuantizeOptions& options) {
  const models::Family& family = convert::HuggingFaceFamily(source.spec);
  const Format& format = options.recipe.format;
  for (const RoleTensor& tensor : source.tensors) {
    if (!tensor.matrix || !models::IsQuantized(tensor.role)) continue;
    const int64_t cols = tensor.matrix->cols();
    if (format.group_size > 0 && cols % format.group_size != 0) {
      const int64_t largest = LargestGroup(source);
      return InvalidArgument("{} has {} inputs, which groups of {} do not divide{}", NameOf(tensor, family), cols,
                             format.group_size,
                             largest > 0 && !IsGguf(options)
                                 ? fmt::format("; the largest group that divides all of this model's matrices is {} "
                                               "(--w-group-size {})",
                                               largest, largest)
                                 : "");
    }
    if (IsGguf(options)) continue;
    INGOT_RETURN_IF_ERROR(
        formats::CheckPackable(NameOf(tensor, family), PackingOf(options.kind), format, tensor.matrix->rows(), cols));
  }
  return {};
}

Status CheckOutput(const formats::Checkpoint& checkpoint, const Source& source, const QuantizeOptions& options) {
  const std::string& output = options.output;
  INGOT_RETURN_IF_ERROR(convert::RefuseSource(checkpoint, output));
  std::error_code error;
  const bool exists = fs::exists(output, error), is_folder = fs::is_directory(output, error);
  if (exists && IsGguf(options) == is_folder)
    return InvalidArgument("{} is a {}", output, is_folder ? "directory; name a file" : "file; name a directory");
  if (exists && !options.force && !(is_folder && fs::is_empty(output, error)))
    return InvalidArgument("{} {}; name another output, or use --force", output, is_folder ? "is not empty" : "exists");
  return CheckRoom(source, options);
}

Result<std::vector<std::vector<int32_t>>> CalibrationWindows(const Source& source, const CalibrationOptions& options) {
  if (options.samples < 0) return InvalidArgument("--calib-samples {} is below 0", options.samples);
  if (options.samples == 0) return std::vector<std::vector<int32_t>>();
  const int64_t length = options.seq_len, limit = source.spec.max_position;
  if (length < 2 || length > limit) {
    return InvalidArgument("--calib-seqlen {} is outside 2…{}, which is the model's context", length, limit);
  }
  if (source.tokenizer == nullptr)
    return InvalidArgument("the checkpoint has no tokenizer, which a calibration text needs (--calib-samples 0: none)");
  const std::vector<int32_t> ids =
      source.tokenizer->Encode(llm::Marked(options.text, options.parse_special), {.add_special_tokens = false});
  if (options.samples > std::ssize(ids) / length) {
    return InvalidArgument(
        "the calibration text has {} tokens, which is {} samples of {}, not {}: give a longer text, or lower "
        "--calib-samples or --calib-seqlen",
        ids.size(), std::ssize(ids) / length, length, options.samples);
  }
  const int64_t spare = std::ssize(ids) - options.samples * length;
  std::vector<std::vector<int32_t>> windows;
  for (int64_t i = 0; i < options.samples; ++i) {
    const int64_t begin = i * length + (options.samples > 1 ? spare * i / (options.samples - 1) : 0);
    windows.emplace_back(ids.begin() + begin, ids.begin() + begin + length);
    if (source.tokenizer->adds_bos()) windows.back()[0] = source.tokenizer->bos_id();
  }
  return windows;
}

OutputForm MakeForm(const formats::Checkpoint& checkpoint, const Source& source, const QuantizeOptions& options) {
  OutputForm form{.kind = options.kind, .spec = source.spec};
  const Format& format = options.recipe.format;
  if (IsGguf(options)) {
    form.family = &convert::GgufFamily(source.spec, &form.gguf_architecture);
    form.names = convert::GgufNames(*form.family);
    form.spec.norm_plus_one = false;
    form.gguf_encoding = format.zero == Format::Zero::kMin ? Encoding::kQ4_1 : Encoding::kQ4_0;
    return form;
  }
  form.family = &convert::HuggingFaceFamily(source.spec);
  form.dense = IsBf16(checkpoint, source) ? Encoding::kBF16 : Encoding::kF16;
  form.names = convert::HuggingFaceNames(*form.family);
  form.spec.norm_plus_one = form.family->norm_plus_one;
  form.quantization = options.kind == OutputKind::kAwq    ? AwqConfig(source, *form.family, format)
                      : options.kind == OutputKind::kGptq ? GptqConfig(source, *form.family, options.recipe)
                                                          : Int8Config(source, *form.family);
  return form;
}

Status CheckForm(const formats::Checkpoint& checkpoint, const Source& source, const OutputForm& form,
                 std::vector<std::string>* notices) {
  if (form.kind != OutputKind::kGguf) {
    const auto config = convert::HuggingFaceConfig(source.spec, *form.family, convert::TorchName(form.dense));
    return config ? Status() : config.error();
  }
  INGOT_ASSIGN_OR_RETURN(const convert::GgufHead head,
                         convert::MakeGgufHead(checkpoint, source, form.gguf_architecture, form.gguf_encoding));
  notices->insert(notices->end(), head.notices.begin(), head.notices.end());
  return {};
}

}  // namespace ingot::lite
