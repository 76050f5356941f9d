// A decoder model: packed weights and the one way through them.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "formats/checkpoint.h"
#include "models/model_spec.h"
#include "ops/backend.h"

namespace ingot::models {

struct LoadOptions {
  ops::Compute compute = ops::Compute::kFast;
  int64_t session_len = 0;  // fixes dynamic NTK and LongRoPE frequencies; 0: max_position
  // Shapes and sizes only: no matrix is read or held, and Forward must not be called.
  bool outline = false;
  // A folder where weights are kept as packed, and mapped from the next time; "": they are packed. On CPUs.
  std::string weights_cache = {};
  // Called between weights with bytes read and bytes in all; may be empty.
  std::function<void(int64_t done, int64_t total)> progress;
};

// Sees hidden states as they pass, in the host's memory: [num_tokens, hidden_size] after layer `layer` (-1: the
// embedding; num_layers: the final norm).
using LayerTap = std::function<void(int layer, const float* hidden, int64_t num_tokens)>;

// Layers whose cache has the same life (all of it, what a sliding window sees, or a state) and the same shape.
struct KvGroup {
  int window = 0;  // 0: all positions
  int num_kv_heads = 0, head_dim = 0, value_head_dim = 0;
  std::vector<int> layers;
  int64_t state_bytes = 0;  // of a layer: it keeps a state in the place of K and V, and the numbers before are 0
  bool operator==(const KvGroup&) const = default;
};
// The groups of a model, in the order of their first layers.
std::vector<KvGroup> KvGroupsOf(const ModelSpec& spec);

struct WeightInfo {  // for `ingot info`
  std::string name;
  int64_t out_features, in_features;
  Format stored, held;
  int64_t bytes;
};

// Reads a checkpoint's shape: config.json or GGUF metadata. kUnsupported names the architecture and those that are
// known.
Result<ModelSpec> ReadModelSpec(const formats::Checkpoint& checkpoint);

// The largest batch that a model's scratch memory is to serve.
struct ForwardLimits {
  ops::StepLimits step;
  int64_t max_logits = 1;  // rows of logits
  ops::KvFormat kv_format = ops::KvFormat::kF16;
};

// Thread safety: Forward from one thread at a time; const methods from any.
class Model {
 public:
  // Streams the weights into the backend's layout, layer by layer; a tied table is held once. `backend` outlives it.
  static Result<std::unique_ptr<Model>> Load(std::shared_ptr<const formats::Checkpoint> checkpoint,
                                             const LoadOptions& options, ops::Backend& backend);
  // The same for a checkpoint whose configuration was read before, or that has none.
  static Result<std::unique_ptr<Model>> Load(std::shared_ptr<const formats::Checkpoint> checkpoint, ModelSpec spec,
                                             const LoadOptions& options, ops::Backend& backend);
  virtual ~Model() = default;

  virtual const ModelSpec& spec() const = 0;
  virtual int64_t weight_bytes() const = 0;  // as packed
  // Of these, in a mapped file (LoadOptions::weights_cache): the system counts them as available.
  virtual int64_t mapped_weight_bytes() const { return 0; }
  // Tells its checkpoint from others; "" of a model that was made without one.
  const std::string& fingerprint() const { return fingerprint_; }
  virtual std::vector<WeightInfo> weights() const = 0;
  virtual int num_adapters() const { return 0; }  // those of a batch are in [0, num_adapters)
  std::vector<KvGroup> kv_groups() const { return KvGroupsOf(spec()); }
  // The layout of the cache of a group's layers.
  virtual ops::KvLayout KvLayoutFor(const ops::Backend& backend, const KvGroup& group, int block_len,
                                    ops::KvFormat format) const;
  virtual int64_t ScratchBytes(const ops::Backend& backend, const ForwardLimits& limits) const = 0;

  // Runs the batch: writes its K and V to the caches of its groups and the wanted logits to `logits`: f32
  // [L, vocab_size] of the backend's memory. Allocates nothing but from context.scratch. Returns before the device is
  // done, unless there is a tap. An error says that the pass failed: then what it should have written is undefined.
  virtual Status Forward(const ops::Context& context, const ops::StepBatch& batch, std::span<const ops::KvView> kv,
                         const TensorView& logits, const LayerTap* tap = nullptr) const = 0;

 protected:
  Model() = default;
  explicit Model(std::string fingerprint) : fingerprint_(std::move(fingerprint)) {}

 private:
  std::string fingerprint_;
};

}  // namespace ingot::models
