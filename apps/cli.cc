#include "cli.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <list>
#include <system_error>

#include "base/env.h"
#include "base/log.h"
#include "build_info.h"
#include "foreign_flags.h"
#include "ops/isa_info.h"
#include "settings.h"
#include "text/bytes.h"

namespace ingot::cli {
namespace {

constexpr const char* kVersion = "ingot " INGOT_VERSION;
// The positional that a variable or a file may also name.
constexpr const char *kModel = "MODEL", *kModelVariable = "INGOT_MODEL";

// "-p,--prompt" → "prompt": the first long name; "" where there is none.
std::string LongName(const std::string& name) {
  const size_t dashes = name.find("--");
  if (dashes == std::string::npos) return "";
  return name.substr(dashes + 2, name.find(',', dashes) - dashes - 2);
}

// "ingot serve api_server"
std::string CommandPath(const CLI::App& app) {
  return app.get_parent() == nullptr ? app.get_name() : CommandPath(*app.get_parent()) + " " + app.get_name();
}

std::vector<std::string> OwnFlagNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

// One line a flag: name and type; the environment's names follow from the flags' and are listed once.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(34); }
  std::string make_option_opts(const CLI::Option* option) const override {
    if (option->get_type_size() == 0 || option->get_positional()) return "";
    return " " + option->get_type_name();
  }
  // In their place, under a command without any: the flags that every command takes.
  std::string make_subcommands(const CLI::App* app, CLI::AppFormatMode mode) const override {
    if (app->get_parent() == nullptr || !app->get_subcommands([](const CLI::App*) { return true; }).empty())
      return CLI::Formatter::make_subcommands(app, mode);
    const CLI::App* root = app;
    while (root->get_parent() != nullptr) root = root->get_parent();
    const auto has_twin = [](const CLI::Option* option) { return !option->get_envname().empty(); };  // not --help
    return make_group("Every command takes", false, root->get_options(has_twin)).substr(1);  // a blank line is there
  }
  std::string make_description(const CLI::App* app) const override { return app->get_description() + "\n\n"; }
  std::string make_footer(const CLI::App* app) const override {
    std::string footer = app->get_footer().empty() ? "" : app->get_footer() + "\n\n";
    if (app->get_subcommands([](const CLI::App*) { return true; }).empty()) {
      footer +=
          "A flag --some-name may also be set as INGOT_SOME_NAME in the environment, or as `some-name: value` in a "
          "YAML\nfile given with --config FILE.\n";
    } else {
      footer += fmt::format("'{} COMMAND --help' has more about each.\n", CommandPath(*app));
    }
    return footer;
  }
};

// What a program's commands share.
struct Program {
  std::list<class FlagsImpl> all;
  Run chosen;
  std::vector<std::string> typed;  // the command line
};

class FlagsImpl : public Flags {
 public:
  FlagsImpl(CLI::App* app, Program* program) : app_(app), program_(program) {}

  void Add(const std::string& name, Target target, const std::string& help, Range range) override {
    if (bool** flag = std::get_if<bool*>(&target)) {
      app_->add_flag(name, **flag, help)->envname(EnvNameOfFlag(LongName(name)));
      return;
    }
    CLI::Option* option = Bind(name, target, help);
    if (std::isinf(range.low)) return;
    option->check([range](const std::string& text) -> std::string {
      char* end = nullptr;
      const double number = std::strtod(text.c_str(), &end);
      if (*end != '\0' || (number >= range.low && number <= range.high)) return "";  // what is no number, CLI11 refuses
      return fmt::format("{} is outside {}…{}", text, range.low, range.high);
    });
  }
  void AddBytes(const std::string& name, int64_t* target, const std::string& help) override {
    const auto parse = [target, flag = "--" + LongName(name)](const std::string& text) {
      const auto bytes = ParseBytes(text);
      if (!bytes) throw CLI::ValidationError(flag, "'" + text + "' is no size; write 2GiB, 500MB or a number of bytes");
      *target = *bytes;
    };
    app_->add_option_function<std::string>(name, parse, help)
        ->type_name("SIZE")
        ->envname(EnvNameOfFlag(LongName(name)));
  }
  void AddChoice(const std::string& name, std::string* target, const std::vector<std::string>& choices,
                 const std::string& help) override {
    Bind(name, target, help)->check(CLI::IsMember(choices));
  }
  void AddNamed(const std::string& name, Target target, const NamedNumbers& names, const std::string& help) override {
    Bind(name, target, help)->transform([names](std::string text) {
      std::string known;
      for (const auto& [word, number] : names) {
        if (text == word) return std::to_string(number);
        known += fmt::format("{}{} ({})", known.empty() ? "" : ", ", word, number);
      }
      if (text.find_first_not_of("-0123456789") == std::string::npos) return text;
      throw CLI::ValidationError(fmt::format("'{}' is none of {}", text, known));
    });
  }
  void Positional(const std::string& name, std::string* target, const std::string& help, bool required) override {
    CLI::Option* option = app_->add_option(name, *target, help)->required(required);
    if (name == kModel) option->envname(kModelVariable);
  }
  Flags& Command(const std::string& name, const std::string& help) override {
    CLI::App* app = app_->add_subcommand(name, help);
    app_->require_subcommand(1);
    return program_->all.emplace_back(app, program_);
  }
  std::vector<std::string> Names() const override { return OwnFlagNames(*app_); }
  bool IsTyped(const std::string& flag) const override { return cli::IsTyped(program_->typed, flag); }
  void Example(const std::string& line) override {
    const std::string before = app_->get_footer();
    app_->footer((before.empty() ? "Examples:\n" : before + "\n") + "  " + line);
  }
  void OnRun(Run run) override {
    app_->callback([this, run = std::move(run)] {
      program_->chosen = [this, run]() -> Status {
        for (const Run& first : before_) INGOT_RETURN_IF_ERROR(first());
        return run();
      };
    });
  }
  void BeforeRun(Run run) override { before_.push_back(std::move(run)); }

 private:
  CLI::Option* Bind(const std::string& name, const Target& target, const std::string& help) {
    const auto bind = [&](auto* value) {
      using T = std::remove_pointer_t<decltype(value)>;
      std::string description = help;
      if constexpr (std::is_arithmetic_v<T>) description += fmt::format(" [{}]", *value);
      if constexpr (std::is_same_v<T, std::string>) description += value->empty() ? "" : fmt::format(" [{}]", *value);
      CLI::Option* option = app_->add_option(name, *value, description);
      if (const std::string long_name = LongName(name); !long_name.empty()) option->envname(EnvNameOfFlag(long_name));
      return option;
    };
    return std::visit(bind, target);
  }

  CLI::App* app_;
  Program* program_;
  std::vector<Run> before_;
};

// --some_flag=x → --some-flag=x, as LMDeploy's users type it.
std::vector<std::string> NormalizeArguments(int argc, char** argv) {
  std::vector<std::string> arguments;
  for (int i = 1; i < argc; ++i) {
    std::string argument = argv[i];
    if (argument.starts_with("--")) {
      const size_t end = std::min(argument.find('='), argument.size());
      std::replace(argument.begin(), argument.begin() + static_cast<std::ptrdiff_t>(end), '_', '-');
    }
    arguments.push_back(std::move(argument));
  }
  // `ingot help serve` and `ingot version`, as many programs have them.
  if (!arguments.empty() && arguments[0] == "help") {
    arguments.erase(arguments.begin());
    arguments.emplace_back("--help");
  } else if (arguments == std::vector<std::string>{"version"}) {
    arguments[0] = "--version";
  }
  return arguments;
}

const CLI::App& InnermostCommand(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? app : InnermostCommand(*chosen.front());
}

// Those of a command, and of the commands around it, which it takes too.
std::vector<std::string> FlagNames(const CLI::App& app) {
  std::vector<std::string> names = OwnFlagNames(app);
  if (app.get_parent() != nullptr) {
    for (std::string& name : FlagNames(*app.get_parent())) names.push_back(std::move(name));
  }
  return names;
}

// Says what is wrong with a flag or an unknown command, and which one may have been meant.
std::string ExplainUnknown(const CLI::App& command, const std::string& what) {
  if (what.starts_with("-")) {
    return ExplainUnknownFlag(what.substr(0, what.find('=')), FlagNames(command), CommandPath(command));
  }
  std::vector<std::string> names;
  for (const CLI::App* sub : command.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(sub->get_name());
  if (names.empty()) {
    for (const char* flag : {"--text", "--prompt"}) {
      if (command.get_option_no_throw(flag) != nullptr)
        return fmt::format("unexpected argument '{}'; a text is given with {}", what, flag);
    }
    return fmt::format("unexpected argument '{}'", what);
  }
  const std::string nearest = NearestOf(what, names);
  return fmt::format("there is no command '{} {}'{}", CommandPath(command), what,
                     nearest.empty() ? fmt::format("; it is one of {}", fmt::join(names, ", "))
                                     : fmt::format("; did you mean '{}'?", nearest));
}

// CLI11's "Could not convert: --session-len = x" in our words.
std::string ExplainConversion(const CLI::App& command, const std::string& text) {
  const size_t colon = text.find(": "), equals = text.find(" = ");
  if (colon == std::string::npos || equals == std::string::npos || equals < colon) return text;
  const std::string name = text.substr(colon + 2, equals - colon - 2), value = text.substr(equals + 3);
  const CLI::Option* option = command.get_option_no_throw(name);
  if (option == nullptr) return text;
  if (option->get_expected_min() == 0) return fmt::format("{}: '{}' is neither true nor false", name, value);
  const char* kind = option->get_type_name() == "FLOAT" ? "a number" : "a whole number";
  const bool is_too_large = value.find_first_not_of("-0123456789") == std::string::npos;
  return fmt::format("{}: '{}' is {}{}", name, value, is_too_large ? "too large for " : "not ", kind);
}

std::string ExplainError(const CLI::App& command, const CLI::ParseError& error) {
  std::string text = error.what();
  if (dynamic_cast<const CLI::ConversionError*>(&error) != nullptr) return ExplainConversion(command, text);
  const size_t colon = std::min(text.find(':'), text.size());
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr)
    return text.substr(0, colon) + (text.ends_with("missing") ? " needs a value" : " is given more than once");
  if (text.find(" is outside ") != std::string::npos && text.starts_with("--")) text.erase(colon, 1);
  return text;
}

// Of arguments that were not taken: the command that is none, else every flag, or the first argument.
std::string ExplainRemaining(const CLI::App& command, const std::vector<std::string>& remaining) {
  const bool lacks_command = !command.get_subcommands([](const CLI::App*) { return true; }).empty();
  const auto word = std::ranges::find_if(remaining, [](const std::string& what) { return !what.starts_with("-"); });
  if (lacks_command && word != remaining.end()) return ExplainUnknown(command, *word);
  std::string lines;
  for (const std::string& what : remaining) {
    if (what.starts_with("-")) lines += (lines.empty() ? "" : "\n") + ExplainUnknown(command, what);
  }
  return lines.empty() ? ExplainUnknown(command, remaining[0]) : lines;
}

// A full disk behind standard output shows when it is written, in fmt as an exception, or at the last.
Status RunToTheEnd(const Run& run) {
  try {
    INGOT_RETURN_IF_ERROR(run());
  } catch (const std::system_error& error) {
    return Io("cannot write standard output: {}", error.code().message());
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
    return Io("cannot write standard output: {}", std::strerror(errno));
  return {};
}

int ExitCodeOf(const Status& status, const Settings& settings) {
  if (status.ok()) return 0;
  Say("ingot: {}\n", settings.WithSource(status.message()));
  return status.code() == Code::kInvalidArgument ? 2 : 1;
}

int Report(const CLI::App& app, const CLI::ParseError& error, const Settings& settings) {
  if (error.get_exit_code() == 0) {  // --help, --version
    return ExitCodeOf(RunToTheEnd([&]() -> Status {
                        app.exit(error);
                        return {};
                      }),
                      settings);
  }
  const CLI::App& command = InnermostCommand(app);
  const auto remaining = app.remaining(true);
  const bool lacks_command = !command.get_subcommands([](const CLI::App*) { return true; }).empty();
  if (lacks_command && remaining.empty()) {
    Say("{}", app.help());
    return 2;
  }
  const std::string what = remaining.empty() ? ExplainError(command, error) : ExplainRemaining(command, remaining);
  Say("{}\n", settings.WithSource(what));
  Say("'{} --help' lists what there is.\n", CommandPath(command));
  return 2;
}

// The twins of all flags of a command and of those below it.
void AddVariables(const CLI::App& app, std::vector<std::string>* names) {
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_envname().empty()) names->push_back(option->get_envname());
  }
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) AddVariables(*sub, names);
}

void WarnOfVariables(const CLI::App& app) {
  std::vector<std::string> known;
  AddVariables(app, &known);
  for (const std::string& warning : UnknownVariables(environ, std::move(known))) Say("warning: {}\n", warning);
}

// A file that is opened later must not take the number of a stream that was closed. From these nothing can be read, and
// writing fails as it did.
void KeepStandardStreams() {
  for (const int number : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(number, F_GETFD) < 0) open("/dev/null", O_RDONLY);
  }
  // Writing says so, too.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

// Every thread reserves 64 MiB of addresses for what it allocates; where they are limited, they share.
void ShareArenas() {
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) mallopt(M_ARENA_MAX, 1);
}

}  // namespace

void SayText(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(STDERR_FILENO, text.data(), text.size());
    if (written <= 0 && errno != EINTR) return;
    text.remove_prefix(static_cast<size_t>(std::max<ssize_t>(written, 0)));
  }
}

void DeclareCommands(Flags& root) {
  DeclareServe(root);
  DeclareChat(root);
  DeclareGenerate(root);
  DeclareBatch(root);
  DeclareTokenize(root);
  DeclareInfo(root);
  DeclarePlan(root);
  DeclareConvert(root);
  DeclareLite(root);
  DeclareEval(root);
  DeclareBench(root);
  DeclareCheckEnv(root);
}

int Main(int argc, char** argv) {
  KeepStandardStreams();
  ShareArenas();
  CLI::App app{"Ingot quantizes, runs and serves large language models; " INGOT_COMPUTES_ON ".", "ingot"};
  app.set_version_flag("-v,--version", kVersion);
  app.formatter(std::make_shared<HelpFormatter>());  // commands inherit it
  Program program;
  FlagsImpl root(&app, &program);
  std::string log_level, config;
  root.Add("--log-level", &log_level, "debug, info, warning, error or off; default: warning, of a server info", {});
  root.Add("--config", &config, "a YAML file with settings, each under its flag's name", {});
  app.fallthrough();
  app.require_subcommand(1);
  DeclareCommands(root);
  root.Example("ingot chat smollm2");
  root.Example("ingot serve smollm2 --port 8080");
  const std::vector<std::string> given = NormalizeArguments(argc, argv);
  if (const std::string instead = ExplainForeignCommand(given); !instead.empty()) {
    Say("{}\n", instead);
    return 2;
  }
  const auto commands = app.get_subcommands([](const CLI::App*) { return true; });
  const bool names_command = !given.empty() && !given[0].starts_with("-");
  if (names_command && std::ranges::find(commands, given[0], &CLI::App::get_name) == commands.end()) {
    Say("{}\n'ingot --help' lists what there is.\n", ExplainUnknown(app, given[0]));  // also before --help
    return 2;
  }
  std::vector<std::string> remarks;
  const auto settings = Settings::Collect(Translate(given, &remarks));
  if (!settings) {
    Say("--config: {}\n", settings.error().message());
    return 2;
  }
  program.typed = settings->typed();
  if (!settings->model().empty()) setenv(kModelVariable, settings->model().c_str(), /*overwrite=*/0);
  try {
    auto arguments = Translate(settings->Arguments(), &remarks);
    for (const std::string& remark : remarks) Say("{}\n", remark);
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    return Report(app, error, *settings);
  }
  WarnOfVariables(app);
  if (!log_level.empty()) {
    const auto level = ParseLogLevel(log_level);
    if (!level) {
      Say("{}\n", settings->WithSource("--log-level: " + level.error().message()));
      return 2;
    }
    SetLogLevel(*level);
  }
  if (const std::string problem = ops::GetIsaInfo().problem; !problem.empty()) Say("warning: {}\n", problem);
  return ExitCodeOf(RunToTheEnd(program.chosen), *settings);
}

}  // namespace ingot::cli
