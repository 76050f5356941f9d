#include "models/roles.h"

#include <algorithm>
#include <map>
#include <span>
#include <unordered_set>

#include "base/check.h"
#include "base/log.h"

namespace ingot::models {
namespace {

std::string ShapeText(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

// Some rows of a stored tensor.
struct Rows {
  int64_t begin = 0, count = 0;
  std::vector<int32_t> order;  // instead of them, in this order; or empty
};

std::vector<float> Take(const std::vector<float>& numbers, const Rows& rows) {
  if (numbers.empty()) return {};
  if (rows.order.empty()) return {numbers.begin() + rows.begin, numbers.begin() + rows.begin + rows.count};
  std::vector<float> taken;
  for (const int32_t row : rows.order) taken.push_back(numbers[static_cast<size_t>(row)]);
  return taken;
}

WeightSourcePtr Take(const WeightSourcePtr& matrix, const Rows& rows) {
  if (!rows.order.empty()) return SelectRows(matrix, rows.order);
  return rows.count == matrix->rows() ? matrix : SliceRows(matrix, rows.begin, rows.count);
}

class Reader {
 public:
  Reader(const formats::Checkpoint& checkpoint, const ModelSpec& spec, const CheckpointNames& names)
      : checkpoint_(checkpoint), spec_(spec), names_(names) {}

  Status ReadLayer(int layer) {
    const std::vector<RoleSize> sizes = RolesOf(spec_, layer);
    const auto first_expert = std::ranges::find(sizes, Role::kExpertGate, &RoleSize::role);
    const auto plain = static_cast<size_t>(first_expert - sizes.begin());
    INGOT_RETURN_IF_ERROR(ReadSome(std::span(sizes).first(plain), layer, -1));
    for (int expert = 0; expert < spec_.num_experts && plain < sizes.size(); ++expert) {
      INGOT_RETURN_IF_ERROR(ReadSome(std::span(sizes).subspan(plain), layer, expert));
    }
    stored_.clear();
    return {};
  }
  Status CheckNothingIsLeft() const;
  std::vector<RoleTensor> Finish() { return std::move(tensors_); }

 private:
  struct Stored {
    WeightSourcePtr matrix;
    std::vector<float> numbers;
    int64_t bytes = 0;
  };

  Status ReadSome(std::span<const RoleSize> sizes, int layer, int expert) {
    while (!sizes.empty()) {
      const TensorName& name = Choose(sizes.front().role, layer, expert);
      const size_t count = std::max<size_t>(1, PartsOf(name.role).size());
      INGOT_RETURN_IF_ERROR(ReadTensor(name, sizes.first(count), layer, expert));
      sizes = sizes.subspan(count);
    }
    return {};
  }

  // The first row of the role, or of several of which it is the first, whose tensor is there; else the first row.
  const TensorName& Choose(Role role, int layer, int expert) const {
    const TensorName* first = nullptr;
    for (const TensorName& name : names_.table->tensors) {
      const std::vector<Role> parts = PartsOf(name.role);
      if (name.role != role && (parts.empty() || parts.front() != role)) continue;
      if (checkpoint_.Find(names_.NameOf(name, layer, expert) + name.weight)) return name;
      if (first == nullptr) first = &name;
    }
    INGOT_CHECK(first != nullptr);
    return *first;
  }

  Status Use(const std::string& name, const std::vector<int64_t>& shape) {
    const formats::TensorEntry* entry = checkpoint_.Find(name);
    if (!entry) return InvalidArgument("tensor {} is missing; it should be {}", name, ShapeText(shape));
    if (entry->shape != shape) {
      return InvalidArgument("tensor {} is {}; the configuration asks for {}", name, ShapeText(entry->shape),
                             ShapeText(shape));
    }
    used_.insert(name);
    return {};
  }

  // size: of the whole tensor, or of one expert's part of it
  Result<const Stored*> Open(const TensorName& tensor, const RoleSize& size, int layer, int expert) {
    const std::string name = names_.NameOf(tensor, layer, expert);
    const auto [at, is_new] = stored_.try_emplace(name);
    if (!is_new) return &at->second;
    Stored& stored = at->second;
    std::vector<int64_t> shape = {size.rows};
    if (tensor.is_stacked()) shape.insert(shape.begin(), spec_.num_experts);
    if (size.bias) {
      INGOT_RETURN_IF_ERROR(Use(name + tensor.bias, shape));
      INGOT_ASSIGN_OR_RETURN(stored.numbers, checkpoint_.Floats(name + tensor.bias));
    }
    if (size.cols > 0) shape.push_back(size.cols);
    INGOT_RETURN_IF_ERROR(Use(name + tensor.weight, shape));
    if (size.cols == 0) {
      INGOT_ASSIGN_OR_RETURN(stored.numbers, checkpoint_.Floats(name + tensor.weight));
      return &stored;
    }
    INGOT_ASSIGN_OR_RETURN(stored.matrix, checkpoint_.Weight(name + tensor.weight));
    stored.bytes = static_cast<int64_t>(checkpoint_.Find(name + tensor.weight)->bytes.size());
    if (tensor.role == Role::kEmbedding && stored.matrix->input_order())
      return Unsupported("{}: an embedding with reordered columns", name);
    return &stored;
  }

  // A tensor that holds one role, or several.
  Status ReadTensor(const TensorName& name, std::span<const RoleSize> sizes, int layer, int expert) {
    RoleSize whole = sizes.front();
    for (const RoleSize& size : sizes.subspan(1)) whole.rows += size.rows;
    INGOT_ASSIGN_OR_RETURN(const Stored* stored, Open(name, whole, layer, expert));
    int64_t row = name.is_stacked() ? expert * whole.rows : 0;
    if (sizes.size() > 1 && name.layout == RowLayout::kBelow && !name.is_stacked()) {
      Add(name, {name.role, layer, expert}, *stored, {row, whole.rows, {}});
      return {};
    }
    const std::vector<int32_t> ungrouped = name.layout == RowLayout::kGrouped
                                               ? UngroupedQkvRows(spec_.layers[static_cast<size_t>(layer)])
                                               : std::vector<int32_t>();
    for (const RoleSize& size : sizes) {
      Rows rows = {row, size.rows, names_.RowOrder(spec_, layer, size.role)};
      if (!ungrouped.empty()) rows.order.assign(ungrouped.begin() + row, ungrouped.begin() + row + size.rows);
      Add(name, {size.role, layer, expert}, *stored, rows);
      row += size.rows;
    }
    return {};
  }

  void Add(const TensorName& name, RoleTensor tensor, const Stored& stored, const Rows& rows) {
    tensor.name = names_.NameOf(name, tensor.layer, tensor.expert);
    if (name.is_stacked()) tensor.name += fmt::format(".{}", tensor.expert);
    tensor.numbers = Take(stored.numbers, rows);
    if (stored.matrix) {
      tensor.matrix = Take(stored.matrix, rows);
      tensor.stored_bytes = stored.bytes * rows.count / stored.matrix->rows();
    } else if (spec_.norm_plus_one) {
      for (float& weight : tensor.numbers) weight += 1.0f;
    }
    tensors_.push_back(std::move(tensor));
  }

  // GPTQ's tools store a bias of zeros where a layer has none.
  bool IsZeroBias(const formats::TensorEntry& entry) const {
    if (!entry.name.ends_with(".bias") || entry.shape.size() != 1) return false;
    const auto values = checkpoint_.Floats(entry.name);
    return values && std::ranges::all_of(*values, [](float value) { return value == 0.0f; });
  }

  const formats::Checkpoint& checkpoint_;
  const ModelSpec& spec_;
  const CheckpointNames& names_;
  std::map<std::string, Stored> stored_;  // of the layer that is being read
  std::unordered_set<std::string> used_;
  std::vector<RoleTensor> tensors_;
};

// Scales of a cache of 8 bits, as llm-compressor and others write them; here the cache measures its own.
bool IsCacheScale(std::string_view name) {
  constexpr std::string_view kScales[] = {".k_scale",
                                          ".v_scale",
                                          ".q_scale",
                                          ".kv_scale",
                                          ".prob_scale",
                                          ".k_zero_point",
                                          ".v_zero_point",
                                          ".k_proj.output_scale",
                                          ".v_proj.output_scale"};
  return std::ranges::any_of(kScales, [&](std::string_view scale) { return name.ends_with(scale); });
}

Status Reader::CheckNothingIsLeft() const {
  std::vector<std::string> left, scales;
  const TensorName& head = *names_.table->Find(Role::kLmHead);
  const std::string tied_head = names_.NameOf(head, -1) + head.weight;
  for (const formats::TensorEntry* entry : checkpoint_.tensors()) {
    if (used_.contains(entry->name) || (spec_.tied_embeddings && entry->name == tied_head)) continue;
    const bool ignored = std::ranges::any_of(
        names_.table->ignored, [&](std::string_view part) { return entry->name.find(part) != std::string::npos; });
    if (ignored || IsZeroBias(*entry)) continue;
    (IsCacheScale(entry->name) ? scales : left).push_back(entry->name + " " + ShapeText(entry->shape));
  }
  if (!scales.empty()) {
    Log(LogLevel::kWarning, "{}: {} scales of a quantized KV cache are not used ({}, …): the cache measures its own",
        checkpoint_.path(), scales.size(), scales.front());
  }
  if (left.empty()) return {};
  const size_t count = left.size(), shown = std::min<size_t>(count, 5);
  left.resize(shown);
  return InvalidArgument("{} tensors are no part of a {} model of this configuration: {}{}", count, spec_.family,
                         fmt::join(left, ", "), count > shown ? ", …" : "");
}

void AddAttention(const ModelSpec& spec, const LayerSpec& layer, std::vector<RoleSize>* roles) {
  const int64_t hidden = spec.hidden_size, dim = layer.head_dim;
  roles->push_back({Role::kAttentionNorm, hidden});
  if (spec.post_norms) roles->push_back({Role::kPostAttentionNorm, hidden});
  if (spec.qk_norm) roles->insert(roles->end(), {{Role::kQNorm, dim}, {Role::kKNorm, dim}});
  roles->push_back({Role::kQ, layer.q_rows(), hidden, spec.qkv_bias});
  roles->push_back({Role::kK, layer.k_rows(), hidden, spec.qkv_bias});
  roles->push_back({Role::kV, layer.v_rows(), hidden, spec.qkv_bias});
  roles->push_back({Role::kO, hidden, layer.attended(), spec.o_bias});
}

void AddMlp(const ModelSpec& spec, bool moe, std::vector<RoleSize>* roles) {
  const int64_t hidden = spec.hidden_size, dense = spec.intermediate_size, inner = spec.moe_intermediate_size;
  roles->push_back({Role::kMlpNorm, hidden});
  if (spec.post_norms) roles->push_back({Role::kPostMlpNorm, hidden});
  if (!moe) {
    roles->push_back({Role::kGate, dense, hidden, spec.mlp_bias});
    roles->push_back({Role::kUp, dense, hidden, spec.mlp_bias});
    roles->push_back({Role::kDown, hidden, dense, spec.mlp_bias});
    return;
  }
  roles->push_back({Role::kRouter, spec.num_experts, hidden, spec.router_bias});
  roles->push_back({Role::kExpertGate, inner, hidden, spec.expert_bias});
  roles->push_back({Role::kExpertUp, inner, hidden, spec.expert_bias});
  roles->push_back({Role::kExpertDown, hidden, inner, spec.expert_bias});
}

}  // namespace

std::vector<RoleSize> RolesOf(const ModelSpec& spec, int layer) {
  if (layer < 0) {
    std::vector<RoleSize> roles = {{Role::kEmbedding, spec.vocab_size, spec.hidden_size},
                                   {Role::kFinalNorm, spec.hidden_size}};
    if (!spec.tied_embeddings) roles.push_back({Role::kLmHead, spec.vocab_size, spec.hidden_size});
    return roles;
  }
  std::vector<RoleSize> roles;
  const LayerSpec& of_layer = spec.layers[static_cast<size_t>(layer)];
  AddAttention(spec, of_layer, &roles);
  AddMlp(spec, of_layer.moe, &roles);
  return roles;
}

bool IsNorm(Role role) {
  constexpr Role kNorms[] = {Role::kFinalNorm, Role::kAttentionNorm, Role::kPostAttentionNorm,
                             Role::kMlpNorm,   Role::kPostMlpNorm,   Role::kQNorm,
                             Role::kKNorm};
  return std::ranges::find(kNorms, role) != std::end(kNorms);
}

bool IsQuantized(Role role) {
  return !IsNorm(role) && role != Role::kEmbedding && role != Role::kLmHead && role != Role::kRouter;
}

std::vector<Role> PartsOf(Role role) {
  if (role == Role::kQkv) return {Role::kQ, Role::kK, Role::kV};
  if (role == Role::kGateUp) return {Role::kGate, Role::kUp};
  if (role == Role::kExpertGateUp) return {Role::kExpertGate, Role::kExpertUp};
  return {};
}

std::string CheckpointNames::NameOf(const TensorName& name, int64_t layer, int64_t expert) const {
  return (name.role == Role::kLmHead ? prefix.head : prefix.body) + Numbered(name.pattern, layer, expert);
}

std::vector<int32_t> CheckpointNames::RowOrder(const ModelSpec& spec, int layer, Role role) const {
  if (!interleaved || (role != Role::kQ && role != Role::kK)) return {};
  const LayerSpec& heads = spec.layers[static_cast<size_t>(layer)];
  return SplitHalvesRows(role == Role::kQ ? heads.num_heads : heads.num_kv_heads, heads.head_dim, spec.rotary_dim);
}

Result<CheckpointNames> ChooseNames(const formats::Checkpoint& checkpoint, const ModelSpec& spec) {
  const Family& family = FamilyNamed(spec.family);
  const bool is_gguf = checkpoint.kind() == formats::CheckpointKind::kGguf;
  const std::vector<const NameTable*> tables = is_gguf ? std::vector<const NameTable*>{&kGgufNames} : family.names;
  const auto first_moe = std::ranges::find(spec.layers, true, &LayerSpec::moe);
  std::vector<std::string> tried;
  for (const NameTable* table : tables) {
    for (const NameTable::Prefix& prefix : table->prefixes) {
      const CheckpointNames names = {table, prefix, is_gguf && family.gguf_interleaved_rope};
      const auto name_of = [&](Role role, int64_t layer) {
        const TensorName* name = table->Find(role);
        return name ? names.NameOf(*name, layer) + name->weight : std::string();
      };
      const std::string embedding = name_of(Role::kEmbedding, -1);
      const bool has_router = first_moe == spec.layers.end() ||
                              checkpoint.Find(name_of(Role::kRouter, first_moe - spec.layers.begin())) != nullptr;
      if (checkpoint.Find(embedding) != nullptr && has_router) return names;
      if (std::ranges::find(tried, embedding) == tried.end()) tried.push_back(embedding);
    }
  }
  return InvalidArgument("no tensors named as family {} names them (looked for {})", spec.family,
                         fmt::join(tried, ", "));
}

Result<std::vector<RoleTensor>> ReadRoles(const formats::Checkpoint& checkpoint, const ModelSpec& spec) {
  const auto read = [&]() -> Result<std::vector<RoleTensor>> {
    INGOT_ASSIGN_OR_RETURN(const CheckpointNames names, ChooseNames(checkpoint, spec));
    Reader reader(checkpoint, spec, names);
    for (int layer = -1; layer < spec.num_layers; ++layer) INGOT_RETURN_IF_ERROR(reader.ReadLayer(layer));
    INGOT_RETURN_IF_ERROR(reader.CheckNothingIsLeft());
    std::vector<RoleTensor> tensors = reader.Finish();
    const auto first = std::ranges::find(tensors, 0, &RoleTensor::layer);
    std::rotate(tensors.begin() + 1, first, tensors.end());
    return tensors;
  };
  auto tensors = read();
  if (!tensors) return Error(tensors.error().Annotate(checkpoint.path()));
  return tensors;
}

Result<std::vector<RoleTensor>> ReadLayerRoles(const formats::Checkpoint& checkpoint, const ModelSpec& spec,
                                               const CheckpointNames& names, int layer) {
  Reader reader(checkpoint, spec, names);
  INGOT_RETURN_IF_ERROR(reader.ReadLayer(layer));
  return reader.Finish();
}

std::vector<int32_t> SplitHalvesRows(int num_heads, int head_dim, int rotary_dim) {
  std::vector<int32_t> rows;
  for (int head = 0; head < num_heads; ++head) {
    const int begin = head * head_dim;
    for (int half = 0; half < 2; ++half) {
      for (int j = 0; j < rotary_dim / 2; ++j) rows.push_back(begin + 2 * j + half);
    }
    for (int d = rotary_dim; d < head_dim; ++d) rows.push_back(begin + d);
  }
  return rows;
}

std::vector<int32_t> UngroupedQkvRows(const LayerSpec& layer) {
  const int num_kv_heads = layer.num_kv_heads, head_dim = layer.head_dim, group = layer.num_heads / num_kv_heads;
  std::vector<int32_t> rows;
  auto append_head = [&](int kv_head, int place) {
    const int begin = (kv_head * (group + 2) + place) * head_dim;
    for (int d = 0; d < head_dim; ++d) rows.push_back(begin + d);
  };
  for (int head = 0; head < layer.num_heads; ++head) append_head(head / group, head % group);
  for (int place : {group, group + 1}) {
    for (int kv_head = 0; kv_head < num_kv_heads; ++kv_head) append_head(kv_head, place);
  }
  return rows;
}

}  // namespace ingot::models
