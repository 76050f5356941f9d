#include "cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <deque>

#include "base/env.h"
#include "base/log.h"
#include "foreign_flags.h"
#include "ops/isa_info.h"

namespace ingot::cli {
namespace {

constexpr const char* kVersion = "ingot " INGOT_VERSION;

// "-p,--prompt" → "prompt": the first long name; "" where there is none.
std::string LongName(const std::string& name) {
  const size_t dashes = name.find("--");
  if (dashes == std::string::npos) return "";
  return name.substr(dashes + 2, name.find(',', dashes) - dashes - 2);
}

Result<int64_t> ParseBytes(const std::string& text) {
  static const std::pair<const char*, double> kUnits[] = {{"", 1.0},
                                                          {"B", 1.0},
                                                          {"K", 1024.0},
                                                          {"KB", 1e3},
                                                          {"KiB", 1024.0},
                                                          {"M", 1048576.0},
                                                          {"MB", 1e6},
                                                          {"MiB", 1048576.0},
                                                          {"G", 1073741824.0},
                                                          {"GB", 1e9},
                                                          {"GiB", 1073741824.0},
                                                          {"T", 1099511627776.0},
                                                          {"TB", 1e12},
                                                          {"TiB", 1099511627776.0}};
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  if (end != text.c_str() && number >= 0) {
    for (const auto& [unit, factor] : kUnits) {
      if (unit == std::string_view(end) && number * factor < 9e18) return static_cast<int64_t>(number * factor);
    }
  }
  return InvalidArgument("'{}' is no size; write 2GiB, 500MB or a number of bytes", text);
}

class FlagsImpl : public Flags {
 public:
  FlagsImpl(CLI::App* app, std::deque<FlagsImpl>* all, Run* chosen) : app_(app), all_(all), chosen_(chosen) {}

  void Add(const std::string& name, std::string* target, const std::string& help) override {
    Bind(name, *target, help);
  }
  void Add(const std::string& name, std::optional<std::string>* target, const std::string& help) override {
    Bind(name, *target, help);
  }
  void Add(const std::string& name, std::vector<std::string>* target, const std::string& help) override {
    Bind(name, *target, help);
  }
  void Add(const std::string& name, int* target, const std::string& help) override { Bind(name, *target, help); }
  void Add(const std::string& name, int64_t* target, const std::string& help) override { Bind(name, *target, help); }
  void Add(const std::string& name, double* target, const std::string& help) override { Bind(name, *target, help); }
  void Add(const std::string& name, std::optional<int64_t>* target, const std::string& help) override {
    Bind(name, *target, help);
  }
  void Add(const std::string& name, std::optional<double>* target, const std::string& help) override {
    Bind(name, *target, help);
  }
  void Add(const std::string& name, bool* target, const std::string& help) override {
    app_->add_flag(name, *target, help)->envname(EnvNameOfFlag(LongName(name)));
  }
  void AddBytes(const std::string& name, int64_t* target, const std::string& help) override {
    const auto parse = [target](const std::string& text) {
      const auto bytes = ParseBytes(text);
      if (!bytes) throw CLI::ValidationError(bytes.error().message());
      *target = *bytes;
    };
    app_->add_option_function<std::string>(name, parse, help)
        ->type_name("SIZE")
        ->envname(EnvNameOfFlag(LongName(name)));
  }
  void AddChoice(const std::string& name, std::string* target, const std::vector<std::string>& choices,
                 const std::string& help) override {
    Bind(name, *target, help)->check(CLI::IsMember(choices));
  }
  void Positional(const std::string& name, std::string* target, const std::string& help, bool required) override {
    app_->add_option(name, *target, help)->required(required);
  }
  Flags& Command(const std::string& name, const std::string& help) override {
    CLI::App* app = app_->add_subcommand(name, help);
    app_->require_subcommand(1);
    return all_->emplace_back(app, all_, chosen_);
  }
  void OnRun(Run run) override {
    app_->callback([chosen = chosen_, run = std::move(run)] { *chosen = run; });
  }

 private:
  template <typename T>
  CLI::Option* Bind(const std::string& name, T& target, const std::string& help) {
    CLI::Option* option = app_->add_option(name, target, help);
    if (const std::string long_name = LongName(name); !long_name.empty()) option->envname(EnvNameOfFlag(long_name));
    return option;
  }

  CLI::App* app_;
  std::deque<FlagsImpl>* all_;
  Run* chosen_;
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
  return arguments;
}

const CLI::App& InnermostCommand(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? app : InnermostCommand(*chosen.front());
}

std::vector<std::string> FlagNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

// Says what is wrong with a flag or a command that nobody knows, and which one may have been meant.
int ReportUnknown(const CLI::App& app, const std::string& what) {
  const CLI::App& command = InnermostCommand(app);
  if (what.starts_with("-")) {
    fmt::print(stderr, "{}\n", ExplainUnknownFlag(what.substr(0, what.find('=')), FlagNames(command)));
  } else {
    std::vector<std::string> names;
    for (const CLI::App* sub : command.get_subcommands([](const CLI::App*) { return true; }))
      names.push_back(sub->get_name());
    const std::string nearest = NearestOf(what, names);
    fmt::print(stderr, "unexpected argument '{}'{}\n", what,
               nearest.empty() ? "" : fmt::format("; did you mean '{}'?", nearest));
  }
  const std::string path = command.get_parent() == nullptr ? "ingot" : fmt::format("ingot … {}", command.get_name());
  fmt::print(stderr, "'{} --help' lists what there is.\n", path);
  return 2;
}

int Report(const CLI::App& app, const CLI::ParseError& error) {
  if (const auto* extras = dynamic_cast<const CLI::ExtrasError*>(&error)) {
    (void)extras;
    const auto remaining = app.remaining(true);
    if (!remaining.empty()) return ReportUnknown(app, remaining.front());
  }
  if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version: to stdout
  const auto remaining = app.remaining(true);
  if (!remaining.empty() && remaining.front().starts_with("-")) return ReportUnknown(app, remaining.front());
  fmt::print(stderr, "{}\n", error.what());
  return 2;
}

}  // namespace

void DeclareCommands(Flags& root) {
  DeclareServe(root);
  DeclareChat(root);
  DeclareGenerate(root);
  DeclareTokenize(root);
  DeclareInfo(root);
  DeclareConvert(root);
  DeclareEval(root);
  DeclareCheckEnv(root);
}

int Main(int argc, char** argv) {
  CLI::App app{"Ingot quantizes, runs and serves large language models, on CPUs and GPUs.", "ingot"};
  app.set_version_flag("-v,--version", kVersion);
  Run chosen;
  std::deque<FlagsImpl> all;
  FlagsImpl root(&app, &all, &chosen);
  std::string log_level;
  root.Add("--log-level", &log_level, "debug, info, warning, error or off");
  app.fallthrough();
  app.require_subcommand(1);
  DeclareCommands(root);
  auto arguments = NormalizeArguments(argc, argv);
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them so
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return Report(app, error);
  }
  if (!log_level.empty()) {
    const auto level = ParseLogLevel(log_level);
    if (!level) {
      fmt::print(stderr, "--log-level: {}\n", level.error().message());
      return 2;
    }
    SetLogLevel(*level);
  }
  if (const std::string problem = ops::GetIsaInfo().problem; !problem.empty())
    fmt::print(stderr, "warning: {}\n", problem);
  const Status status = chosen();
  if (status.ok()) return 0;
  fmt::print(stderr, "ingot: {}\n", status.message());
  return status.code() == Code::kInvalidArgument ? 2 : 1;
}

}  // namespace ingot::cli
