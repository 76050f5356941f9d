#include "pytorch.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/env.h"
#include "base/mapped_file.h"
#include "llm/pytorch.h"
#include "models/model.h"

namespace ingot::cli {
namespace {

// Whether this interpreter is there and has the modules.
bool HasModules(const std::string& python, const std::vector<std::string>& modules) {
  std::vector<std::string> words = {
      python, "-c", "import sys, importlib.util as u; sys.exit(not all(u.find_spec(name) for name in sys.argv[1:]))"};
  words.insert(words.end(), modules.begin(), modules.end());
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int error = posix_spawnp(&child, python.c_str(), &actions, nullptr, ArgvOf(words).data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  int status = 0;
  while (error == 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return error == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// Whether it is a checkpoint that only PyTorch may know: a folder. What else is wrong with it is reported when it is
// loaded.
bool IsUnknown(const std::string& model) {
  const auto path = FindModel(model);
  std::error_code error;
  if (!path || !std::filesystem::is_directory(*path, error)) return false;
  const auto checkpoint = OpenModel(model, {.weights = false});
  if (!checkpoint || (*checkpoint)->kind() != formats::CheckpointKind::kHuggingFace) return false;
  const auto spec = models::ReadModelSpec(**checkpoint);
  return !spec && spec.error().code() == Code::kUnsupported;
}

}  // namespace

std::optional<std::string> FindPython(const std::vector<std::string>& modules) {
  // The package's own `ingot` names the interpreter that it is installed for.
  for (const std::string& python : {GetEnv("INGOT_PYTHON").value_or(""), std::string("python3")}) {
    if (!python.empty() && HasModules(python, modules)) return python;
  }
  return std::nullopt;
}

Result<std::vector<std::string>> CommandLine() {
  INGOT_ASSIGN_OR_RETURN(const std::string line, ReadFile("/proc/self/cmdline"));
  std::vector<std::string> words;
  for (size_t begin = 0; begin < line.size();) {
    const size_t end = std::min(line.find('\0', begin), line.size());
    words.push_back(line.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

Status EnterPython(const ModelFlags& model) {
  const std::string& backend = model.options.backend;
  const bool is_wanted = backend == "pytorch" || (backend == "auto" && IsUnknown(model.options.model));
  if (!is_wanted || llm::HasPytorchLoader()) return {};
  const auto python = FindPython({"ingot.torch_program", "torch", "transformers"});
  if (!python) return {};  // Llm::Load says how to get it
  INGOT_ASSIGN_OR_RETURN(const std::vector<std::string> typed, CommandLine());
  std::vector<std::string> words = {*python, "-m", "ingot.torch_program"};
  words.insert(words.end(), typed.begin() + 1, typed.end());
  execvp(python->c_str(), ArgvOf(words).data());
  return Io("cannot run {}: {}", *python, std::strerror(errno));
}

}  // namespace ingot::cli
