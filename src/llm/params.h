// The parameters of a request, as one table: bodies of requests, flags, settings, their checks and the API's document
// follow from it.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"
#include "llm/llm.h"

namespace ingot::llm {

using ParamField = std::variant<bool*, int64_t*, double*, std::optional<int64_t>*, std::optional<double>*, std::string*,
                                std::vector<std::string>*, std::vector<int32_t>*, std::vector<sampling::LogitBias>*>;

// Where a parameter may be given. A parameter without kInBody is declared by each route that takes it.
enum ParamUse : unsigned {
  kInBody = 1,     // of every route that answers
  kAsFlag = 2,     // of `generate` and `chat`
  kAsOneFlag = 4,  // of `generate` alone: makes no sense in a conversation
  kAsDefault = 8,  // in generation_config.json and --override-generation-config
};

struct Param {
  const char* name;  // in JSON; a flag has dashes for its underscores
  ParamField (*field)(Request&);
  // A number's range; of text the number of characters; of token ids nothing: the vocabulary bounds them.
  double low, high;
  unsigned uses;  // ParamUse
  const char* help;
  size_t max_entries = 0;      // of lists
  const char* flag = nullptr;  // where it is called something else; of a bool that is true, it sets false
};

std::span<const Param> AllParams();
// Null where there is none of this name.
const Param* FindParam(std::string_view name);
std::string FlagOf(const Param& param);

// Bounds of one model.
struct ParamLimits {
  int64_t vocab_size = std::numeric_limits<int32_t>::max();
};

// The value as JSON; null where it is not set.
boost::json::value ValueOf(const Param& param, const Request& request);
// Sets it from JSON. kInvalidArgument where that is of another type; ranges are checked by CheckParam.
Status SetParam(const Param& param, const JsonView& value, Request* request);
// kInvalidArgument names the field, its value and the range.
Status CheckParam(const Param& param, const Request& request, const ParamLimits& limits = {});

// Sets all members of an object, each of which is a parameter, and checks them.
Status SetParams(const boost::json::object& values, Request* request);

}  // namespace ingot::llm
