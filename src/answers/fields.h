// From checked JSON to requests of the model. What the schema vouches for is not checked again.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "answers/schema.h"
#include "llm/llm.h"

namespace ingot::answers {

// Members of an object that ParseBody gave, so that a schema has checked them: absent and null are the same.
class Fields {
 public:
  explicit Fields(const boost::json::value& object) : object_(object.get_object()) {}

  const boost::json::value* Find(std::string_view key) const;
  bool Has(std::string_view key) const { return Find(key) != nullptr; }
  bool Bool(std::string_view key, bool fallback) const;
  std::optional<int64_t> Int(std::string_view key) const;
  std::optional<std::string> Text(std::string_view key) const;
  std::vector<int32_t> Ids(std::string_view key) const;

 private:
  const boost::json::object& object_;
};

std::vector<int32_t> ToIds(const boost::json::array& array);
// A string, or a list of them.
std::vector<std::string> ToTexts(const boost::json::value& value);

// Errors of what follows are of what a schema cannot say; status.field() names the field.

// The parameters that a body holds, over the model's defaults.
Status ReadParams(const Fields& fields, const llm::Llm& llm, llm::Request* request);
// The sampling parameters that models have defaults of: names as llama.cpp and ollama have them, and values.
std::vector<std::pair<std::string_view, std::string>> LlamaSettings(const sampling::Params& sampling);
// kUnsupported where repeat_last_n narrows a penalty: here it counts all tokens.
Status CheckPenaltyWindow(const Fields& fields, const llm::Request& request);
// OpenAI's messages, the value of field `name`, as templates read them; a text is a user's message. Calls of tools that
// the model's template would leave out are refused.
Status ReadMessages(const boost::json::value& messages, const std::string& name, const llm::Llm& llm,
                    llm::Request* request);
// add_generation_prompt, continue_final_message and what follows.
Status ReadTemplateOptions(const Fields& fields, llm::Request* request);
// chat_template_kwargs and enable_thinking.
void ReadTemplateKwargs(const Fields& fields, llm::Request* request);

}  // namespace ingot::answers
