// ingot serve triton MODEL
#pragma once

#include "cli.h"

namespace ingot::cli {

void DeclareServeTriton(Flags& serve);

}  // namespace ingot::cli
