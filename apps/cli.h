// The command line: a tree of commands, each with flags. CLI11 stays behind this in cli.cc.
// A flag --some-name has the twin INGOT_SOME_NAME in the environment and the key some-name in a file given with
// --config: what the user types wins over the environment, and the environment over the file. `_` and `-` are the same
// in flags.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"

namespace ingot::cli {

using Run = std::function<Status()>;
using NamedNumbers = std::vector<std::pair<std::string, int>>;
// Where the value of a flag goes.
using Target = std::variant<std::string*, std::optional<std::string>*, std::vector<std::string>*, int*, int64_t*,
                            double*, std::optional<int64_t>*, std::optional<double>*, bool*>;
// What a number may be.
struct Range {
  double low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity();
};

// The flags of one command. Targets outlive parsing. `name` is "--session-len" or "-p,--prompt"; a positional has no
// dashes.
class Flags {
 public:
  virtual ~Flags() = default;
  virtual void Add(const std::string& name, Target target, const std::string& help, Range range = {}) = 0;
  // A size in bytes: "2GiB", "500MB", "1073741824".
  virtual void AddBytes(const std::string& name, int64_t* target, const std::string& help) = 0;
  virtual void AddChoice(const std::string& name, std::string* target, const std::vector<std::string>& choices,
                         const std::string& help) = 0;
  // A number that may also be given by a name.
  virtual void AddNamed(const std::string& name, Target target, const NamedNumbers& names, const std::string& help) = 0;
  virtual void Positional(const std::string& name, std::string* target, const std::string& help,
                          bool required = true) = 0;

  virtual Flags& Command(const std::string& name, const std::string& help) = 0;
  // The flags ("--session-len") that the command has so far.
  virtual std::vector<std::string> Names() const = 0;
  // Whether the command line gives one, rather than the environment or a file. To be asked when the command runs.
  virtual bool IsTyped(const std::string& flag) const = 0;

  // A command line, shown at the end of this command's help.
  virtual void Example(const std::string& line) = 0;
  virtual void OnRun(Run run) = 0;
  // What goes before that, and ends the command where it fails.
  virtual void BeforeRun(Run run) = 0;
};

// To stderr, for people. What cannot be written is lost: a closed or full log ends no command.
void SayText(std::string_view text);
template <typename... Args>
void Say(fmt::format_string<Args...> format, Args&&... args) {
  SayText(fmt::format(format, std::forward<Args>(args)...));
}

// Declares every command on `root`.
void DeclareCommands(Flags& root);

// Parses, runs, prints errors to stderr. Exit codes: 0, 1 (it failed), 2 (the command line is wrong).
int Main(int argc, char** argv);

// One per file of this folder.
void DeclareServe(Flags& root);
void DeclareChat(Flags& root);
void DeclareGenerate(Flags& root);
void DeclareBatch(Flags& root);
void DeclareTokenize(Flags& root);
void DeclareInfo(Flags& root);
void DeclarePlan(Flags& root);
void DeclareConvert(Flags& root);
void DeclareEval(Flags& root);
void DeclareBench(Flags& root);
void DeclareLite(Flags& root);
void DeclareCheckEnv(Flags& root);

}  // namespace ingot::cli
