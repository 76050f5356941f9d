// Changes to the text before it is cut. Each keeps track of which bytes the template wrote.
#pragma once

#include <boost/json/value.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "text/marked_text.h"

namespace ingot::tokenizer {

// Thread safety: const methods from any thread. Texts are valid UTF-8.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void Apply(MarkedText& text) const = 0;
};
using Normalizers = std::vector<std::unique_ptr<Normalizer>>;

// Appends what a "normalizer" object of tokenizer.json asks for, in order. kUnsupported names an unknown type.
Status ParseNormalizer(const JsonView& json, Normalizers& normalizers);

std::unique_ptr<Normalizer> MakeNfc();
void Apply(const Normalizers& normalizers, MarkedText& text);

// The part [begin, end) of a marked text.
MarkedText Slice(const MarkedText& text, size_t begin, size_t end);
// Invalid UTF-8 replaced by U+FFFD.
MarkedText MakeValid(const MarkedText& text);

}  // namespace ingot::tokenizer
