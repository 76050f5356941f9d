// How an API writes answers.
#pragma once

#include <string>
#include <vector>

#include "answers/answer.h"
#include "answers/errors.h"

namespace ingot::answers {

class Writers;  // answers/writers.h
const Writers& JsonWriters();

// One per answer; may keep state. Called by one thread at a time.
class Format {
 public:
  virtual ~Format() = default;
  virtual const char* stream_type() const { return "text/event-stream; charset=utf-8"; }
  virtual const char* ping() const { return ": ping\n\n"; }  // "": none
  // What the event adds to a stream; event.index is choice.index. Of choice.choice there is the text that came before.
  virtual std::string Piece(const Choice& choice, const llm::Event& event) = 0;
  // Ends a stream.
  virtual std::string End(const llm::Usage& usage) = 0;
  // Ends a stream that went wrong.
  virtual std::string Failure(const WireError& error) { return "data: " + ErrorBody(error) + "\n\n"; }
  // The whole answer.
  virtual std::string Whole(const std::vector<Choice>& choices, const llm::Usage& usage) = 0;
};

}  // namespace ingot::answers
