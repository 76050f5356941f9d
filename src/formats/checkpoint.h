// A model's files as one neutral thing: configuration, vocabulary, template and named tensors. Knows no model.
#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/hash.h"
#include "base/status.h"
#include "base/vocabulary.h"
#include "tensor/encoding.h"
#include "tensor/weight_source.h"

namespace ingot::formats {

struct QuantizedMatrix;  // quantized.h

// A tensor in a mapped file. Shape is row-major (GGUF's reversed dimensions are turned round): shape.back() are the
// inputs.
struct TensorEntry {
  std::string name;
  Encoding encoding;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;  // exactly the tensor's; lives as long as the Checkpoint
  int file = 0;                      // index into files()
  // Why Weight and Floats refuse it ("type IQ2_XS"); empty if they do not. A type without an Encoding is listed as kU8;
  // in GGUF its bytes reach to the next tensor.
  std::string unsupported;
  // A matrix that several tensors hold (AWQ, GPTQ, compressed-tensors): `shape` is the matrix's, encoding and bytes are
  // those of its codes. Else null.
  std::shared_ptr<const QuantizedMatrix> quantized;
};

// What a tensor is stored as, for people: "Q4_K", "AWQ 4-bit g128"; "IQ2_XS" of a type that is not read.
std::string StoredAs(const TensorEntry& tensor);
// The descriptor of its numbers; nullopt where Weight would refuse it.
std::optional<Format> StoredFormat(const TensorEntry& tensor);

struct OpenOptions {
  bool weights = true;        // false: a Hugging Face directory may lack weights, and no tensors are listed
  std::string tokenizer_pre;  // instead of GGUF's tokenizer.ggml.pre; "": the file's own
};

enum class CheckpointKind { kHuggingFace, kGguf };

// Thread safety: const methods from any thread at once. Views live as long as any shared_ptr to it.
class Checkpoint : public std::enable_shared_from_this<Checkpoint> {
 public:
  // `path`: a Hugging Face directory (safetensors single or sharded, or PyTorch .bin), a .safetensors or .gguf file
  // inside one, a split GGUF's first part. Use ResolveModel first for names.
  static Result<std::shared_ptr<const Checkpoint>> Open(const std::string& path, const OpenOptions& options = {});
  virtual ~Checkpoint() = default;

  virtual CheckpointKind kind() const = 0;
  virtual const std::string& path() const = 0;
  // Hugging Face: config.json. GGUF: its metadata, arrays of the vocabulary left out, keys as in the file
  // ("llama.block_count").
  virtual const boost::json::object& config() const = 0;
  virtual const boost::json::object& generation_config() const = 0;  // {} if none
  virtual const Vocabulary& vocabulary() const = 0;
  virtual const std::string& chat_template() const = 0;  // Jinja; "" if none
  virtual const std::vector<std::string>& files() const = 0;
  virtual std::vector<int64_t> file_times() const { return {}; }  // when each was changed, ns since 1970; {}: unknown
  virtual int64_t weight_bytes() const = 0;                       // of all tensors, as stored

  virtual const TensorEntry* Find(const std::string& name) const = 0;  // nullptr if absent
  virtual std::vector<const TensorEntry*> tensors() const = 0;         // in file order
  // A 2-D tensor as a weight matrix (3-D: [experts, rows, cols] flattened to [experts · rows, cols]).
  virtual Result<WeightSourcePtr> Weight(const std::string& name) const;
  // A small tensor as numbers (norms, biases), of `expected` elements (-1: any).
  virtual Result<std::vector<float>> Floats(const std::string& name, int64_t expected = -1) const;
  // Lets go of the resident pages of a span of a file.
  virtual void DropPages(const TensorEntry& tensor) const = 0;
};

// Adds what tells its model from others: the configuration, and how every tensor begins.
void AddTo(const Checkpoint& checkpoint, Fingerprint* print);

// A path as it is; else `Org/Name` (optionally @revision) in the local Hugging Face cache (HF_HUB_CACHE, HF_HOME,
// XDG_CACHE_HOME; models--Org--Name/refs/main → snapshots/<commit>); else a GGUF file inside that snapshot. kNotFound
// lists where it looked.
Result<std::string> ResolveModel(const std::string& name);

}  // namespace ingot::formats
