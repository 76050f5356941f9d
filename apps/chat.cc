// ingot chat MODEL, ingot chat http://HOST:PORT
#include <boost/json/serialize.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include "base/json.h"
#include "base/mapped_file.h"
#include "base/text_file.h"
#include "chat_backend.h"
#include "line_reader.h"

namespace ingot::cli {
namespace {

constexpr const char* kHelp = R"(Type a message, or
  /help                this list
  /clear               forget the conversation
  /system TEXT         set the system message (and forget the conversation); without TEXT: show it
  /regen               answer the last message again
  /set NAME VALUE      change a parameter of answers, as temperature
  /set                 show what there is, and what is set
  /save FILE           write the conversation as JSON; asks before it overwrites another file
  /load FILE           continue a saved one
  /exit                leave (also Ctrl-D)
""" begins and ends a message of several lines. Ctrl-C stops an answer.
)";

struct ChatFlags {
  ModelFlags model;
  ParamFlags params;
  ServerFlags server;
};

// Flags that a server has no use for, were they typed: what it does with its model was said when it was started.
Status CheckNotLocal(const Flags& command, const std::vector<std::string>& local) {
  for (const std::string& flag : local) {
    if (flag != "--meta-instruction" && flag != "--help" && command.IsTyped(flag)) {
      return InvalidArgument("{}: is for a model that is loaded here; this server's was loaded as it was started to",
                             flag);
    }
  }
  return {};
}

// A conversation at the terminal: messages, settings and the commands that change them.
class Conversation {
 public:
  // `params`: what every answer is drawn with, which `backend` has taken. `system`: a message that comes first.
  Conversation(ChatBackend& backend, LineReader& reader, boost::json::object params, std::string system)
      : backend_(backend), reader_(reader), params_(std::move(params)), system_(std::move(system)) {
    Clear();
  }

  int num_failures() const { return num_failures_; }  // messages that got no answer

  // False: the user wants to leave.
  bool Handle(std::string line) {
    constexpr const char* kSpaces = " \t\r\n";
    if (line.find_first_not_of(kSpaces) == std::string::npos) return true;
    if (line[line.find_first_not_of(kSpaces)] != '/') {
      Send(line);
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
    if (const Status status = Command(command, argument); !status.ok()) Say("{}\n", status.message());
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
    const size_t space = std::min(argument.find(' '), argument.size());
    const std::string name = argument.substr(0, space), text = argument.substr(std::min(space + 1, argument.size()));
    if (name.empty()) {
      ShowParams();
      return {};
    }
    // As ollama has it.
    if (name == "parameter") return Set(text);
    if (name == "system") return System(Unquoted(text));
    const llm::Param* param = llm::FindParam(name);
    if (param == nullptr || !IsSetting(*param))
      return InvalidArgument("/set {}: no such parameter; /set shows them", name);
    const auto value = ParseJson(text, name);
    llm::Request scratch;
    if (!value) return InvalidArgument("/set {}: '{}' is no number, true or false", name, text);
    INGOT_RETURN_IF_ERROR(SetParam(*param, JsonView(*value, "/set " + name), &scratch));
    boost::json::object changed = params_;
    changed[name] = *value;
    INGOT_RETURN_IF_ERROR(backend_.Use(changed));
    params_ = std::move(changed);
    return {};
  }

  static std::string Unquoted(const std::string& text) {
    const bool has_quotes = text.size() >= 2 && text.starts_with('"') && text.ends_with('"');
    return has_quotes ? text.substr(1, text.size() - 2) : text;
  }

  // One value each: lists are given as flags.
  static bool IsSetting(const llm::Param& param) { return (param.uses & llm::kAsFlag) != 0 && param.max_entries == 0; }

  void ShowParams() const {
    for (const llm::Param& param : llm::AllParams()) {
      if (!IsSetting(param)) continue;
      const boost::json::value value = backend_.ValueOf(param);
      std::string text = value.is_double() ? "" : boost::json::serialize(value);
      if (value.is_double()) AppendJsonNumber(text, value.get_double());
      fmt::print("{:28} {:8} {}\n", param.name, value.is_null() ? "not set" : text, param.help);
    }
  }

  Status Save(const std::string& path) {
    if (path.empty()) return InvalidArgument("/save needs a file");
    std::error_code error;
    if (path != saved_ && std::filesystem::exists(path, error)) {
      if (!reader_.interactive())
        return InvalidArgument("/save: {} exists, and is not overwritten; name another", path);
      const auto answer = reader_.ReadLine(path + " exists; overwrite it? [y/N] ");
      if (!answer || (*answer != "y" && *answer != "Y" && *answer != "yes")) {
        fmt::print("not saved\n");
        return {};
      }
    }
    INGOT_RETURN_IF_ERROR(WriteFile(path, boost::json::serialize(boost::json::object{{"messages", messages_}}) + "\n"));
    saved_ = path;
    fmt::print("{} messages written to {}\n", messages_.size(), path);
    return {};
  }

  Status Load(const std::string& path) {
    if (path.empty()) return InvalidArgument("/load needs a file");
    INGOT_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
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

  void Send(const std::string& text) {
    messages_.push_back({{"role", "user"}, {"content", text}});
    if (!Answer()) messages_.pop_back();
  }

  // Streams the answer to the messages and keeps it. False: there was none.
  bool Answer() {
    // At a terminal the conversation outlives any number of Ctrl-C; Ctrl-D ends it.
    const InterruptGuard interrupt(reader_.interactive() ? InterruptGuard::OnSecond::kIgnored
                                                         : InterruptGuard::OnSecond::kEnds);
    const auto answer = backend_.Answer(messages_, interrupt, [this](std::string_view text, bool is_reasoning) {
      Dim(is_reasoning);
      std::fwrite(text.data(), 1, text.size(), stdout);
      std::fflush(stdout);
      wrote_ = true;
    });
    Dim(false);
    if (std::exchange(wrote_, false) || answer) fmt::print("\n");
    if (!answer) {
      const bool is_full = answer.error().code() == Code::kTooLong;
      Say("{}{}\n", answer.error().message(), is_full ? " /clear starts a new conversation." : "");
      ++num_failures_;
      return false;
    }
    PrintSpeed(*answer);
    messages_.push_back({{"role", "assistant"}, {"content", answer->text}});
    return true;
  }

  // Reasoning is shown in grey, where there are colours.
  void Dim(bool dim) {
    if (std::exchange(dim_, dim) != dim && UseColor()) fmt::print("{}", dim ? "\033[2m" : "\033[0m");
  }

  void PrintSpeed(const ChatAnswer& answer) {
    const auto rate = [](int64_t tokens, double seconds) {
      return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
    };
    Dim(true);
    std::string prompt;  // unknown after a server's answer was stopped
    if (answer.usage.prompt_tokens > 0) {
      prompt = fmt::format("prompt {} tokens, {:.1f} tok/s · ", answer.usage.prompt_tokens,
                           rate(answer.usage.prompt_tokens - answer.usage.cached_tokens, answer.prefill_seconds));
    }
    fmt::print("[{}answer {} tokens, {:.1f} tok/s · {}]", prompt, answer.usage.completion_tokens,
               rate(answer.usage.completion_tokens, answer.decode_seconds), answer.finish);
    Dim(false);
    fmt::print("\n");
  }

  ChatBackend& backend_;
  LineReader& reader_;
  boost::json::object params_;
  boost::json::array messages_;
  std::string system_;
  std::string saved_;   // the file that holds an earlier state of this conversation
  bool dim_ = false;    // what is printed now
  bool wrote_ = false;  // something of the present answer
  int num_failures_ = 0;
};

Status Chat(const ChatFlags& flags) {
  const std::string& model = flags.model.options.model;
  const bool is_remote = client::LooksLikeUrl(model);
  INGOT_ASSIGN_OR_RETURN(const boost::json::object params, flags.params.Given());
  INGOT_ASSIGN_OR_RETURN(const auto backend,
                         is_remote ? ConnectChatServer(model, flags.server) : LoadChatModel(flags.model));
  INGOT_RETURN_IF_ERROR(OfFlag(backend->Use(params)));
  LineReader reader("> ");
  if (reader.interactive()) std::signal(SIGINT, SIG_IGN);  // between an answer and the next prompt
  // A model that is loaded here puts the meta instruction before conversations itself.
  Conversation conversation(*backend, reader, params, is_remote ? flags.model.options.meta_instruction : "");
  if (reader.interactive()) fmt::print("{} — /help lists the commands\n", backend->name());
  while (const auto message = reader.ReadMessage()) {
    if (!conversation.Handle(*message)) break;
  }
  // At a terminal a failure has been seen, and what came after it is the user's choice; a script looks at the exit
  // code.
  if (!reader.interactive() && conversation.num_failures() > 0)
    return Unavailable("messages without an answer: {}", conversation.num_failures());
  return {};
}

}  // namespace

void DeclareChat(Flags& root) {
  Flags& command = root.Command("chat", "Talk to a model, or to a server, at the terminal");
  const auto flags = std::make_shared<ChatFlags>();
  AddModelFlags(command, &flags->model);
  const std::vector<std::string> local = command.Names();
  flags->params.Add(command, llm::kAsFlag);
  command.Add("--model-name", &flags->server.model_name,
              "with a server's address as MODEL: which of its models; default: the first it lists");
  AddServerFlags(command, &flags->server);
  command.Example("ingot chat smollm2 --temperature 0.7 --seed 1");
  command.Example("ingot chat Qwen/Qwen2.5-0.5B-Instruct --meta-instruction 'Answer in one sentence.'");
  command.Example("ingot chat http://127.0.0.1:23333");
  command.OnRun([flags, local, &command]() -> Status {
    if (client::LooksLikeUrl(flags->model.options.model)) INGOT_RETURN_IF_ERROR(CheckNotLocal(command, local));
    return Chat(*flags);
  });
}

}  // namespace ingot::cli
