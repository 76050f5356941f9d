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
  std::string root = {};         // what it was made of; "": not shown
  std::string fingerprint = {};  // SystemFingerprint
  std::string typed = {};        // another name that requests may use; "": none
};

// Tells apart what may answer the same request with other bits: "ingot-VERSION-…" of the model, how it computes and how
// its cache is stored.
std::string SystemFingerprint(const llm::Llm& llm, std::string_view version);

// Finds a model by the name that a request gives. Immutable while it serves.
class ServedModels {
 public:
  void Add(ServedModel model) { models_.push_back(std::make_unique<ServedModel>(std::move(model))); }
  const std::vector<std::unique_ptr<ServedModel>>& all() const { return models_; }
  // "": the first. A name also means itself with ":latest" behind it, as ollama's clients say. Null when there is no
  // such model.
  const ServedModel* Find(std::string_view name) const;
  WireError Unknown(std::string_view name) const;

 private:
  std::vector<std::unique_ptr<ServedModel>> models_;
};

}  // namespace ingot::answers
