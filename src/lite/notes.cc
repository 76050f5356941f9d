#include "lite/notes.h"

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <filesystem>
#include <limits>

#include "base/hash.h"
#include "ops/isa_info.h"

namespace ingot::lite {
namespace {

namespace fs = std::filesystem;

std::string Hash(std::string_view text) { return fmt::format("{:016x}", Hash64(text)); }

// Calls visit(role, expert, number, or nullptr for null) for each of note[name].
template <typename Visit>
void ForTriples(const boost::json::object& note, std::string_view name, Visit visit) {
  const boost::json::value* list = note.if_contains(name);
  if (list == nullptr || !list->is_array()) return;
  for (const boost::json::value& entry : list->get_array()) {
    const boost::json::array* triple = entry.if_array();
    if (triple == nullptr || triple->size() != 3 || !(*triple)[0].is_int64() || !(*triple)[1].is_int64()) continue;
    visit(static_cast<models::Role>((*triple)[0].get_int64()), static_cast<int>((*triple)[1].get_int64()),
          (*triple)[2].if_double());
  }
}

}  // namespace

boost::json::object Fingerprint(const formats::Checkpoint& checkpoint, const QuantizeOptions& options,
                                const std::vector<std::vector<int32_t>>& samples) {
  boost::json::array files;
  for (const std::string& file : checkpoint.files()) {
    std::error_code error;
    const auto time = fs::last_write_time(file, error).time_since_epoch().count();
    files.push_back(boost::json::array{file, fs::file_size(file, error), static_cast<int64_t>(time)});
  }
  std::string tokens;
  for (const std::vector<int32_t>& sample : samples)
    tokens.append(reinterpret_cast<const char*>(sample.data()), sample.size() * sizeof(int32_t));
  const Recipe& recipe = options.recipe;
  return {{"version", kQuantizerVersion},
          {"files", std::move(files)},
          {"config", Hash(boost::json::serialize(checkpoint.config()))},
          {"kind", static_cast<int>(options.kind)},
          {"format", recipe.format.ToString()},
          {"scales", static_cast<int>(recipe.scales)},
          {"rounding", static_cast<int>(recipe.rounding)},
          {"act_order", recipe.act_order},
          {"tokens", Hash(tokens)},
          {"samples", options.calibration.samples},
          {"seq_len", options.calibration.seq_len},
          {"calibrates_on_quantized", options.calibrates_on_quantized},
          {"isa", ops::GetIsaInfo().chosen}};
}

boost::json::object ToNote(const LayerReport& report) {
  boost::json::array linears, exponents;
  for (const LinearError& error : report.linears) {
    const bool is_known = std::isfinite(error.relative);
    linears.push_back(boost::json::array{static_cast<int>(error.role), error.expert,
                                         is_known ? boost::json::value(error.relative) : boost::json::value(nullptr)});
  }
  for (const ScaleExponent& scale : report.exponents)
    exponents.push_back(boost::json::array{static_cast<int>(scale.role), scale.expert, double{scale.exponent}});
  boost::json::array notices(report.notices.begin(), report.notices.end());
  return {{"linears", std::move(linears)},
          {"exponents", std::move(exponents)},
          {"notices", std::move(notices)},
          {"seconds", report.seconds}};
}

void AddFromNote(const boost::json::object& note, LayerReport* report) {
  ForTriples(note, "linears", [&](models::Role role, int expert, const double* relative) {
    report->linears.push_back({role, expert, relative ? *relative : std::numeric_limits<double>::quiet_NaN()});
  });
  ForTriples(note, "exponents", [&](models::Role role, int expert, const double* exponent) {
    if (exponent) report->exponents.push_back({role, expert, static_cast<float>(*exponent)});
  });
  const boost::json::value *notices = note.if_contains("notices"), *seconds = note.if_contains("seconds");
  if (notices != nullptr && notices->is_array()) {
    for (const boost::json::value& notice : notices->get_array()) {
      if (notice.is_string()) report->notices.emplace_back(notice.get_string());
    }
  }
  if (seconds != nullptr && seconds->is_double()) report->seconds = seconds->get_double();
}

}  // namespace ingot::lite
