// A model's config.pbtxt, which Triton gives as JSON.
#pragma once

#include <string>
#include <string_view>

#include "llm/llm.h"

namespace ingot::triton {

struct ModelConfig {
  llm::LoadOptions load;
  std::string session_db;      // "": sessions end with the server
  int64_t max_output_len = 0;  // 0: what the context leaves
  bool decoupled = true;       // answers may come in pieces
};

// `parameters` of the config: model, session_len, quant_policy, …. An error names the parameter, its value and what it
// may be. A model that is no absolute path is looked for in `version_folder`, the model's folder in the repository.
Result<ModelConfig> ReadModelConfig(std::string_view json, const std::string& version_folder);
// The config with the inputs and outputs that the model has, where it names none, and how it answers.
Result<std::string> CompleteModelConfig(std::string_view json);

// config.pbtxt of a repository that serves `model` with these parameters.
struct RepositoryParameter {
  std::string name, value;
};
std::string ConfigText(const std::string& model_name, const std::vector<RepositoryParameter>& parameters,
                       bool decoupled);

}  // namespace ingot::triton
