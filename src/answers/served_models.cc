#include "answers/served_models.h"

#include "base/hash.h"
#include "llm/compute.h"
#include "models/model.h"
#include "ops/isa_info.h"

namespace ingot::answers {

std::string SystemFingerprint(const llm::Llm& llm, std::string_view version) {
  const llm::LoadOptions& options = llm.options();
  Fingerprint print;
  print.Add(llm.model().fingerprint());
  print.Add(ops::GetIsaInfo().chosen);
  print.Add(fmt::format("{} quant_policy={} kv_bf16={}", llm::ComputeName(llm::ComputeOf(options)),
                        options.quant_policy, llm::HasBf16Cache(options)));
  if (options.backend == "pytorch") print.Add("pytorch " + options.pytorch_dtype);
  return fmt::format("ingot-{}-{}", version, print.Text().substr(0, 12));
}

const ServedModel* ServedModels::Find(std::string_view name) const {
  constexpr std::string_view kLatest = ":latest";
  const std::string_view plain = name.ends_with(kLatest) ? name.substr(0, name.size() - kLatest.size()) : name;
  for (const auto& model : models_) {
    if (name.empty() || name == model->name || plain == model->name || name == model->typed) return model.get();
  }
  return nullptr;
}

WireError ServedModels::Unknown(std::string_view name) const {
  std::string known;
  for (const auto& model : models_) known += (known.empty() ? "'" : ", '") + model->name + "'";
  return {404, "not_found_error", "model_not_found", "model",
          fmt::format("model '{}' is not served here; this server has {}", name, known)};
}

}  // namespace ingot::answers
