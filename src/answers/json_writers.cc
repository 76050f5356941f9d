#include "answers/json_writers.h"

namespace ingot::answers {
namespace {

class JsonWritersImpl : public Writers {
 public:
  std::unique_ptr<Format> Chat(OpenAiHead head, bool token_ids) const override {
    return MakeChatJson(std::move(head), token_ids);
  }
  std::unique_ptr<Format> Completion(OpenAiHead head, const tokenizer::Tokenizer& tokenizer,
                                     CompletionOptions options) const override {
    return MakeCompletionJson(std::move(head), tokenizer, std::move(options));
  }
  std::unique_ptr<Format> Turn(std::shared_ptr<TurnCounts> counts) const override {
    return MakeTurnLines(std::move(counts));
  }
  std::string EmptyTurn(int64_t session_id, bool stream) const override { return EmptyTurnJson(session_id, stream); }
};

}  // namespace

const Writers& JsonWriters() {
  static const JsonWritersImpl kWriters;
  return kWriters;
}

}  // namespace ingot::answers
