// Texts to calibrate on, so that no download is needed.
#pragma once

#include <string>

#include "base/status.h"

namespace ingot::lite {

// The text of that name: "" or "builtin" is Ingot's own (English prose, dialogue, documentation, code); any other is a
// file NAME or NAME.txt in $INGOT_DATASETS_DIR. kNotFound says where it looked.
Result<std::string> Dataset(const std::string& name);

// Ingot's own text to evaluate on; no part of Dataset("builtin").
std::string HeldOutText();

}  // namespace ingot::lite
