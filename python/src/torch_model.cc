#include "torch_model.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace nb = nanobind;

namespace ingot::python {
namespace {

template <typename T>
T Get(const nb::handle& object, const char* name) {
  return nb::cast<T>(object.attr(name));
}

ops::KvFormat FormatOf(const std::string& dtype) {
  if (dtype == "float32") return ops::KvFormat::kF32;
  return dtype == "bfloat16" ? ops::KvFormat::kBF16 : ops::KvFormat::kF16;
}

// A torch tensor over memory of ours, which it does not own.
template <typename T>
nb::object ToTorch(T* data, std::initializer_list<size_t> shape, Device device = {}) {
  const int type = device.kind == DeviceKind::kCuda ? nb::device::cuda::value : nb::device::cpu::value;
  using Array = nb::ndarray<nb::pytorch, std::remove_const_t<T>>;
  return nb::cast(
      Array(const_cast<std::remove_const_t<T>*>(data), shape, nb::handle(), {}, nb::dtype<T>(), type, device.index),
      nb::rv_policy::reference);
}
nb::object ToTorch(std::span<const int32_t> values) { return ToTorch(values.data(), {values.size()}); }

// "PyTorch: RuntimeError: out of memory".   REQUIRES: the GIL
std::string TextOf(const nb::python_error& error) {
  const auto type = nb::cast<std::string>(error.type().attr("__name__"));
  return fmt::format("PyTorch: {}: {}", type, nb::cast<std::string>(nb::str(error.value())));
}

// REQUIRES: the GIL
Status StatusOf(const nb::python_error& error) {
  const nb::module_ errors = nb::module_::import_("ingot.errors");
  const std::string message = nb::cast<std::string>(nb::str(error.value()));
  for (const auto& [name, code] :
       {std::pair("Unsupported", Code::kUnsupported), std::pair("NotFound", Code::kNotFound),
        std::pair("InvalidArgument", Code::kInvalidArgument), std::pair("InvalidFile", Code::kCorrupt)}) {
    if (nb::isinstance(error.value(), errors.attr(name))) return {code, message};
  }
  const bool is_memory = PyErr_GivenExceptionMatches(error.value().ptr(), PyExc_MemoryError) != 0;
  return {is_memory ? Code::kResourceExhausted : Code::kInternal, TextOf(error)};
}

Result<llm::PytorchModel> Load(const nb::handle& load, const llm::PytorchRequest& request) {
  const nb::gil_scoped_acquire acquire;
  try {
    using namespace nb::literals;  // NOLINT: "name"_a, as nanobind names arguments
    nb::object runner = load("path"_a = request.path, "dtype"_a = request.dtype,
                             "device"_a = request.device.kind == DeviceKind::kCuda ? "cuda" : "cpu",
                             "num_threads"_a = request.num_threads, "session_len"_a = request.session_len);
    llm::PytorchModel loaded{.dtype = Get<std::string>(runner, "dtype_name"),
                             .description = Get<std::string>(runner, "description")};
    loaded.model = std::make_unique<TorchModel>(std::move(runner), request.fingerprint);
    return loaded;
  } catch (const nb::python_error& error) {
    return Error(StatusOf(error));
  }
}

}  // namespace

void SetTorchLoader(nb::callable load) {
  const nb::handle kept = load.release();  // for as long as the process lives
  llm::SetPytorchLoader([kept](const llm::PytorchRequest& request) { return Load(kept, request); });
}

TorchModel::TorchModel(nb::object runner, std::string fingerprint)
    : Model(std::move(fingerprint)), runner_(std::move(runner)) {
  spec_.family = Get<std::string>(runner_, "family");
  spec_.vocab_size = Get<int64_t>(runner_, "vocab_size");
  spec_.hidden_size = Get<int64_t>(runner_, "hidden_size");
  spec_.max_position = Get<int64_t>(runner_, "max_position");
  for (const nb::handle layer : runner_.attr("layers")) {
    spec_.layers.push_back({.num_heads = Get<int>(layer, "num_heads"),
                            .num_kv_heads = Get<int>(layer, "num_kv_heads"),
                            .head_dim = Get<int>(layer, "head_dim"),
                            .value_head_dim = Get<int>(layer, "value_head_dim"),
                            .window = Get<int>(layer, "window")});
  }
  spec_.num_layers = static_cast<int>(spec_.layers.size());
  weight_bytes_ = Get<int64_t>(runner_, "weight_bytes");
  token_bytes_ = Get<int64_t>(runner_, "token_bytes");
  context_bytes_ = Get<int64_t>(runner_, "context_bytes");
  kv_format_ = FormatOf(Get<std::string>(runner_, "dtype_name"));
}

TorchModel::~TorchModel() {
  if (Py_IsInitialized() == 0) {
    runner_.release();  // Python has ended, and its memory with it
    return;
  }
  const nb::gil_scoped_acquire acquire;
  runner_.reset();
}

ops::KvLayout TorchModel::KvLayoutFor(const ops::Backend&, const models::KvGroup& group, int block_len,
                                      ops::KvFormat) const {
  const auto num_layers = static_cast<int>(group.layers.size());
  const int64_t number = kv_format_ == ops::KvFormat::kF32 ? 4 : 2;
  const int64_t token = int64_t{group.num_kv_heads} * (group.head_dim + group.value_head_dim) * number;
  return {{.format = kv_format_,
           .num_layers = num_layers,
           .num_heads = spec_.heads().num_heads,
           .num_kv_heads = group.num_kv_heads,
           .head_dim = group.head_dim,
           .window = group.window,
           .block_len = block_len},
          num_layers * block_len * token};
}

int64_t TorchModel::ScratchBytes(const ops::Backend&, const models::ForwardLimits& limits) const {
  return limits.step.max_tokens * token_bytes_ + limits.step.max_context * context_bytes_;
}

Status TorchModel::Forward(const ops::Context&, const ops::StepBatch& batch, std::span<const ops::KvView> kv,
                           const TensorView& logits, const models::LayerTap* tap) const {
  const nb::gil_scoped_acquire acquire;
  try {
    Run(batch, kv, logits, tap);
    return {};
  } catch (const nb::python_error& error) {
    Log(LogLevel::kError, "a forward pass of {} tokens failed: {}", batch.num_tokens(), error.what());
    return Internal("the forward pass of {} tokens failed: {}", batch.num_tokens(), TextOf(error)).value();
  }
}

void TorchModel::Run(const ops::StepBatch& batch, std::span<const ops::KvView> kv, const TensorView& logits,
                     const models::LayerTap* tap) const {
  const Device device = logits.device;
  const auto num_seqs = static_cast<size_t>(batch.num_seqs());
  nb::list groups;
  for (size_t g = 0; g < kv.size(); ++g) {
    const ops::KvGroupBatch& group = batch.groups[g];
    const auto stride = static_cast<size_t>(group.block_table_stride);
    nb::object bytes =
        ToTorch(reinterpret_cast<uint8_t*>(kv[g].data),
                {static_cast<size_t>(kv[g].num_blocks), static_cast<size_t>(kv[g].layout.block_bytes)}, device);
    groups.append(nb::make_tuple(bytes, kv[g].layout.block_len, ToTorch(group.block_tables.data(), {num_seqs, stride}),
                                 ToTorch(group.kv_slots)));
  }
  const TensorView& drawn = batch.drawn_tokens;
  const auto rows = static_cast<size_t>(logits.shape[0]), vocab_size = static_cast<size_t>(logits.shape[1]);
  const nb::tuple step = nb::make_tuple(  // ingot.torch_engine.Step
      ToTorch(batch.token_ids), ToTorch(drawn.Data<int32_t>(), {static_cast<size_t>(drawn.shape[0])}, device),
      ToTorch(batch.positions), ToTorch(batch.cu_seqlens), groups, ToTorch(batch.logits_rows));
  const nb::object hidden =
      runner_.attr("forward")(step, ToTorch(logits.Data<float>(), {rows, vocab_size}, device), tap != nullptr);
  if (tap == nullptr) return;
  for (const nb::handle entry : hidden) {
    const auto layer = nb::cast<int>(entry[0]);
    const auto values = nb::cast<nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>>(entry[1]);
    (*tap)(layer, values.data(), batch.num_tokens());
  }
}

}  // namespace ingot::python
