// Fields of requests that belong to other routes or other servers.
#pragma once

#include <vector>

#include "server/schema/schema.h"

namespace ingot::server {

// Named by clients, honoured nowhere: what they say changes nothing in an answer.
std::vector<Property> IgnoredProperties();

// `own`, the fields that a route takes, and with them every other field that shapes answers elsewhere, here or at other
// servers: a request that asks for it is refused, never answered without it. Values that ask for nothing are taken.
std::vector<Property> RefuseOthers(std::vector<Property> own);

}  // namespace ingot::server
