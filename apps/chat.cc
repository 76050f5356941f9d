// ingot chat MODEL
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <thread>

#include "base/json.h"
#include "base/mapped_file.h"
#include "chat/chat_template.h"
#include "common.h"
#include "line_reader.h"

namespace ingot::cli {
namespace {

constexpr const char* kHelp = R"(Type a message, or
  /help                this list
  /clear               forget the conversation
  /system TEXT         set the system message (and forget the conversation); without TEXT: show it
  /regen               answer the last message again
  /set NAME VALUE      temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty, seed, max_tokens
  /set                 show what is set
  /save FILE           write the conversation as JSON
  /load FILE           go on with a saved one
  /exit                leave (also Ctrl-D)
""" begins and ends a message of several lines. Ctrl-C stops an answer.
)";

struct ChatFlags {
  ModelFlags model;
  SamplingFlags sampling;
};

// A conversation at the terminal: messages, settings and the commands that change them.
class Conversation {
 public:
  Conversation(llm::Llm& llm, const SamplingFlags& sampling) : llm_(llm) { ApplySampling(sampling, llm, &request_); }

  // False: the user wants to leave.
  bool Handle(const std::string& line) {
    if (line.empty()) return true;
    if (!line.starts_with("/")) {
      Say(line);
      return true;
    }
    const size_t space = line.find(' ');
    const std::string command = line.substr(0, space);
    const std::string argument =
        space == std::string::npos
            ? ""
            : line.substr(line.find_first_not_of(' ', space) == std::string::npos ? line.size()
                                                                                  : line.find_first_not_of(' ', space));
    if (command == "/exit" || command == "/quit" || command == "/bye") return false;
    if (const Status status = Command(command, argument); !status.ok()) fmt::print(stderr, "{}\n", status.message());
    return true;
  }

 private:
  Status Command(const std::string& command, const std::string& argument) {
    if (command == "/help" || command == "/?") {
      fmt::print("{}", kHelp);
      return {};
    }
    if (command == "/clear") {
      Clear();
      return {};
    }
    if (command == "/system") return System(argument);
    if (command == "/regen") return Regenerate();
    if (command == "/set") return Set(argument);
    if (command == "/save") return Save(argument);
    if (command == "/load") return Load(argument);
    return InvalidArgument("there is no command {}; /help lists them", command);
  }

  void Clear() {
    messages_.clear();
    if (!system_.empty()) messages_.push_back({{"role", "system"}, {"content", system_}});
  }

  Status System(const std::string& text) {
    if (text.empty()) {
      fmt::print("{}\n", system_.empty() ? "no system message is set" : system_);
      return {};
    }
    system_ = text;
    Clear();
    return {};
  }

  Status Regenerate() {
    if (!messages_.empty() && messages_.back().at("role") == "assistant") messages_.pop_back();
    if (messages_.empty() || messages_.back().at("role") != "user")
      return InvalidArgument("there is no message to answer again");
    Answer();
    return {};
  }

  Status Set(const std::string& argument) {
    llm::SamplingParams& sampling = request_.sampling;
    const size_t space = argument.find(' ');
    const std::string name = argument.substr(0, space);
    if (name.empty()) {
      fmt::print(
          "temperature {}  top_k {}  top_p {}  min_p {}  repetition_penalty {}  presence_penalty {}  frequency_penalty "
          "{}  seed {}  max_tokens {}\n",
          sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p, sampling.repetition_penalty,
          sampling.presence_penalty, sampling.frequency_penalty,
          sampling.seed ? std::to_string(*sampling.seed) : "fresh",
          request_.max_tokens ? std::to_string(*request_.max_tokens) : "all");
      return {};
    }
    const std::string text = space == std::string::npos ? "" : argument.substr(space + 1);
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0') return InvalidArgument("/set {}: '{}' is no number", name, text);
    const std::pair<const char*, double*> numbers[] = {{"temperature", &sampling.temperature},
                                                       {"top_p", &sampling.top_p},
                                                       {"min_p", &sampling.min_p},
                                                       {"repetition_penalty", &sampling.repetition_penalty},
                                                       {"presence_penalty", &sampling.presence_penalty},
                                                       {"frequency_penalty", &sampling.frequency_penalty}};
    for (const auto& [known, target] : numbers) {
      if (name != known) continue;
      *target = value;
      return {};
    }
    if (name == "top_k") {
      sampling.top_k = static_cast<int64_t>(value);
    } else if (name == "seed") {
      sampling.seed = static_cast<uint64_t>(value);
    } else if (name == "max_tokens") {
      request_.max_tokens = static_cast<int64_t>(value);
    } else {
      return InvalidArgument("/set {}: no such setting; /help lists them", name);
    }
    return {};
  }

  Status Save(const std::string& path) {
    if (path.empty()) return InvalidArgument("/save needs a file");
    INGOT_RETURN_IF_ERROR(WriteFile(path, boost::json::serialize(boost::json::object{{"messages", messages_}}) + "\n"));
    fmt::print("{} messages written to {}\n", messages_.size(), path);
    return {};
  }

  Status Load(const std::string& path) {
    if (path.empty()) return InvalidArgument("/load needs a file");
    INGOT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
    INGOT_ASSIGN_OR_RETURN(const auto json, ParseJson(text, path));
    INGOT_ASSIGN_OR_RETURN(const JsonView messages, JsonView(json, path).Get("messages"));
    INGOT_ASSIGN_OR_RETURN(const auto* list, messages.AsArray());
    for (size_t i = 0; i < list->size(); ++i) {
      INGOT_RETURN_IF_ERROR([&]() -> Status {
        const JsonView message = messages.At(i);
        INGOT_ASSIGN_OR_RETURN(const auto role, message.String("role"));
        INGOT_ASSIGN_OR_RETURN(const auto content, message.String("content"));
        return {};
      }());
    }
    messages_ = *list;
    fmt::print("{} messages\n", messages_.size());
    return {};
  }

  void Say(const std::string& text) {
    messages_.push_back({{"role", "user"}, {"content", text}});
    if (!Answer()) messages_.pop_back();
  }

  // Streams the answer to the messages and keeps it. False: there was none.
  bool Answer() {
    request_.messages = messages_;
    const InterruptGuard interrupt;
    std::string text;
    llm::Event last;
    std::atomic<bool> done = false;
    auto handle = llm_.Submit(request_, [&](const llm::Event& event) {
      std::fwrite(event.text.data(), 1, event.text.size(), stdout);
      std::fflush(stdout);
      text += event.text;
      if (event.finish) {
        last = event;
        done = true;
      }
    });
    if (!handle) {
      fmt::print(stderr, "{}\n", handle.error().message());
      return false;
    }
    while (!done && !interrupt.interrupted())
      std::this_thread::sleep_for(std::chrono::milliseconds(20));  // a signal handler can only set a flag
    if (!done) (*handle)->Cancel();
    (*handle)->Wait();
    fmt::print("\n");
    if (last.finish == llm::FinishReason::kError) {
      fmt::print(stderr, "{}\n", last.error.message());
      return false;
    }
    PrintSpeed(last);
    messages_.push_back({{"role", "assistant"}, {"content", text}});
    return true;
  }

  static void PrintSpeed(const llm::Event& last) {
    const auto rate = [](int64_t tokens, double seconds) {
      return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
    };
    const char* dim = UseColor() ? "\033[2m" : "";
    const char* plain = UseColor() ? "\033[0m" : "";
    fmt::print("{}[prompt {} tokens, {:.1f} tok/s · answer {} tokens, {:.1f} tok/s · {}]{}\n", dim,
               last.usage.prompt_tokens,
               rate(last.usage.prompt_tokens - last.usage.cached_tokens, last.timings.prefill_seconds),
               last.usage.completion_tokens, rate(last.usage.completion_tokens, last.timings.decode_seconds),
               FinishReasonName(*last.finish), plain);
  }

  llm::Llm& llm_;
  llm::Request request_;
  boost::json::array messages_;
  std::string system_;
};

Status Chat(const ChatFlags& flags) {
  INGOT_ASSIGN_OR_RETURN(const auto llm, LoadModel(flags.model));
  if (llm->chat_template() == nullptr) {
    return Unsupported(
        "{} is a base model without a chat template: complete text with `ingot generate`, or name a template with "
        "--chat-template",
        flags.model.options.model);
  }
  Conversation conversation(*llm, flags.sampling);
  LineReader reader("> ");
  if (reader.interactive()) fmt::print("{} — /help lists the commands\n", flags.model.options.model);
  while (const auto message = reader.ReadMessage()) {
    if (!conversation.Handle(*message)) break;
  }
  return {};
}

}  // namespace

void DeclareChat(Flags& root) {
  Flags& command = root.Command("chat", "Talk to a model at the terminal");
  const auto flags = std::make_shared<ChatFlags>();
  AddModelFlags(command, &flags->model);
  AddSamplingFlags(command, &flags->sampling);
  command.OnRun([flags] { return Chat(*flags); });
}

}  // namespace ingot::cli
