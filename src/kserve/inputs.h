// The inputs of a served model as KServe's and Triton's clients know them: names of TensorRT-LLM's ensemble, and of
// LMDeploy's for sessions.
#pragma once

#include <boost/json/object.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "answers/schema.h"
#include "answers/served_models.h"
#include "kserve/tensor.h"

namespace ingot::kserve {

enum class Kind : uint8_t { kText, kInteger, kUnsigned, kFloat, kBool };

// A row of the table that metadata, config.pbtxt, checks and reading follow.
struct Input {
  const char* name;
  Kind kind;
  bool is_list = false;
  const char* param = nullptr;  // the parameter of llm/params.h that it sets; null: read by name
  // Another name of the input before it in the table; not shown.
  bool is_alias = false;
  // Words as ids, in FasterTransformer's form: [2, n], ids of all words and below them where each word ends.
  bool is_words = false;
  DataType type() const;
  std::vector<int64_t> dims() const;  // without the batch dimension; -1: any size
};
std::span<const Input> AllInputs();
// Parameters that no input sets, but members of a request's parameters or of a body: a map; what Triton's clients send
// in microseconds; a text that has no use in a batch.
inline constexpr const char* kParamsWithoutInput[] = {"logit_bias", "timeout", "cache_salt"};
// Null where there is none.
const Input* FindInput(std::string_view name);

struct Output {
  const char* name;
  DataType type;
  bool is_list = false;
  std::vector<int64_t> dims() const;
};
std::span<const Output> AllOutputs();

// The inputs as members of a JSON object: the body of Triton's generate extension, and what a row of tensors becomes.
answers::Schema GenerateSchema(const answers::ModelLimits& limits);

// The rows of a request, each an object that is to be checked with GenerateSchema. Shapes, types and the batch
// dimension are checked here: kInvalidArgument names the tensor, what is expected and what is given.
struct Rows {
  std::vector<boost::json::object> rows;
  bool has_batch_dimension = false;  // shapes are [rows, …]
};
Result<Rows> RowsOf(const InferRequest& request);

// Parameters of a request as inputs: sequence_id, sequence_start and sequence_end, priority, timeout, and whatever
// inputs have one element. Inputs that `object` has already stay.
Status MergeParameters(const boost::json::object& parameters, boost::json::object* object);

// Empty words ask for nothing: clients that must fill a tensor send them.
boost::json::array WithoutEmptyTexts(const boost::json::array& list);

}  // namespace ingot::kserve
