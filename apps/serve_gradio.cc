// ingot serve gradio MODEL|URL: finds the Python package's demo page, and becomes it.
#include "serve_gradio.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common.h"
#include "foreign_flags.h"
#include "pytorch.h"

namespace ingot::cli {
namespace {

struct GradioFlags {
  ModelFlags model;  // checked here, and passed on as they were typed
  std::string server_name = "127.0.0.1", api_key;
  int server_port = 6006;
};

Result<std::string> FindGradio() {
  if (auto python = FindPython({"ingot.gradio_app", "gradio"})) return *std::move(python);
  return NotFound(
      "serve gradio is a part of the Python package, and neither INGOT_PYTHON nor python3 names an interpreter that "
      "has it with gradio. `make wheel`, then: pip install build/wheel/*.whl 'gradio>=6,<7'. A page that needs no "
      "Python is a part of every server: `ingot serve MODEL`, then /chat in a browser");
}

// What was typed after "gradio", but for MODEL: the flags of the server.
Result<std::vector<std::string>> TypedFlags(const std::string& model) {
  INGOT_ASSIGN_OR_RETURN(std::vector<std::string> words, CommandLine());
  words.erase(words.begin(), std::ranges::find(words, "gradio"));
  words.insert(words.begin(), "serve");
  std::vector<std::string> remarks;    // said already
  words = Translate(words, &remarks);  // with the server's names of flags
  words.erase(words.begin(), words.begin() + std::min<ptrdiff_t>(2, std::ssize(words)));
  const auto found = std::ranges::find(words, model);
  if (found != words.end()) words.erase(found);
  return words;
}

Status ServeGradio(const GradioFlags& flags) {
  INGOT_ASSIGN_OR_RETURN(const std::string python, FindGradio());
  const std::string& model = flags.model.options.model;
  std::vector<std::string> words = {python,
                                    "-m",
                                    "ingot.gradio_app",
                                    model,
                                    "--server-name",
                                    flags.server_name,
                                    "--server-port",
                                    std::to_string(flags.server_port)};
  if (!flags.api_key.empty()) words.insert(words.end(), {"--api-key", flags.api_key});
  INGOT_ASSIGN_OR_RETURN(const std::vector<std::string> typed, TypedFlags(model));
  words.insert(words.end(), typed.begin(), typed.end());
  execvp(python.c_str(), ArgvOf(words).data());
  return Io("cannot run {}: {}", python, std::strerror(errno));
}

}  // namespace

void DeclareServeGradio(Flags& serve) {
  Flags& gradio =
      serve.Command("gradio", "A demo page in Gradio, of a model or of a server's (needs the Python package)");
  const auto flags = std::make_shared<GradioFlags>();
  AddModelFlags(gradio, &flags->model);
  gradio.Add("--server-name", &flags->server_name, "address that the page listens on; 0.0.0.0: every interface");
  gradio.Add("--server-port", &flags->server_port, "port of the page; 0: any free one", {0, 65535});
  gradio.Add("--api-key", &flags->api_key, "key for a server that asks for one");
  gradio.Example("ingot serve gradio smollm2");
  gradio.Example("ingot serve gradio http://127.0.0.1:23333 --server-port 6006");
  gradio.OnRun([flags] { return ServeGradio(*flags); });
}

}  // namespace ingot::cli
