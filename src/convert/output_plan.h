// What a converted checkpoint will hold, tensor by tensor, and the loop that streams it to a writer.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "formats/writers/output_tensor.h"
#include "models/roles.h"

namespace ingot::convert {

// Bytes as they are to be written.
struct RawBytes {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;  // of `bytes`
  std::function<void()> drop;         // called when they were written: drops their pages; may be empty
};

struct PlannedTensor {
  formats::OutputTensor out;
  // One of these:
  WeightSourcePtr matrix;
  std::vector<float> numbers;
  RawBytes raw;
};
using Plan = std::vector<PlannedTensor>;

// How a family's checkpoints are written: Hugging Face by its first table, with experts one by one; GGUF.
models::CheckpointNames HuggingFaceNames(const models::Family& family);
models::CheckpointNames GgufNames(const models::Family& family);
// The name of a tensor in the Hugging Face form of a family, without ".weight" or ".bias". kUnsupported: it has none.
Result<std::string> HuggingFaceName(const models::RoleTensor& tensor, const models::Family& family);

// Norms less Gemma's one.
Result<Plan> PlanHuggingFace(std::vector<models::RoleTensor> tensors, const models::Family& family, Encoding encoding);
// Experts stacked; Q and K in the order of the architecture; norms, biases and routers in f32. Rows that are no
// multiple of the encoding's block fall back to f16 and are named in `notices`.
Result<Plan> PlanGguf(std::vector<models::RoleTensor> tensors, const models::ModelSpec& spec,
                      const models::Family& family, Encoding encoding, std::vector<std::string>* notices);

std::vector<formats::OutputTensor> OutputsOf(const Plan& plan);

// Decodes and encodes every tensor, some rows at a time and in parallel, and gives the bytes to `write` in order.
Status StreamPlan(const Plan& plan, ThreadPool& pool, const std::function<Status(std::span<const std::byte>)>& write,
                  const std::function<void(int64_t done, int64_t total)>& progress);
// The same to a SafetensorsWriter or GgufWriter that was made for OutputsOf(plan), up to its Finish.
template <typename Writer>
Status WritePlan(const Plan& plan, ThreadPool& pool, Writer& writer,
                 const std::function<void(int64_t done, int64_t total)>& progress = nullptr) {
  INGOT_RETURN_IF_ERROR(
      StreamPlan(plan, pool, [&](std::span<const std::byte> bytes) { return writer.Write(bytes); }, progress));
  return writer.Finish();
}

}  // namespace ingot::convert
