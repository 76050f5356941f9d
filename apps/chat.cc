// ingot chat MODEL
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "base/json.h"
#include "base/mapped_file.h"
#include "chat/chat_template.h"
#include "common.h"
#include "line_reader.h"
#include "llm/checks.h"
#include "tokenizer/tokenizer.h"

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
  // `request`: what every answer is drawn with.
  Conversation(llm::Llm& llm, llm::Request request) : llm_(llm), request_(std::move(request)) {}

  // False: the user wants to leave.
  bool Handle(std::string line) {
    constexpr const char* kSpaces = " \t\r\n";
    if (line.find_first_not_of(kSpaces) == std::string::npos) return true;
    if (line[line.find_first_not_of(kSpaces)] != '/') {
      Say(line);
      return true;
    }
    line.erase(line.find_last_not_of(kSpaces) + 1);
    line.erase(0, line.find_first_not_of(kSpaces));
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
    const boost::json::array before = messages_;
    if (!messages_.empty() && messages_.back().at("role") == "assistant") messages_.pop_back();
    const bool has_question = !messages_.empty() && messages_.back().at("role") == "user";
    if (!has_question || !Answer()) messages_ = before;
    if (!has_question) return InvalidArgument("there is no message to answer again");
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
    llm::Request changed = request_;
    INGOT_RETURN_IF_ERROR(SetNumber(name, text, &changed));
    changed.messages.clear();
    changed.prompt = "";  // a request has one or the other
    INGOT_RETURN_IF_ERROR(llm::CheckRequest(changed, llm_.tokenizer().vocab_size()));
    changed.prompt.reset();
    request_ = std::move(changed);
    return {};
  }

  static Status SetNumber(const std::string& name, const std::string& text, llm::Request* request) {
    llm::SamplingParams& sampling = request->sampling;
    const std::pair<const char*, double*> numbers[] = {{"temperature", &sampling.temperature},
                                                       {"top_p", &sampling.top_p},
                                                       {"min_p", &sampling.min_p},
                                                       {"repetition_penalty", &sampling.repetition_penalty},
                                                       {"presence_penalty", &sampling.presence_penalty},
                                                       {"frequency_penalty", &sampling.frequency_penalty}};
    char* end = nullptr;
    for (const auto& [known, target] : numbers) {
      if (name != known) continue;
      *target = std::strtod(text.c_str(), &end);
      if (text.empty() || *end != '\0') return InvalidArgument("/set {}: '{}' is no number", name, text);
      return {};
    }
    if (name != "top_k" && name != "seed" && name != "max_tokens")
      return InvalidArgument("/set {}: no such setting; /help lists them", name);
    errno = 0;
    const int64_t value = std::strtoll(text.c_str(), &end, 10);
    if (text.empty() || *end != '\0' || errno != 0)
      return InvalidArgument("/set {}: '{}' is no whole number", name, text);
    if (name == "top_k") {
      sampling.top_k = value;
    } else if (name == "seed") {
      sampling.seed = static_cast<uint64_t>(value);
    } else {
      request->max_tokens = value;
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
    const bool has_system = !messages_.empty() && messages_[0].at("role") == "system";
    system_ = has_system ? std::string(messages_[0].at("content").as_string()) : "";
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
      const bool is_full = handle.error().code() == Code::kTooLong;
      fmt::print(stderr, "{}{}\n", handle.error().message(), is_full ? " /clear begins anew." : "");
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
  llm::Request request;
  INGOT_RETURN_IF_ERROR(ApplySampling(flags.sampling, *llm, &request));
  Conversation conversation(*llm, std::move(request));
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
  command.Example("ingot chat smollm2 --temperature 0.7 --seed 1");
  command.Example("ingot chat Qwen/Qwen2.5-0.5B-Instruct --meta-instruction 'Answer in one sentence.'");
  command.OnRun([flags] { return Chat(*flags); });
}

}  // namespace ingot::cli
