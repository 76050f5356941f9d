// From quantization_config and the names of tensors to quantized matrices.
#include "formats/quantized.h"

#include <algorithm>
#include <boost/unordered/unordered_flat_set.hpp>
#include <map>
#include <numeric>

#include "base/json.h"
#include "base/log.h"

namespace ingot::formats {
namespace {

// What quantization_config says of all matrices.
struct Scheme {
  Packing packing = Packing::kAwqGemm;
  const char* method = "";
  int bits = 4;
  int64_t group_size = 0;  // 0: one group a channel
  bool symmetric = false;
  bool zero_is_one_less = false;
};

Status CheckScheme(const Scheme& scheme, const JsonView& config) {
  const bool any_bits = scheme.packing == Packing::kGptq || scheme.packing == Packing::kCompressed;
  if (scheme.bits != (scheme.packing == Packing::kInt8 ? 8 : 4) && !(any_bits && scheme.bits == 8)) {
    return Unsupported("{}: {} with {} bits; 4 bits are read{}", config.path(), scheme.method, scheme.bits,
                       any_bits ? ", and 8" : "");
  }
  const int64_t group = scheme.group_size;
  if (group < 0 || (group != 16 && group % 32 != 0) || group > 1 << 20) {
    return Unsupported("{}: groups of {}; 16, multiples of 32, and -1 (one a channel) are read", config.path(), group);
  }
  return {};
}

// -1 says one group for all inputs.
Result<int64_t> GroupSize(const JsonView& config, int64_t fallback) {
  INGOT_ASSIGN_OR_RETURN(const int64_t size, config.Int("group_size", fallback));
  return size == -1 ? 0 : size;
}

Result<Scheme> ReadAwqConfig(const JsonView& config) {
  Scheme scheme{.packing = Packing::kAwqGemm, .method = "AWQ"};
  INGOT_ASSIGN_OR_RETURN(const int64_t bits, config.Int("bits", 4));
  scheme.bits = static_cast<int>(bits);
  INGOT_ASSIGN_OR_RETURN(scheme.group_size, GroupSize(config, 128));
  INGOT_ASSIGN_OR_RETURN(std::string version, config.String("version", "gemm"));
  std::transform(version.begin(), version.end(), version.begin(), [](char c) { return static_cast<char>(tolower(c)); });
  if (version != "gemm") {
    return Unsupported("{}: version is {}; AWQ's layout \"gemm\" is read (convert with AutoAWQ: version=\"GEMM\")",
                       config.path(), version);
  }
  INGOT_ASSIGN_OR_RETURN(const bool zero_point, config.Bool("zero_point", true));
  scheme.symmetric = !zero_point;
  return scheme;
}

Result<Scheme> ReadGptqConfig(const JsonView& config) {
  Scheme scheme{.packing = Packing::kGptq, .method = "GPTQ"};
  INGOT_ASSIGN_OR_RETURN(const int64_t bits, config.Int("bits", 4));
  scheme.bits = static_cast<int>(bits);
  INGOT_ASSIGN_OR_RETURN(scheme.group_size, GroupSize(config, 128));
  INGOT_ASSIGN_OR_RETURN(scheme.symmetric, config.Bool("sym", true));
  INGOT_ASSIGN_OR_RETURN(const std::string layout, config.String("checkpoint_format", "gptq"));
  if (layout != "gptq" && layout != "gptq_v2") {
    return Unsupported("{}: checkpoint_format is {}; gptq and gptq_v2 are read", config.path(), layout);
  }
  scheme.zero_is_one_less = layout == "gptq";
  return scheme;
}

// config_groups: the first one's weights; the others must be like it.
Result<Scheme> ReadCompressedConfig(const JsonView& config) {
  INGOT_ASSIGN_OR_RETURN(const std::string layout, config.String("format", ""));
  Scheme scheme{.packing = layout == "pack-quantized" ? Packing::kCompressed : Packing::kInt8,
                .method = "compressed-tensors"};
  if (layout != "pack-quantized" && layout != "int-quantized" && layout != "naive-quantized") {
    return Unsupported("{}: format is {}; pack-quantized and int-quantized are read", config.path(), layout);
  }
  INGOT_ASSIGN_OR_RETURN(const JsonView groups, config.Get("config_groups"));
  INGOT_ASSIGN_OR_RETURN(const boost::json::object* all, groups.AsObject());
  if (all->empty()) return InvalidArgument("{} is empty", groups.path());
  const boost::json::value* first = nullptr;
  for (const auto& member : *all) {
    INGOT_ASSIGN_OR_RETURN(const JsonView group, groups.Get(member.key()));
    INGOT_ASSIGN_OR_RETURN(const JsonView weights, group.Get("weights"));
    if (first != nullptr && *first != weights.value()) {
      return Unsupported("{}: groups of layers with different schemes", groups.path());
    }
    first = &weights.value();
    INGOT_ASSIGN_OR_RETURN(const int64_t bits, weights.Int("num_bits"));
    scheme.bits = static_cast<int>(bits);
    INGOT_ASSIGN_OR_RETURN(scheme.group_size, GroupSize(weights, 0));
    INGOT_ASSIGN_OR_RETURN(scheme.symmetric, weights.Bool("symmetric", true));
    INGOT_ASSIGN_OR_RETURN(const std::string type, weights.String("type", "int"));
    if (type != "int") return Unsupported("{}.type is {}; int is read", weights.path(), type);
  }
  return scheme;
}

Result<Scheme> ReadScheme(const JsonView& config) {
  INGOT_ASSIGN_OR_RETURN(const std::string method, config.String("quant_method", ""));
  const auto read = [&]() -> Result<Scheme> {
    if (method == "awq") return ReadAwqConfig(config);
    if (method == "gptq") return ReadGptqConfig(config);
    if (method == "compressed-tensors") return ReadCompressedConfig(config);
    return Unsupported("{}: quant_method is \"{}\"; awq, gptq and compressed-tensors are read", config.path(), method);
  };
  INGOT_ASSIGN_OR_RETURN(const Scheme scheme, read());
  INGOT_RETURN_IF_ERROR(CheckScheme(scheme, config));
  return scheme;
}

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

bool IsScale(Encoding encoding) { return encoding <= Encoding::kBF16; }

// Gathers the tensors of one matrix after another.
class Gatherer {
 public:
  Gatherer(const Scheme& scheme, CheckpointParts* parts) : scheme_(scheme), parts_(parts) {
    for (const TensorEntry& tensor : parts->tensors) by_name_[tensor.name] = &tensor;
  }

  Status Run() {
    std::vector<TensorEntry> gathered;
    for (const TensorEntry& tensor : parts_->tensors) {
      const std::string_view suffix = CodesSuffix();
      if (!std::string_view(tensor.name).ends_with(suffix) || !HoldsCodes(tensor)) continue;
      const std::string base = tensor.name.substr(0, tensor.name.size() - suffix.size());
      auto matrix = Gather(base, tensor);
      if (!matrix) return matrix.error().Annotate(parts_->path + ": " + base);
      gathered.push_back(Entry(base, *std::move(matrix)));
    }
    for (const TensorEntry& tensor : parts_->tensors) {
      if (!used_.contains(tensor.name)) gathered.push_back(tensor);
    }
    parts_->tensors = std::move(gathered);
    if (mislabelled_ > 0) {
      Log(LogLevel::kWarning,
          "{}: checkpoint_format says {}, but the zeros of {} symmetric matrices are stored as in {}, and are read so",
          parts_->path, scheme_.zero_is_one_less ? "gptq" : "gptq_v2", mislabelled_,
          scheme_.zero_is_one_less ? "gptq_v2" : "gptq");
    }
    return {};
  }

 private:
  std::string_view CodesSuffix() const {
    if (scheme_.packing == Packing::kInt8) return ".weight";
    return scheme_.packing == Packing::kCompressed ? ".weight_packed" : ".qweight";
  }
  bool HoldsCodes(const TensorEntry& tensor) const {
    return tensor.encoding == (scheme_.packing == Packing::kInt8 ? Encoding::kI8 : Encoding::kI32);
  }
  bool by_columns() const { return scheme_.packing == Packing::kAwqGemm || scheme_.packing == Packing::kGptq; }

  const TensorEntry* Take(const std::string& name) {
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) return nullptr;
    used_.insert(name);
    taken_bytes_ += static_cast<int64_t>(found->second->bytes.size());
    return found->second;
  }

  static Status Expect(const TensorEntry& tensor, const std::vector<int64_t>& shape, bool type_fits) {
    if (tensor.shape == shape && type_fits) return {};
    return InvalidArgument("{} is {} [{}], expected [{}] of its type", tensor.name, InfoOf(tensor.encoding).name,
                           fmt::join(tensor.shape, ", "), fmt::join(shape, ", "));
  }

  // N and K from the shape of the codes.
  Status SetShape(const std::string& base, QuantizedMatrix* m) {
    if (m->codes.shape.size() != 2) return InvalidArgument("{} is no matrix", m->codes.name);
    const int64_t a = m->codes.shape[0], b = m->codes.shape[1], per_word = 32 / scheme_.bits;
    m->rows = scheme_.packing == Packing::kAwqGemm ? b * per_word : scheme_.packing == Packing::kGptq ? b : a;
    m->cols = scheme_.packing == Packing::kAwqGemm ? a : scheme_.packing == Packing::kGptq ? a * per_word : b;
    if (scheme_.packing == Packing::kCompressed) {
      m->cols = b * per_word;
      if (Take(base + ".weight_shape")) INGOT_RETURN_IF_ERROR(ReadStoredShape(base, m));
    }
    if (m->rows < 1 || m->cols < 1) return InvalidArgument("{} is empty", m->codes.name);
    m->groups = scheme_.group_size == 0 ? 1 : CeilDiv(m->cols, scheme_.group_size);
    return {};
  }

  // K where it does not fill the last word.
  Status ReadStoredShape(const std::string& base, QuantizedMatrix* m) {
    const TensorEntry& shape = *by_name_.find(base + ".weight_shape")->second;
    int64_t stored[2];
    if (shape.encoding != Encoding::kI64 || shape.bytes.size() != sizeof(stored)) {
      return InvalidArgument("{} is not two 64-bit numbers", shape.name);
    }
    std::copy_n(shape.bytes.data(), sizeof(stored), reinterpret_cast<std::byte*>(stored));
    if (stored[0] != m->rows || stored[1] > m->cols || stored[1] <= m->cols - 32 / scheme_.bits) {
      return InvalidArgument("{} is [{}, {}], which {} words of [{}] do not hold", shape.name, stored[0], stored[1],
                             m->codes.name, fmt::join(m->codes.shape, ", "));
    }
    m->cols = stored[1];
    return {};
  }

  Status SetScales(const std::string& base, QuantizedMatrix* m) {
    const std::string name = base + (by_columns() ? ".scales" : ".weight_scale");
    const TensorEntry* scales = Take(name);
    if (scales == nullptr) return InvalidArgument("{} is missing", name);
    m->scales = *scales;
    const bool is_vector = !by_columns() && m->groups == 1 && scales->shape.size() == 1 &&
                           (scales->shape[0] == m->rows || scales->shape[0] == 1);
    if (is_vector && IsScale(scales->encoding)) return {};
    return Expect(*scales, by_columns() ? std::vector{m->groups, m->rows} : std::vector{m->rows, m->groups},
                  IsScale(scales->encoding));
  }

  std::vector<int64_t> ZerosShape(const QuantizedMatrix& m) const {
    const int64_t words = CeilDiv(m.rows, 32 / scheme_.bits);
    if (by_columns()) return {m.groups, words};
    return {scheme_.packing == Packing::kCompressed ? words : m.rows, m.groups};
  }

  Status SetZeros(const std::string& base, QuantizedMatrix* m) {
    const std::string name = base + (by_columns() ? ".qzeros" : ".weight_zero_point");
    const TensorEntry* zeros = Take(name);
    if (zeros == nullptr) {
      if (!scheme_.symmetric) return InvalidArgument("{} is missing, and the configuration is not symmetric", name);
      return {};
    }
    const Encoding encoding = scheme_.packing == Packing::kInt8 ? Encoding::kI8 : Encoding::kI32;
    INGOT_RETURN_IF_ERROR(Expect(*zeros, ZerosShape(*m), zeros->encoding == encoding));
    m->zeros = *zeros;
    return {};
  }

  // GPTQ's act-order: which group each input belongs to. Groups of equal size can be laid side by side.
  Status SetInputOrder(const std::string& base, QuantizedMatrix* m) {
    const TensorEntry* index = Take(base + (by_columns() ? ".g_idx" : ".weight_g_idx"));
    if (index == nullptr || scheme_.packing == Packing::kAwqGemm) return {};
    INGOT_RETURN_IF_ERROR(Expect(*index, {m->cols}, index->encoding == Encoding::kI32));
    std::vector<int32_t> group(static_cast<size_t>(m->cols));
    std::copy_n(index->bytes.data(), index->bytes.size(), reinterpret_cast<std::byte*>(group.data()));
    if (std::all_of(group.begin(), group.end(), [](int32_t g) { return g == -1; })) return {};  // "not used"
    auto order = std::make_shared<InputOrder>(group.size());
    std::iota(order->begin(), order->end(), 0);
    const auto rank = [&](int32_t k) { return std::pair(group[static_cast<size_t>(k)], k); };
    std::sort(order->begin(), order->end(), [&](int32_t x, int32_t y) { return rank(x) < rank(y); });
    const int64_t size = scheme_.group_size == 0 ? m->cols : scheme_.group_size;
    for (size_t j = 0; j < order->size(); ++j) {
      if (group[static_cast<size_t>((*order)[j])] != static_cast<int64_t>(j) / size) {
        return Unsupported("{}: groups that do not have {} inputs each", index->name, size);
      }
    }
    if (!std::is_sorted(order->begin(), order->end())) m->input_order = std::move(order);
    return {};
  }

  // Whether all codes of the zeros are this one.
  bool ZerosAre(const QuantizedMatrix& m, uint32_t code) const {
    uint32_t word = 0;
    for (int bit = 0; bit < 32; bit += scheme_.bits) word |= code << bit;
    const std::span<const std::byte> bytes = m.zeros->bytes;
    for (size_t i = 0; i < bytes.size(); ++i) {
      if (bytes[i] != static_cast<std::byte>(word >> (8 * (i % 4)))) return false;
    }
    return true;
  }

  // Symmetric schemes store zeros that are all the midpoint; without them the products are shorter. GPTQ stores them
  // less one in its first format and as they are in its second, and some files name the wrong one.
  void DropMidpoints(QuantizedMatrix* m) {
    if (!m->zeros || !scheme_.symmetric) return;
    const uint32_t midpoint = scheme_.packing == Packing::kInt8 ? 0 : 1u << (scheme_.bits - 1);  // kInt8: signed
    const bool is_gptq = scheme_.packing == Packing::kGptq;
    const bool is_first = is_gptq && ZerosAre(*m, midpoint - 1), is_second = ZerosAre(*m, midpoint);
    if (!is_first && !is_second) return;
    mislabelled_ += is_gptq && is_first != m->zero_is_one_less;
    m->zeros.reset();
  }

  Result<QuantizedMatrix> Gather(const std::string& base, const TensorEntry& codes) {
    QuantizedMatrix m{.packing = scheme_.packing, .codes = codes, .zero_is_one_less = scheme_.zero_is_one_less};
    taken_bytes_ = 0;
    Take(codes.name);
    INGOT_RETURN_IF_ERROR(SetShape(base, &m));
    INGOT_RETURN_IF_ERROR(SetScales(base, &m));
    INGOT_RETURN_IF_ERROR(SetZeros(base, &m));
    INGOT_RETURN_IF_ERROR(SetInputOrder(base, &m));
    // Scales of activations and of the cache: both are computed at run time.
    for (const char* suffix : {".input_scale", ".input_zero_point", ".output_scale", ".output_zero_point"}) {
      Take(base + suffix);
    }
    m.stored_bytes = taken_bytes_;
    DropMidpoints(&m);
    m.format = {.bits = scheme_.bits,
                .group_size = static_cast<int>(m.groups == 1 ? 0 : scheme_.group_size),
                .zero = m.zeros ? Format::Zero::kInteger : Format::Zero::kMidpoint,
                .scale = m.scales.encoding == Encoding::kF16 ? Format::Scale::kF16 : Format::Scale::kF32};
    m.stored_as = fmt::format("{} {}-bit {}", scheme_.method, scheme_.bits,
                              m.groups == 1 ? std::string("channel") : fmt::format("g{}", scheme_.group_size));
    if (m.input_order) m.stored_as += " act-order";
    return m;
  }

  static TensorEntry Entry(const std::string& base, QuantizedMatrix matrix) {
    TensorEntry entry = matrix.codes;  // its bytes and file: the largest part
    entry.name = base + ".weight";
    entry.shape = {matrix.rows, matrix.cols};
    entry.quantized = std::make_shared<const QuantizedMatrix>(std::move(matrix));
    return entry;
  }

  const Scheme scheme_;
  CheckpointParts* const parts_;
  std::map<std::string, const TensorEntry*, std::less<>> by_name_;
  boost::unordered_flat_set<std::string> used_;
  int64_t taken_bytes_ = 0;  // of the matrix at work
  int mislabelled_ = 0;
};

// The matrix in whose blocks `codes` are, with `scale` next to them.
Result<QuantizedMatrix> ScaledMatrix(const TensorEntry& codes, const TensorEntry& scale) {
  QuantizedMatrix m{.packing = Packing::kGgml, .codes = codes, .scales = scale};
  const int64_t experts = codes.shape.size() == 3 ? codes.shape[0] : 1;
  const bool fits = scale.encoding == Encoding::kF32 && scale.shape == std::vector{experts};
  if (!fits || (codes.shape.size() != 2 && codes.shape.size() != 3)) {
    return InvalidArgument("tensor {} is {} [{}], next to {} [{}]; it should be F32 [1], or a number for each expert",
                           scale.name, InfoOf(scale.encoding).name, fmt::join(scale.shape, ", "), codes.name,
                           fmt::join(codes.shape, ", "));
  }
  m.cols = codes.shape.back();
  m.rows = experts * codes.shape[codes.shape.size() - 2];
  if (m.rows < 1 || m.cols < 1) return InvalidArgument("{} is empty", codes.name);
  m.format = FormatOf(codes.encoding);
  m.format.scale = Format::Scale::kF32;
  m.groups = CeilDiv(m.cols, m.format.group_size);
  m.stored_as = fmt::format("{} scaled", InfoOf(codes.encoding).name);
  m.stored_bytes = static_cast<int64_t>(codes.bytes.size() + scale.bytes.size());
  return m;
}

// What config.json says of matrices; nullopt where it says nothing.
Result<std::optional<Scheme>> FindScheme(const JsonView& config) {
  auto quantization = config.Find("quantization_config");
  if (const auto text = config.Find("text_config"); !quantization && text)
    quantization = text->Find("quantization_config");
  if (!quantization) return std::nullopt;
  INGOT_ASSIGN_OR_RETURN(const std::string layout, quantization->String("format", ""));
  if (layout == "dense") return std::nullopt;  // llm-compressor's for a KV cache alone
  INGOT_ASSIGN_OR_RETURN(const Scheme scheme, ReadScheme(*quantization));
  return scheme;
}

}  // namespace

Status CheckQuantization(const JsonView& config) {
  const auto scheme = FindScheme(config);
  return scheme ? Status() : scheme.error();
}

Status GatherQuantized(CheckpointParts* parts) {
  const auto scheme = FindScheme(JsonView(parts->config, parts->path + "/config.json"));
  if (!scheme && scheme.error().code() == Code::kUnsupported) return {};
  if (!scheme) return scheme.error();
  if (!*scheme) {
    for (const TensorEntry& tensor : parts->tensors) {
      if (tensor.name.ends_with(".qweight") || tensor.name.ends_with(".weight_packed")) {
        return InvalidArgument("{}: {} is quantized, and config.json has no quantization_config that says how",
                               parts->path, tensor.name);
      }
    }
    return {};
  }
  return Gatherer(**scheme, parts).Run();
}

Status GatherScaled(CheckpointParts* parts) {
  constexpr std::string_view kWeight = ".weight";
  std::map<std::string, const TensorEntry*, std::less<>> by_name;
  for (const TensorEntry& tensor : parts->tensors) by_name[tensor.name] = &tensor;
  boost::unordered_flat_set<std::string> used;
  for (TensorEntry& tensor : parts->tensors) {
    if (!tensor.name.ends_with(kWeight) || InfoOf(tensor.encoding).block_size == 1 || !tensor.unsupported.empty() ||
        FormatOf(tensor.encoding).scale != Format::Scale::kF16) {
      continue;
    }
    const std::string base = tensor.name.substr(0, tensor.name.size() - kWeight.size());
    const auto scale = by_name.find(base + ".scale");
    if (scale == by_name.end()) continue;
    auto matrix = ScaledMatrix(tensor, *scale->second);
    if (!matrix) return matrix.error().Annotate(parts->path);
    tensor.quantized = std::make_shared<const QuantizedMatrix>(*std::move(matrix));
    used.insert(base + ".scale");
    used.insert(base + ".input_scale");  // of activations, which are quantized at run time
  }
  std::erase_if(parts->tensors, [&](const TensorEntry& tensor) { return used.contains(tensor.name); });
  return {};
}

}  // namespace ingot::formats
