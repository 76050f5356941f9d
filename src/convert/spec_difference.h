// Whether two specs describe the same computation.
#pragma once

#include "models/model_spec.h"

namespace ingot::convert {

// kUnsupported, naming the field, if the model that `written` describes would compute something else than `source`.
// `form` is what `written` was read from ("GGUF"). Not compared: the family's name, whether norms lack their one, and
// the rounding of Gemma's embedding scale, which follows the type of the weights.
Status CheckSameModel(const models::ModelSpec& source, const models::ModelSpec& written, const char* form);

}  // namespace ingot::convert
