// What commands share: the model and its flags, sampling flags, a progress bar, Ctrl-C.
#pragma once

#include <signal.h>

#include <boost/json/object.hpp>
#include <list>
#include <memory>
#include <string>

#include "cli.h"
#include "formats/checkpoint.h"
#include "llm/llm.h"
#include "llm/params.h"

namespace ingot::cli {

// --quant-policy as LMDeploy's users name it, too.
inline const NamedNumbers kQuantPolicies = {{"none", 0}, {"int8", 8}, {"int4", 4}};

struct ModelFlags {
  llm::LoadOptions options;
  std::string compute = "auto";
  std::string dtype = "auto";
  std::string model_format;  // what the user takes the checkpoint for; empty: nothing
};
inline constexpr const char* kTokenizerPreHelp =
    "how text is split before a GGUF vocabulary (llama-bpe, qwen2, …); default: tokenizer.ggml.pre of the file";
// MODEL, --compute, --threads, --chat-template, --meta-instruction, --session-len, memory.
void AddModelFlags(Flags& flags, ModelFlags* model);
// Resolves aliases, loads with a bar on a terminal when it takes over a second, logs the memory ledger.
Result<std::unique_ptr<llm::Llm>> LoadModel(const ModelFlags& model);

// How the model that these flags loaded computes, and why: "fp32 activations on avx512 (--compute auto: exact, …)".
std::string DescribeCompute(const ModelFlags& flags, const llm::Llm& llm);

// What a MODEL is called where it is served under no other name: a file or folder by its last part, without ".gguf";
// an alias and Org/Name as they are.
std::string ModelName(const std::string& model);
// The words as exec takes them; they must outlive it.
std::vector<char*> ArgvOf(std::vector<std::string>& words);

// The path of a MODEL as commands take it: an alias, a path or a name in the Hugging Face cache. The error says what an
// alias is, and what may have been meant.
Result<std::string> FindModel(const std::string& name);

// The checkpoint of a MODEL as a command takes it: an alias, a path or a name in the Hugging Face cache.
Result<std::shared_ptr<const formats::Checkpoint>> OpenModel(const std::string& model,
                                                             const formats::OpenOptions& options = {});

// The parameters of answers as flags. llm/params.h says which there are.
class ParamFlags {
 public:
  // `uses`: llm::kAsFlag, kAsOneFlag or both.
  void Add(Flags& flags, unsigned uses);
  // Those that were given, as JSON names them. Errors name the flag.
  Result<boost::json::object> Given() const;

 private:
  struct Value {
    const llm::Param* param;
    std::optional<int64_t> integer;
    std::optional<double> number;
    std::vector<std::string> texts;
    bool given = false;  // of a bool
  };
  std::list<Value> values_;
};
// The request's parameters: those given, over the model's own defaults.
Status ApplyParams(const boost::json::object& given, const llm::Llm& llm, llm::Request* request);
// An error about a field of a request, as one about the flag that sets it: "top_k -2 …" is "--top-k -2 …".
Status OfFlag(const Status& status);

// All of standard input; at a terminal it says that it reads, and of a pipe when nothing comes for a second.
Result<std::string> ReadStdin();
// Whether standard input is a pipe or a file.
bool HasPipedStdin();

bool StdoutIsTerminal();
bool StderrIsTerminal();
// A terminal that may be coloured (NO_COLOR is not set).
bool UseColor();

// As one word of a shell's command line: 'it'"'"'s'; what needs no quotes stays as it is.
std::string ShellQuoted(const std::string& text);

// While it lives, Ctrl-C sets a flag instead of ending the program.
class InterruptGuard {
 public:
  enum class OnSecond : uint8_t { kEnds, kIgnored };  // what one more Ctrl-C within the same life does
  explicit InterruptGuard(OnSecond on_second = OnSecond::kEnds);
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  bool interrupted() const;

 private:
  struct sigaction before_{};
};

}  // namespace ingot::cli
