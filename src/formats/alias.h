// Short names of models that lie in known folders.
#pragma once

#include <string>

namespace ingot::formats {

// A name of the alias table ("smollm2") → its file, where `tools/bootstrap.sh` or a user put it:
// $INGOT_MODELS_DIR/NAME, the build folder's models/NAME, or ~/.cache/ingot/models/NAME. Anything else stays as it is.
std::string ResolveAlias(const std::string& name);

}  // namespace ingot::formats
