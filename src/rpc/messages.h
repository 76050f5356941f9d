// Protobuf messages to and from what the other APIs are made of.
#pragma once

#include <google/protobuf/message.h>
#include <inference.pb.h>

#include <boost/json/object.hpp>
#include <string>
#include <string_view>

#include "base/status.h"
#include "kserve/tensor.h"

namespace ingot::rpc {

// Parses a request. kInvalidArgument where the bytes are no such message.
Status Parse(std::string_view bytes, google::protobuf::Message* message);

// The set fields by their names, as JSON of REST has them: 64-bit integers as numbers, lists that are not empty.
Result<boost::json::object> ToJson(const google::protobuf::Message& message);
// The reverse; members that the message lacks are dropped. kInternal where JSON does not fit.
Status FromJson(std::string_view json, google::protobuf::Message* message);

Result<kserve::InferRequest> ToInferRequest(const inference::ModelInferRequest& message);
void FillResponse(const kserve::InferResponse& response, inference::ModelInferResponse* message);

}  // namespace ingot::rpc
