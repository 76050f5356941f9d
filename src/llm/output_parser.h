// Sorts an answer's text: the seam between decoded text and events, for what a model writes besides its answer
// (reasoning, later tool calls).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace ingot::llm {

struct ParsedText {
  std::string content;    // the answer
  std::string reasoning;  // what was thought before it
};

// Of one answer. Thread safety: none. What Push and Finish give out depends on the text alone, not on how it was cut.
class OutputParser {
 public:
  virtual ~OutputParser() = default;
  // The next characters of the answer, in whole UTF-8; those of a stop string never get here. May hold back what could
  // be the beginning of a mark, and gives it out later.
  virtual ParsedText Push(std::string_view text) = 0;
  // The answer is over: what was held back.
  virtual ParsedText Finish() = 0;
};
using OutputParserMaker = std::function<std::unique_ptr<OutputParser>()>;

// All of it is the answer.
class PlainOutput : public OutputParser {
 public:
  ParsedText Push(std::string_view text) override { return {.content = std::string(text), .reasoning = {}}; }
  ParsedText Finish() override { return {}; }
};

}  // namespace ingot::llm
