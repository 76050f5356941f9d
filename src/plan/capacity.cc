#include "plan/capacity.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "models/random_checkpoint.h"

namespace ingot::plan {
namespace {

constexpr int kMostSessions = 4096;                                  // as CheckLoadOptions has it
constexpr int64_t kMostSlots = std::numeric_limits<int32_t>::max();  // tokens of a cache

// The largest value in [0, high] for which `holds`; every value below one that holds does. 0 always does.
template <typename Holds>
int64_t Largest(int64_t high, const Holds& holds) {
  int64_t low = 0;
  while (low < high) {
    const int64_t middle = high - (high - low) / 2;
    holds(middle) ? low = middle : high = middle - 1;
  }
  return low;
}

class Planner {
 public:
  Planner(const models::Model& model, const llm::LoadOptions& options, int64_t free, ops::Backend& backend)
      : model_(model), options_(options), free_(free), backend_(backend) {}

  // The plan for so many sessions of full length, whatever memory there is.
  llm::MemoryPlan Full(int sessions, int64_t session_len) const {
    llm::LoadOptions options = options_;
    options.max_batch_size = sessions;
    options.session_len = session_len;
    options.cache_max_entry_count = 1.0;
    options.kv_cache_bytes = 0;
    constexpr int64_t kPlenty = int64_t{1} << 60;
    const auto plan = llm::PlanMemory(options, llm::NeedsOf(model_, options, backend_), kPlenty);
    INGOT_CHECK(plan.has_value());
    return *plan;
  }
  // The cache as a share of what it may be taken of; infinite where nothing is left.
  double Share(const llm::MemoryPlan& full) const {
    const int64_t left = free_ - full.workspace - full.kv_tails;
    if (left <= 0) return std::numeric_limits<double>::infinity();
    return static_cast<double>(full.kv) / static_cast<double>(left);
  }
  bool Fits(int sessions, int64_t session_len) const {
    return Share(Full(sessions, session_len)) <= options_.cache_max_entry_count;
  }

  int AtOnce(int64_t session_len) const {
    const int64_t high = std::min<int64_t>(kMostSessions, kMostSlots / (session_len + options_.cache_block_seq_len));
    return static_cast<int>(Largest(high, [&](int64_t n) { return Fits(static_cast<int>(n), session_len); }));
  }
  int64_t Longest(int sessions) const {
    const int64_t block = options_.cache_block_seq_len;
    const int64_t high = std::min(kLongestSession, kMostSlots / sessions - block) / block;
    return block * Largest(high, [&](int64_t blocks) { return Fits(sessions, blocks * block); });
  }
  int64_t Tokens() const {
    llm::LoadOptions options = options_;
    llm::MemoryNeeds needs = llm::NeedsOf(model_, options, backend_);
    needs.max_position = options.session_len;
    options.session_len = 0;  // shorter where it must be
    const int64_t workspace = needs.workspace(needs.max_position) + needs.kv_tails;
    options.kv_cache_bytes =
        static_cast<int64_t>(options.cache_max_entry_count * static_cast<double>(free_ - workspace));
    if (options.kv_cache_bytes <= 0) return 0;
    const auto plan = llm::PlanMemory(options, needs, free_);
    if (!plan) return 0;
    const int64_t blocks = *std::ranges::max_element(plan->num_blocks);  // of the layers that see all
    return blocks * options.cache_block_seq_len;
  }
  // The flag: the share, rounded up to hundredths, or to what is allowed where that is less.
  double Flag(double share) const {
    return std::min(std::ceil(share * 100.0 - 1e-9) / 100.0, options_.cache_max_entry_count);
  }
  Result<llm::MemoryPlan> With(double cache_max_entry_count) const {
    llm::LoadOptions options = options_;
    options.cache_max_entry_count = cache_max_entry_count;
    return llm::PlanMemory(options, llm::NeedsOf(model_, options, backend_), free_);
  }

 private:
  const models::Model& model_;
  const llm::LoadOptions& options_;
  const int64_t free_;
  ops::Backend& backend_;
};

}  // namespace

const char* WeightsName(Weights weights) {
  switch (weights) {
    case Weights::kStored:
      return "stored";
    case Weights::kFp16:
      return "fp16";
    case Weights::kW8A8:
      return "w8a8";
    case Weights::kW4:
      return "w4";
  }
  return "";
}

Format FormatOfWeights(Weights weights, int group_size) {
  switch (weights) {
    case Weights::kStored:
      break;
    case Weights::kFp16:
      return Format::Dense(DType::kF16);
    case Weights::kW8A8:
      return {.bits = 8, .group_size = 0, .zero = Format::Zero::kMidpoint, .scale = Format::Scale::kF32};
    case Weights::kW4:
      return {.bits = 4, .group_size = group_size, .zero = Format::Zero::kInteger, .scale = Format::Scale::kF16};
  }
  INGOT_CHECK(false);
}

Result<std::unique_ptr<models::Model>> OutlineOf(const models::ModelSpec& spec, const Format& weights,
                                                 const std::string& name, ops::Backend& backend) {
  return models::Model::Load(models::MakeRandomCheckpoint(spec, weights, name), spec, {.outline = true}, backend);
}

Capacity PlanCapacity(const models::Model& model, const llm::LoadOptions& options, int64_t memory,
                      ops::Backend& backend) {
  Capacity capacity{.weights = model.weight_bytes(), .free = memory - model.weight_bytes()};
  const Planner planner(model, options, capacity.free, backend);
  const llm::MemoryPlan full = planner.Full(options.max_batch_size, options.session_len);
  capacity.workspace = full.workspace + full.kv_tails;
  capacity.kv = full.kv;
  for (const llm::CacheGroup& group : full.groups) {
    if (group.is_state) continue;
    capacity.kv_bytes_per_token += group.block_bytes / options.cache_block_seq_len;
  }
  if (capacity.free <= 0) return capacity;
  capacity.share_of_free = static_cast<double>(full.kv) / static_cast<double>(capacity.free);
  capacity.tokens = planner.Tokens();
  capacity.at_once = planner.AtOnce(options.session_len);
  capacity.longest = planner.Longest(options.max_batch_size);
  const double share = planner.Share(full);
  if (!(share <= options.cache_max_entry_count)) return capacity;
  capacity.cache_max_entry_count = planner.Flag(share);
  auto plan = planner.With(*capacity.cache_max_entry_count);
  INGOT_CHECK(plan.has_value());
  capacity.plan = *std::move(plan);
  return capacity;
}

}  // namespace ingot::plan
