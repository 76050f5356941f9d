#include "models/spec_internal.h"

namespace ingot::models {
namespace {

using Kind = RopeSpec::Kind;

// Factors and lengths beyond these are damage, and would make frequencies that are not numbers.
constexpr double kMaxFactor = 1e6;
constexpr double kMaxTheta = 1e15;

Result<std::vector<double>> ReadFactors(const JsonView& scaling, std::string_view key) {
  INGOT_ASSIGN_OR_RETURN(const JsonView list, scaling.Get(key));
  INGOT_ASSIGN_OR_RETURN(const auto* array, list.AsArray());
  if (array->size() > static_cast<size_t>(kHeadDim.high)) {
    return InvalidArgument("{} has {} numbers; at most {} make sense", list.path(), array->size(), kHeadDim.high);
  }
  std::vector<double> factors;
  for (size_t i = 0; i < array->size(); ++i) {
    INGOT_ASSIGN_OR_RETURN(const double factor, list.At(i).AsDouble());
    factors.push_back(factor);
  }
  return factors;
}

Result<Kind> ReadKind(const JsonView& scaling) {
  // Phi-3's early configurations say "su" or "yarn" and mean LongRoPE: its factors show it.
  if (scaling.Find("short_factor")) return Kind::kLongRope;
  INGOT_ASSIGN_OR_RETURN(const std::string old_name, scaling.String("type", "default"));
  INGOT_ASSIGN_OR_RETURN(const std::string name, scaling.String("rope_type", old_name));
  if (name == "default" || name == "none" || name == "origin" || name == "mrope") return Kind::kDefault;
  if (name == "linear") return Kind::kLinear;
  if (name == "dynamic") return Kind::kDynamicNtk;
  if (name == "llama3") return Kind::kLlama3;
  if (name == "yarn") return Kind::kYarn;
  if (name == "longrope" || name == "su") return Kind::kLongRope;
  return Unsupported("{}: rope_type \"{}\" is not known; known are default, linear, dynamic, llama3, yarn, longrope",
                     scaling.path(), name);
}

Result<std::optional<double>> ReadOptional(const JsonView& scaling, std::string_view key) {
  if (!scaling.Find(key)) return std::optional<double>();
  INGOT_ASSIGN_OR_RETURN(const double value, ReadDouble(scaling, key, 0.0, kMaxFactor));
  return std::optional<double>(value);
}

// What only some kinds have.
Status ReadKindParameters(const JsonView& scaling, RopeSpec* rope) {
  if (rope->kind == Kind::kLlama3) {
    INGOT_ASSIGN_OR_RETURN(rope->low_freq_factor, ReadDouble(scaling, "low_freq_factor", 1e-3, kMaxFactor));
    INGOT_ASSIGN_OR_RETURN(rope->high_freq_factor, ReadDouble(scaling, "high_freq_factor", 1e-3, kMaxFactor));
    if (!(rope->high_freq_factor > rope->low_freq_factor)) {
      return InvalidArgument("{}: high_freq_factor {} is not above low_freq_factor {}", scaling.path(),
                             rope->high_freq_factor, rope->low_freq_factor);
    }
  }
  if (rope->kind == Kind::kYarn) {
    INGOT_ASSIGN_OR_RETURN(rope->beta_fast, ReadDouble(scaling, "beta_fast", 1e-3, kMaxFactor, 32.0));
    INGOT_ASSIGN_OR_RETURN(rope->beta_slow, ReadDouble(scaling, "beta_slow", 1e-3, kMaxFactor, 1.0));
    INGOT_ASSIGN_OR_RETURN(rope->mscale, ReadOptional(scaling, "mscale"));
    INGOT_ASSIGN_OR_RETURN(rope->mscale_all_dim, ReadOptional(scaling, "mscale_all_dim"));
    INGOT_ASSIGN_OR_RETURN(rope->truncate, scaling.Bool("truncate", true));
  }
  if (rope->kind == Kind::kLongRope) {
    INGOT_ASSIGN_OR_RETURN(rope->short_factor, ReadFactors(scaling, "short_factor"));
    INGOT_ASSIGN_OR_RETURN(rope->long_factor, ReadFactors(scaling, "long_factor"));
  }
  INGOT_ASSIGN_OR_RETURN(rope->attention_factor, ReadOptional(scaling, "attention_factor"));
  return Status();
}

}  // namespace

Result<std::optional<JsonView>> RopeEntry(const JsonView& config, std::string_view layer_type) {
  for (const char* key : {"rope_parameters", "rope_scaling", "rotary"}) {
    const std::optional<JsonView> entry = config.Find(key);
    if (!entry) continue;
    INGOT_ASSIGN_OR_RETURN([[maybe_unused]] const auto* object, entry->AsObject());
    if (entry->Find("full_attention") || entry->Find("sliding_attention")) return entry->Find(layer_type);
    return entry;
  }
  return std::optional<JsonView>();
}

Result<RopeSpec> ReadRope(const JsonView& config, const std::optional<JsonView>& scaling, double theta,
                          int64_t max_position) {
  RopeSpec rope;
  INGOT_ASSIGN_OR_RETURN(rope.theta, ReadDouble(config, "rope_theta", 1.0, kMaxTheta, theta));
  rope.original_max_position = max_position;
  if (scaling) {
    INGOT_ASSIGN_OR_RETURN(rope.theta, ReadDouble(*scaling, "rope_theta", 1.0, kMaxTheta, rope.theta));
    INGOT_ASSIGN_OR_RETURN(rope.theta, ReadDouble(*scaling, "base", 1.0, kMaxTheta, rope.theta));  // InternLM
    INGOT_ASSIGN_OR_RETURN(rope.kind, ReadKind(*scaling));
  }
  if (!(rope.theta > 1.0)) return InvalidArgument("{}: rope_theta {} is not above 1", config.path(), rope.theta);
  if (rope.kind == Kind::kDefault) return rope;

  std::optional<double> implied;  // LongRoPE and YaRN may leave the factor to the lengths
  if (rope.kind != Kind::kDynamicNtk) {
    INGOT_ASSIGN_OR_RETURN(rope.original_max_position,
                           ReadInt(*scaling, "original_max_position_embeddings", {2, kMaxPosition.high}, max_position));
    INGOT_ASSIGN_OR_RETURN(rope.original_max_position, ReadInt(config, "original_max_position_embeddings",
                                                               {2, kMaxPosition.high}, rope.original_max_position));
  }
  if (rope.kind == Kind::kLongRope || rope.kind == Kind::kYarn) {
    implied = static_cast<double>(max_position) / static_cast<double>(rope.original_max_position);
  }
  if (rope.kind == Kind::kDynamicNtk) {  // InternLM calls it scaling_factor, and means 1 where there is none
    INGOT_ASSIGN_OR_RETURN(implied, ReadDouble(*scaling, "scaling_factor", 1e-3, kMaxFactor, 1.0));
  }
  INGOT_ASSIGN_OR_RETURN(rope.factor, ReadDouble(*scaling, "factor", 1e-3, kMaxFactor, implied));
  INGOT_RETURN_IF_ERROR(ReadKindParameters(*scaling, &rope));
  return rope;
}

}  // namespace ingot::models
