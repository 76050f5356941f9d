// Parts of schemas that the routes of several APIs share.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "answers/api_schemas.h"

namespace ingot::answers {

inline constexpr int64_t kMaxCount = int64_t{1} << 40;  // of tokens, in answers

// Where several have a name, the first describes it.
template <typename... Lists>
std::vector<Property> Join(std::vector<Property> first, Lists... rest) {
  const auto add = [&](std::vector<Property>& list) {
    for (Property& property : list) {
      if (std::ranges::find(first, property.name, &Property::name) == first.end()) first.push_back(std::move(property));
    }
  };
  (add(rest), ...);
  return first;
}

// The longest answer. Without a cap of the server's, what is too long for the context is refused with the counts when
// the prompt is known.
int64_t MaxTokens(const ModelLimits& limits);
boost::json::array ExampleMessages();
Schema ModelName(const ModelLimits& limits);
Schema TokenIds(const ModelLimits& limits, size_t min);
Schema Messages();
Property ParamOf(const char* name, const ModelLimits& limits);
Property KwargsProperty();
Property ThinkingProperty();
// How messages become a prompt.
std::vector<Property> TemplateProperties();
// Of every route that answers.
std::vector<Property> AnswerProperties(const ModelLimits& limits);

}  // namespace ingot::answers
