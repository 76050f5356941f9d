// The models behind one server.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "answers/api_schemas.h"
#include "answers/errors.h"
#include "llm/llm.h"

namespace ingot::answers {

struct ServedModel {
  llm::Llm& llm;
  std::string name;
  std::time_t created;  // when it began to be served
  ModelLimits limits;
  std::string root = {};  // what it was made of; "": not shown
};

// Finds a model by the name that a request gives. Immutable while it serves.
class ServedModels {
 public:
  void Add(ServedModel model) { models_.push_back(std::make_unique<ServedModel>(std::move(model))); }
  const std::vector<std::unique_ptr<ServedModel>>& all() const { return models_; }
  // "": the first. Null when there is no such model.
  const ServedModel* Find(std::string_view name) const {
    for (const auto& model : models_) {
      if (name.empty() || model->name == name) return model.get();
    }
    return nullptr;
  }
  WireError Unknown(std::string_view name) const {
    std::string known;
    for (const auto& model : models_) known += (known.empty() ? "'" : ", '") + model->name + "'";
    return {404, "not_found_error", "model_not_found", "model",
            fmt::format("model '{}' is not served here; this server has {}", name, known)};
  }

 private:
  std::vector<std::unique_ptr<ServedModel>> models_;
};

}  // namespace ingot::answers
