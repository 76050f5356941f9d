#include "lite/texts.h"

#include <filesystem>

#include "base/embedded_file.h"
#include "base/env.h"
#include "base/text_file.h"

INGOT_EMBED_FILE(ingot_calibration_text, INGOT_CALIBRATION_TEXT)
INGOT_EMBED_FILE(ingot_held_out_text, INGOT_HELD_OUT_TEXT)

namespace ingot::lite {

Result<std::string> Dataset(const std::string& name) {
  if (name.empty() || name == "builtin") return std::string(ingot_calibration_text_begin, ingot_calibration_text_end);
  const std::optional<std::string> folder = GetEnv("INGOT_DATASETS_DIR");
  if (!folder) {
    return NotFound(
        "--calib-dataset {}: INGOT_DATASETS_DIR names no folder with texts; builtin is Ingot's own text, "
        "and --calib-text takes a file",
        name);
  }
  for (const char* ending : {"", ".txt"}) {
    const std::string path = *folder + "/" + name + ending;
    std::error_code error;
    if (std::filesystem::is_regular_file(path, error)) return ReadTextFile(path);
  }
  return NotFound("--calib-dataset {}: {} has neither {} nor {}.txt", name, *folder, name, name);
}

std::string HeldOutText() { return {ingot_held_out_text_begin, ingot_held_out_text_end}; }

}  // namespace ingot::lite
