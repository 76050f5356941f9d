// The shapes of well-known models, as their config.json has them: what can be planned without a file.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "models/model_spec.h"

namespace ingot::models {

// "llama-2-7b", …, in the order of the table.
std::vector<std::string> KnownShapeNames();
// Upper and lower case, and the signs between words, do not matter: "Llama2-7B" is llama-2-7b. kNotFound names the
// shapes whose names begin in the same way, or all.
Result<ModelSpec> KnownShape(std::string_view name);
// Lower-case letters and digits alone: "Llama-2_7B" becomes "llama27b".
std::string PlainName(std::string_view name);
// A config.json's text, of any family that is known.
Result<ModelSpec> ReadConfigSpec(std::string_view text, const std::string& path);

}  // namespace ingot::models
