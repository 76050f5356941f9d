#include "lite/notes.h"

#include <boost/json/array.hpp>
#include <cmath>
#include <filesystem>
#include <limits>

#include "base/hash.h"
#include "ops/isa_info.h"

namespace ingot::lite {
namespace {

namespace fs = std::filesystem;

std::string Hash(std::string_view text) { return fmt::format("{:016x}", Fnv1a(text)); }

}  // namespace

boost::json::object Fingerprint(const formats::Checkpoint& checkpoint, const QuantizeOptions& options) {
  boost::json::array files;
  for (const std::string& file : checkpoint.files()) {
    std::error_code error;
    const auto time = fs::last_write_time(file, error).time_since_epoch().count();
    files.push_back(boost::json::array{file, fs::file_size(file, error), static_cast<int64_t>(time)});
  }
  const Recipe& recipe = options.recipe;
  return {{"files", std::move(files)},
          {"kind", static_cast<int>(options.kind)},
          {"format", recipe.format.ToString()},
          {"scales", static_cast<int>(recipe.scales)},
          {"rounding", static_cast<int>(recipe.rounding)},
          {"act_order", recipe.act_order},
          {"calibration", Hash(options.calibration.text)},
          {"samples", options.calibration.samples},
          {"seq_len", options.calibration.seq_len},
          {"calibrates_on_quantized", options.calibrates_on_quantized},
          {"isa", ops::GetIsaInfo().chosen}};
}

boost::json::object ErrorsToJson(const std::vector<LinearError>& errors) {
  boost::json::array linears;
  for (const LinearError& error : errors) {
    const bool is_known = std::isfinite(error.relative);
    linears.push_back(boost::json::array{static_cast<int>(error.slot), error.expert,
                                         is_known ? boost::json::value(error.relative) : boost::json::value(nullptr)});
  }
  return {{"linears", std::move(linears)}};
}

std::vector<LinearError> ErrorsFromJson(const boost::json::object& note) {
  std::vector<LinearError> errors;
  const auto* linears = note.if_contains("linears");
  if (linears == nullptr || !linears->is_array()) return errors;
  for (const boost::json::value& linear : linears->get_array()) {
    const auto* fields = linear.if_array();
    if (fields == nullptr || fields->size() != 3) continue;
    const double* relative = (*fields)[2].if_double();
    errors.push_back({static_cast<convert::Slot>((*fields)[0].to_number<int>()), (*fields)[1].to_number<int>(),
                      relative ? *relative : std::numeric_limits<double>::quiet_NaN()});
  }
  return errors;
}

}  // namespace ingot::lite
