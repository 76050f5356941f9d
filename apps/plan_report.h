// What `ingot plan` found, as text and as JSON.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "llm/llm.h"
#include "models/model_spec.h"
#include "plan/capacity.h"
#include "plan/measure.h"
#include "plan/roofline.h"

namespace ingot::cli {

// A precision of weights and cache.
struct PlanRow {
  plan::Weights weights;
  llm::LoadOptions options;  // with its quant_policy
  plan::Capacity capacity;
};
struct DeviceRow {
  const plan::Device* device;
  plan::Crossover crossovers[std::size(plan::kSchemes)];
};
struct PlanReport {
  std::string model;  // as it was typed
  models::ModelSpec spec;
  int group_size = 128;
  int64_t memory = 0;
  std::string memory_source;    // "--memory", "RTX 4090", "free here"
  bool serves_on_cuda = false;  // the memory is that of this machine's GPU
  llm::LoadOptions options;     // what is asked for; of the device no more than its memory matters
  std::vector<PlanRow> rows;
  const PlanRow* chosen = nullptr;       // the most precise that fits
  const plan::Device* device = nullptr;  // which is planned for; null: none that was named
  std::vector<DeviceRow> devices;        // to be shown
  std::optional<plan::Measured> measured;
};

int64_t ParametersOf(const models::ModelSpec& spec);                         // weights of the matrices
std::string PrecisionName(const PlanReport& report, plan::Weights weights);  // "w4 g128"
// The line that serves this row; MODEL stands for a checkpoint that is not there yet.
std::string ServeCommand(const PlanReport& report, const PlanRow& row);
void PrintPlan(const PlanReport& report);
void PrintPlanJson(const PlanReport& report);
// What would fit where nothing does. REQUIRES: rows, none of which fits.
Status NothingFits(const PlanReport& report);

}  // namespace ingot::cli
