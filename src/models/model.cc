#include "models/model.h"

#include <algorithm>
#include <tuple>

#include "base/check.h"
#include "base/json.h"
#include "base/log.h"
#include "formats/quantized.h"
#include "models/decoder.h"
#include "models/roles.h"
#include "models/spec_internal.h"

namespace ingot::models {
namespace {

bool Has(const formats::Checkpoint& checkpoint, const char* name) { return checkpoint.Find(name) != nullptr; }

// A table of rotary factors, if the file has it. More than half a head's numbers make no sense and are not read.
Status ReadFactors(const formats::Checkpoint& checkpoint, const char* name, std::vector<float>* factors) {
  const formats::TensorEntry* entry = checkpoint.Find(name);
  if (!entry) return Status();
  if (entry->shape.size() != 1 || entry->shape[0] > kHeadDim.high) {
    return InvalidArgument("tensor {} is not a vector of at most {} numbers", name, kHeadDim.high);
  }
  INGOT_ASSIGN_OR_RETURN(*factors, checkpoint.Floats(name));
  return Status();
}

Result<GgufTensors> ReadGgufTensors(const formats::Checkpoint& checkpoint) {
  GgufTensors tensors;
  const formats::TensorEntry* table = checkpoint.Find("token_embd.weight");
  if (!table || table->shape.size() != 2) return InvalidArgument("tensor token_embd.weight is missing or no matrix");
  tensors.vocab_size = table->shape[0];
  if (tensors.vocab_size < kVocabSize.low || tensors.vocab_size > kVocabSize.high) {
    return InvalidArgument("token_embd.weight has {} rows, outside {}…{}", tensors.vocab_size, kVocabSize.low,
                           kVocabSize.high);
  }
  tensors.lm_head = Has(checkpoint, "output.weight");
  tensors.qkv_bias = Has(checkpoint, "blk.0.attn_q.bias") || Has(checkpoint, "blk.0.attn_qkv.bias");
  tensors.o_bias = Has(checkpoint, "blk.0.attn_output.bias");
  tensors.mlp_bias = Has(checkpoint, "blk.0.ffn_down.bias");
  tensors.router_bias = Has(checkpoint, "blk.0.ffn_gate_inp.bias");
  tensors.expert_bias = Has(checkpoint, "blk.0.ffn_down_exps.bias");
  INGOT_RETURN_IF_ERROR(ReadFactors(checkpoint, "rope_freqs.weight", &tensors.rope_freqs));
  INGOT_RETURN_IF_ERROR(ReadFactors(checkpoint, "rope_factors_short.weight", &tensors.rope_factors_short));
  INGOT_RETURN_IF_ERROR(ReadFactors(checkpoint, "rope_factors_long.weight", &tensors.rope_factors_long));
  return tensors;
}

// Some configurations say "tied", and the checkpoint has a head that is not the embedding. transformers uses it.
void UseOwnHead(const formats::Checkpoint& checkpoint, ModelSpec* spec) {
  const auto names = ChooseNames(checkpoint, *spec);
  if (!names) return;  // the reader of the tensors reports the error
  const auto find = [&](Role role) {
    const TensorName& name = *names->table->Find(role);
    return checkpoint.Find(names->NameOf(name, -1) + name.weight);
  };
  const formats::TensorEntry *head = find(Role::kLmHead), *embedding = find(Role::kEmbedding);
  if (head == nullptr || (head->shape == embedding->shape && std::ranges::equal(head->bytes, embedding->bytes))) return;
  spec->tied_embeddings = false;
  Log(LogLevel::kWarning, "{}: tie_word_embeddings is true, but {} is not the embedding: this head is used",
      checkpoint.path(), head->name);
}

// Keys of the cache are rotated when they are written, so one table serves prompts of every length.
void TellOfLongRope(const ModelSpec& spec, int64_t session_len) {
  if (session_len <= 0) session_len = spec.max_position;
  for (const RopeSpec& rope : spec.ropes) {
    if (rope.kind != RopeSpec::Kind::kLongRope || rope.short_factor == rope.long_factor) continue;
    if (session_len <= rope.original_max_position) continue;
    Log(LogLevel::kWarning,
        "LongRoPE: sessions of {} tokens take the factors for more than {}, in short prompts too; --session-len {} "
        "takes the factors for short ones",
        session_len, rope.original_max_position, rope.original_max_position);
  }
}

}  // namespace

Result<ModelSpec> ReadModelSpec(const formats::Checkpoint& checkpoint) {
  const boost::json::value config(checkpoint.config());
  auto read = [&]() -> Result<ModelSpec> {
    if (checkpoint.kind() == formats::CheckpointKind::kHuggingFace) {
      INGOT_RETURN_IF_ERROR(formats::CheckQuantization(JsonView(config, "config.json")));
      return ReadHuggingFaceSpec(config);
    }
    INGOT_ASSIGN_OR_RETURN(const GgufTensors tensors, ReadGgufTensors(checkpoint));
    return ReadGgufSpec(config, tensors);
  };
  Result<ModelSpec> spec = read();
  if (!spec) return Error(spec.error().Annotate(checkpoint.path()));
  if (spec->tied_embeddings) UseOwnHead(checkpoint, &*spec);
  return spec;
}

Result<std::unique_ptr<Model>> Model::Load(std::shared_ptr<const formats::Checkpoint> checkpoint,
                                           const LoadOptions& options, ops::Backend& backend) {
  INGOT_ASSIGN_OR_RETURN(ModelSpec spec, ReadModelSpec(*checkpoint));
  return Load(std::move(checkpoint), std::move(spec), options, backend);
}

Result<std::unique_ptr<Model>> Model::Load(std::shared_ptr<const formats::Checkpoint> checkpoint, ModelSpec spec,
                                           const LoadOptions& options, ops::Backend& backend) {
  TellOfLongRope(spec, options.session_len);
  Fingerprint print;
  formats::AddTo(*checkpoint, &print);
  INGOT_ASSIGN_OR_RETURN(std::unique_ptr<Model> model,
                         Decoder::Load(std::move(checkpoint), std::move(spec), options, backend));
  model->fingerprint_ = print.Text();
  return model;
}

std::vector<KvGroup> KvGroupsOf(const ModelSpec& spec) {
  std::vector<KvGroup> groups;
  for (int layer = 0; layer < spec.num_layers; ++layer) {
    const LayerSpec& l = spec.layers[static_cast<size_t>(layer)];
    KvGroup own{.state_bytes = l.state_bytes()};
    if (own.state_bytes == 0) own = {l.window, l.num_kv_heads, l.head_dim, l.value_head_dim, {}};
    const auto shape = [](const KvGroup& of) {
      return std::tie(of.state_bytes, of.window, of.num_kv_heads, of.head_dim, of.value_head_dim);
    };
    auto group = std::ranges::find_if(groups, [&](const KvGroup& known) { return shape(known) == shape(own); });
    if (group == groups.end()) group = groups.insert(groups.end(), std::move(own));
    group->layers.push_back(layer);
  }
  return groups;
}

ops::KvLayout Model::KvLayoutFor(const ops::Backend& backend, const KvGroup& group, int block_len,
                                 ops::KvFormat format) const {
  if (group.state_bytes > 0) {
    const auto num_layers = static_cast<int>(group.layers.size());
    return {{.format = format, .num_layers = num_layers, .block_len = block_len},
            num_layers * ((group.state_bytes + 63) / 64 * 64)};
  }
  INGOT_CHECK(group.value_head_dim == group.head_dim);  // CheckSpec
  return backend.LayoutOf({.format = format,
                           .num_layers = static_cast<int>(group.layers.size()),
                           .num_heads = spec().heads().num_heads,
                           .num_kv_heads = group.num_kv_heads,
                           .head_dim = group.head_dim,
                           .window = group.window,
                           .block_len = block_len});
}

}  // namespace ingot::models
