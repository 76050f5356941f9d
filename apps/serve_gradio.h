#pragma once

#include "cli.h"

namespace ingot::cli {

void DeclareServeGradio(Flags& serve);

}  // namespace ingot::cli
