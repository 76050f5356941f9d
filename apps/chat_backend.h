// Who answers in `ingot chat`: a model in this process, or a server.
#pragma once

#include <boost/json/array.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "common.h"
#include "remote.h"

namespace ingot::cli {

struct ChatAnswer {
  std::string text;    // without the reasoning
  std::string finish;  // "stop", "length", "cancelled", or what a server calls it
  llm::Usage usage;
  double prefill_seconds = 0, decode_seconds = 0;
};

using ChatTextFn = std::function<void(std::string_view text, bool is_reasoning)>;

// Thread safety: one thread; `on_text` is called from any, one at a time, until Answer returns.
class ChatBackend {
 public:
  virtual ~ChatBackend() = default;
  virtual std::string name() const = 0;
  // From now on answers are drawn with these parameters. The error names one that is out of range; then the old ones
  // stay.
  virtual Status Use(const boost::json::object& params) = 0;
  // What answers are drawn with, where it is known.
  virtual boost::json::value ValueOf(const llm::Param& param) const = 0;
  // Answers the messages. Ctrl-C (`interrupt`) ends the answer early. kTooLong: the context is full.
  virtual Result<ChatAnswer> Answer(const boost::json::array& messages, const InterruptGuard& interrupt,
                                    const ChatTextFn& on_text) = 0;
};

Result<std::unique_ptr<ChatBackend>> LoadChatModel(const ModelFlags& model);
Result<std::unique_ptr<ChatBackend>> ConnectChatServer(const std::string& url, const ServerFlags& server);

}  // namespace ingot::cli
