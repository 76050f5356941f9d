// Cuts text into the pieces that the model encodes one by one.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "tokenizer/pattern.h"

namespace ingot::tokenizer {

using PieceSink = FunctionRef<void(std::string_view piece, bool at_start)>;

// Thread safety: const methods from any thread.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Calls sink for every piece of `text`, in order; none is empty. `at_start`: the text begins the input.
  virtual void Split(std::string_view text, bool at_start, PieceSink sink) const = 0;
};
using PreTokenizers = std::vector<std::unique_ptr<PreTokenizer>>;

enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

std::unique_ptr<PreTokenizer> MakeSplit(Pattern pattern, SplitBehavior behavior, bool invert);
std::unique_ptr<PreTokenizer> MakeDigits(bool individual);
std::unique_ptr<PreTokenizer> MakePrefixSpace();  // a space before a piece that begins with none

// Appends what a "pre_tokenizer" object of tokenizer.json asks for, in order; `byte_level` tells whether the model's
// pieces are bytes. kUnsupported names an unknown type.
Status ParsePreTokenizer(const JsonView& json, PreTokenizers& stages, bool& byte_level);

// The pieces after all stages from `stage` on.
void RunPreTokenizers(const PreTokenizers& stages, size_t stage, std::string_view text, bool at_start, PieceSink sink);

}  // namespace ingot::tokenizer
