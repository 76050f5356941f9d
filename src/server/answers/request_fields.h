// From checked JSON to requests of the model. What the schema vouches for is not checked again.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <string>
#include <vector>

#include "llm/llm.h"
#include "server/api_schemas.h"
#include "server/schema/schema.h"

namespace ingot::server {

// Members of an object that ParseBody gave, so that a schema has checked them: absent and null are the same.
class Fields {
 public:
  explicit Fields(const boost::json::value& object) : object_(object.get_object()) {}

  const boost::json::value* Find(std::string_view key) const;
  bool Has(std::string_view key) const { return Find(key) != nullptr; }
  bool Bool(std::string_view key, bool fallback) const;
  std::optional<int64_t> Int(std::string_view key) const;
  std::optional<double> Number(std::string_view key) const;
  std::optional<std::string> Text(std::string_view key) const;
  std::vector<int32_t> Ids(std::string_view key) const;

 private:
  const boost::json::object& object_;
};

std::vector<int32_t> ToIds(const boost::json::array& array);
// A string, or a list of them.
std::vector<std::string> ToTexts(const boost::json::value& value);

// Fields that all requests share, over the model's defaults: sampling, stops, lengths, priority, …  The error is of
// fields that contradict each other.
std::optional<FieldError> ReadCommon(const Fields& fields, const llm::Llm& llm, llm::Request* request);

}  // namespace ingot::server
