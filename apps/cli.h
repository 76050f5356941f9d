// The command line: a tree of commands, each with flags. CLI11 stays behind this in cli.cc.
// A flag --some-name has the twin INGOT_SOME_NAME in the environment and the key some-name in a file given with
// --config: what the user types wins over the environment, and the environment over the file. `_` and `-` are the same
// in flags.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace ingot::cli {

using Run = std::function<Status()>;
using NamedNumbers = std::vector<std::pair<std::string, int>>;

// The flags of one command. Targets outlive parsing. `name` is "--session-len" or "-p,--prompt"; a positional has no
// dashes.
class Flags {
 public:
  virtual ~Flags() = default;
  virtual void Add(const std::string& name, std::string* target, const std::string& help) = 0;
  virtual void Add(const std::string& name, std::optional<std::string>* target, const std::string& help) = 0;
  virtual void Add(const std::string& name, std::vector<std::string>* target, const std::string& help) = 0;
  virtual void Add(const std::string& name, int* target, const std::string& help) = 0;
  virtual void Add(const std::string& name, int64_t* target, const std::string& help) = 0;
  virtual void Add(const std::string& name, double* target, const std::string& help) = 0;
  virtual void Add(const std::string& name, std::optional<int64_t>* target, const std::string& help) = 0;
  virtual void Add(const std::string& name, std::optional<double>* target, const std::string& help) = 0;
  virtual void Add(const std::string& name, bool* target, const std::string& help) = 0;
  // A size in bytes: "2GiB", "500MB", "1073741824".
  virtual void AddBytes(const std::string& name, int64_t* target, const std::string& help) = 0;
  virtual void AddChoice(const std::string& name, std::string* target, const std::vector<std::string>& choices,
                         const std::string& help) = 0;
  // A number that may also be given by a name.
  virtual void AddNamed(const std::string& name, int* target, const NamedNumbers& names, const std::string& help) = 0;
  virtual void AddNamed(const std::string& name, std::optional<int64_t>* target, const NamedNumbers& names,
                        const std::string& help) = 0;
  // A flag that may only say what is so anyway: any value but `value` is refused, with `why`. Not in the help.
  virtual void AddInEffect(const std::string& name, const std::string& value, const std::string& why) = 0;
  virtual void Positional(const std::string& name, std::string* target, const std::string& help,
                          bool required = true) = 0;

  virtual Flags& Command(const std::string& name, const std::string& help) = 0;
  // The flags ("--session-len") that the command has so far, but for those that may only say what is so.
  virtual std::vector<std::string> Names() const = 0;
  // Whether the command line gives one, rather than the environment or a file. To be asked when the command runs.
  virtual bool IsTyped(const std::string& flag) const = 0;

  // A command line, shown at the end of this command's help.
  virtual void Example(const std::string& line) = 0;
  virtual void OnRun(Run run) = 0;
};

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
