// Answers as serialized messages of ingot.v1, for gRPC.
#pragma once

#include "answers/writers.h"

namespace ingot::rpc {

const answers::Writers& MessageWriters();

}  // namespace ingot::rpc
