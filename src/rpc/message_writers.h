// gRPC's way to write answers: messages of ingot.v1, serialized.
#pragma once

#include "answers/writers.h"

namespace ingot::rpc {

const answers::Writers& MessageWriters();

}  // namespace ingot::rpc
