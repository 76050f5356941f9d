// From tensors to a question for the model, and from its answer to tensors: what HTTP, gRPC and Triton share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "answers/answer.h"
#include "answers/fields.h"
#include "answers/served_models.h"
#include "kserve/inputs.h"
#include "kserve/tensor.h"
#include "llm/sessions.h"

namespace ingot::kserve {

// How an answer is written. One per answer; called by one thread at a time.
class Outputs {
 public:
  struct Plan {
    std::string id, model_name;
    std::vector<std::string> wanted;  // names; empty: all that apply
    bool log_probs = false;
    bool has_batch_dimension = false;
    int64_t n = 1;                                 // answers to a row
    std::vector<std::string> echoed_texts;         // [rows], before each answer; empty: none is
    std::vector<std::vector<int32_t>> echoed_ids;  // [rows], of prompts that came as ids
  };
  explicit Outputs(Plan plan);
  // What the event adds.
  InferResponse Piece(const answers::Choice& choice, const llm::Event& event);
  InferResponse Whole(const std::vector<answers::Choice>& choices) const;

 private:
  struct Row {
    int64_t index;  // prompt · n + which of n
    std::string text;
    std::vector<int32_t> ids;
    std::vector<float> log_probs;
    float cum_log_prob;
    std::string finish;  // "" while it runs
  };
  InferResponse Write(const std::vector<Row>& rows) const;

  const Plan plan_;
  std::vector<float> cum_log_probs_;  // [choices], of streams
};

struct Generation {
  answers::Question question;
  std::shared_ptr<Outputs> outputs;
  bool stream = false;
};

// Reads requests for one served model. Immutable; borrows the model and the sessions.
class Generator {
 public:
  // `sessions`: null where there are none.
  Generator(const answers::ServedModel& model, llm::Sessions* sessions);
  // Of tensors; `owner` has the sessions. The error's field() names the tensor.
  Result<Generation> FromTensors(const InferRequest& request, const std::string& owner) const;
  // Of a body of Triton's generate extension: inputs as members, and more of them in its "parameters".
  Result<Generation> FromBody(std::string_view body, const std::string& owner) const;
  const answers::Schema& schema() const { return schema_; }
  const answers::ServedModel& model() const { return model_; }

 private:
  Status AddRow(const boost::json::object& row, const std::string& owner, Generation* generation,
                Outputs::Plan* plan) const;
  Result<answers::Question> TurnOf(const answers::Fields& fields, llm::Request request, llm::SessionKey key) const;

  const answers::ServedModel& model_;
  llm::Sessions* const sessions_;
  const answers::Schema schema_;
};

// {"name", "versions", "platform", "inputs", "outputs"}
std::string ModelMetadataJson(const std::string& model_name);
std::string ServerMetadataJson(const std::string& version);
inline constexpr const char* kServerName = "ingot";
inline constexpr const char* kPlatform = "ingot";
inline constexpr const char* kExtensions[] = {"binary_tensor_data", "parameters",          "generate",
                                              "sequence",           "model_configuration", "statistics"};
// With the batch dimension.
std::vector<int64_t> MetadataShape(std::vector<int64_t> dims);

}  // namespace ingot::kserve
