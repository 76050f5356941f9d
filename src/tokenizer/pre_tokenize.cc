#include "tokenizer/pre_tokenize.h"

#include <algorithm>

#include "text/unicode.h"
#include "text/utf8.h"

namespace ingot::tokenizer {
namespace {

constexpr std::string_view kMetaspaceDefault = "\xE2\x96\x81";

struct SplitMode {
  SplitBehavior behavior;
  bool invert;  // what is between the matches counts as the matches
};

// Joins the matches of a text and what is between them as the mode says.
void EmitPieces(std::string_view text, const std::vector<ByteSpan>& matches, SplitMode mode, bool at_start,
                PieceSink sink) {
  const SplitBehavior behavior = mode.behavior;
  const bool invert = mode.invert;
  struct Part {
    size_t begin, end;
    bool match;
  };
  std::vector<Part> parts;
  size_t done = 0;
  for (const auto& [begin, end] : matches) {
    if (begin > done) parts.push_back({done, begin, invert});
    parts.push_back({begin, end, !invert});
    done = end;
  }
  if (done < text.size()) parts.push_back({done, text.size(), invert});

  const auto emit = [&](size_t begin, size_t end) { sink(text.substr(begin, end - begin), at_start && begin == 0); };
  if (behavior == SplitBehavior::kIsolated || behavior == SplitBehavior::kRemoved) {
    for (const Part& part : parts) {
      if (behavior == SplitBehavior::kIsolated || !part.match) emit(part.begin, part.end);
    }
    return;
  }
  for (size_t i = 0; i < parts.size();) {
    size_t j = i + 1;
    const auto joins = [&] {
      const Part &left = parts[j - 1], &right = parts[j];
      if (behavior == SplitBehavior::kContiguous) return left.match == right.match;
      return behavior == SplitBehavior::kMergedWithPrevious ? right.match && !left.match : left.match && !right.match;
    };
    while (j < parts.size() && joins()) ++j;
    emit(parts[i].begin, parts[j - 1].end);
    i = j;
  }
}

class SplitStage : public PreTokenizer {
 public:
  SplitStage(Pattern pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  void Split(std::string_view text, bool at_start, PieceSink sink) const override {
    if (pattern_.function() == nullptr || behavior_ != SplitBehavior::kIsolated) {
      std::vector<ByteSpan> matches;
      pattern_.FindAll(text, matches);
      EmitPieces(text, matches, {behavior_, invert_}, at_start, sink);
      return;
    }
    // The usual case, without lists. What does not match is a piece too.
    size_t done = 0;
    for (size_t at = 0; at < text.size();) {
      const size_t end = pattern_.function()(text, at);
      if (end == at) {
        at += DecodeUtf8(text.data() + at, text.data() + text.size()).length;
        continue;
      }
      if (at > done) sink(text.substr(done, at - done), at_start && done == 0);
      sink(text.substr(at, end - at), at_start && at == 0);
      done = at = end;
    }
    if (done < text.size()) sink(text.substr(done), at_start && done == 0);
  }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

// Runs of characters, or single characters, for which a function holds.
class CharacterStage : public PreTokenizer {
 public:
  CharacterStage(bool (*holds)(uint32_t), SplitBehavior behavior) : holds_(holds), behavior_(behavior) {}
  void Split(std::string_view text, bool at_start, PieceSink sink) const override {
    std::vector<ByteSpan> matches;
    for (size_t at = 0; at < text.size();) {
      const auto [code_point, length] = DecodeUtf8(text.data() + at, text.data() + text.size());
      if (holds_(code_point)) matches.emplace_back(at, at + length);
      at += length;
    }
    EmitPieces(text, matches, {behavior_, false}, at_start, sink);
  }

 private:
  bool (*holds_)(uint32_t);
  SplitBehavior behavior_;
};

class PrefixSpace : public PreTokenizer {
 public:
  void Split(std::string_view text, bool at_start, PieceSink sink) const override {
    if (text.starts_with(' ')) return sink(text, at_start);
    const std::string spaced = " " + std::string(text);
    sink(spaced, at_start);
  }
};

class Metaspace : public PreTokenizer {
 public:
  enum class Prepend { kNever, kFirst, kAlways };
  Metaspace(std::string replacement, Prepend prepend, bool split)
      : replacement_(std::move(replacement)), prepend_(prepend), split_(split) {}

  void Split(std::string_view text, bool at_start, PieceSink sink) const override {
    std::string out;
    out.reserve(text.size() + text.size() / 2);
    const bool prepend = prepend_ == Prepend::kAlways || (prepend_ == Prepend::kFirst && at_start);
    if (prepend && !text.starts_with(' ') && !text.starts_with(replacement_)) out += replacement_;
    for (const char c : text) {
      if (c == ' ') {
        out += replacement_;
      } else {
        out += c;
      }
    }
    if (!split_) return sink(out, at_start);
    // Every replacement begins a piece.
    for (size_t begin = 0; begin < out.size();) {
      const size_t end = std::min(out.find(replacement_, begin + 1), out.size());
      sink(std::string_view(out).substr(begin, end - begin), at_start && begin == 0);
      begin = end;
    }
  }

 private:
  std::string replacement_;
  Prepend prepend_;
  bool split_;
};

bool IsSpace(uint32_t c) { return (ClassOf(c) & kSpace) != 0; }

// \w+|[^\w\s]+ of Rust's regex crate.
size_t MatchWhitespaceWord(std::string_view text, size_t begin) {
  const auto class_at = [&](size_t at, size_t& length) {
    const Decoded decoded = DecodeUtf8(text.data() + at, text.data() + text.size());
    length = decoded.length;
    return ClassOf(decoded.code_point) & (kWord | kSpace);
  };
  size_t length = 0;
  const ClassMask kind = class_at(begin, length);
  if (kind & kSpace) return begin;
  size_t at = begin + length;
  while (at < text.size() && class_at(at, length) == kind) at += length;
  return at;
}

Result<SplitBehavior> ParseBehavior(const JsonView& json, std::string_view fallback) {
  INGOT_ASSIGN_OR_RETURN(const std::string name, json.String("behavior", fallback));
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return InvalidArgument(
      "{}: behavior \"{}\" is none of Isolated, Removed, MergedWithPrevious, MergedWithNext, Contiguous", json.path(),
      name);
}

Result<std::unique_ptr<PreTokenizer>> ParseMetaspace(const JsonView& json) {
  INGOT_ASSIGN_OR_RETURN(std::string replacement, json.String("replacement", kMetaspaceDefault));
  INGOT_ASSIGN_OR_RETURN(const bool split, json.Bool("split", true));
  // Old files have add_prefix_space instead of prepend_scheme.
  INGOT_ASSIGN_OR_RETURN(const bool add_prefix_space, json.Bool("add_prefix_space", true));
  INGOT_ASSIGN_OR_RETURN(const std::string scheme,
                         json.String("prepend_scheme", add_prefix_space ? "always" : "never"));
  if (replacement.empty()) return InvalidArgument("{}: replacement is empty", json.path());
  Metaspace::Prepend prepend;
  if (scheme == "always") {
    prepend = Metaspace::Prepend::kAlways;
  } else if (scheme == "first") {
    prepend = Metaspace::Prepend::kFirst;
  } else if (scheme == "never") {
    prepend = Metaspace::Prepend::kNever;
  } else {
    return InvalidArgument("{}: prepend_scheme \"{}\" is none of always, first, never", json.path(), scheme);
  }
  return std::make_unique<Metaspace>(std::move(replacement), prepend, split);
}

Status ParseByteLevel(const JsonView& json, PreTokenizers& stages, bool& byte_level) {
  INGOT_ASSIGN_OR_RETURN(const bool prefix_space, json.Bool("add_prefix_space", true));
  INGOT_ASSIGN_OR_RETURN(const bool use_regex, json.Bool("use_regex", true));
  if (prefix_space) stages.push_back(MakePrefixSpace());
  if (use_regex)
    stages.push_back(MakeSplit(Pattern::Function(FindSplitter(kGpt2Pattern)), SplitBehavior::kIsolated, false));
  byte_level = true;
  return {};
}

}  // namespace

std::unique_ptr<PreTokenizer> MakeSplit(Pattern pattern, SplitBehavior behavior, bool invert) {
  return std::make_unique<SplitStage>(std::move(pattern), behavior, invert);
}
std::unique_ptr<PreTokenizer> MakeDigits(bool individual) {
  return std::make_unique<CharacterStage>(IsRustNumeric,
                                          individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
}
std::unique_ptr<PreTokenizer> MakePrefixSpace() { return std::make_unique<PrefixSpace>(); }

Status ParsePreTokenizer(const JsonView& json, PreTokenizers& stages, bool& byte_level) {
  INGOT_ASSIGN_OR_RETURN(const std::string type, json.String("type"));
  if (byte_level) return Unsupported("{}: a pre-tokenizer ({}) after ByteLevel", json.path(), type);
  if (type == "Sequence") {
    INGOT_ASSIGN_OR_RETURN(const JsonView list, json.Get("pretokenizers"));
    INGOT_ASSIGN_OR_RETURN(const boost::json::array* const array, list.AsArray());
    for (size_t i = 0; i < array->size(); ++i) INGOT_RETURN_IF_ERROR(ParsePreTokenizer(list.At(i), stages, byte_level));
  } else if (type == "ByteLevel") {
    return ParseByteLevel(json, stages, byte_level);
  } else if (type == "Split") {
    INGOT_ASSIGN_OR_RETURN(Pattern pattern, ParsePattern(json));
    INGOT_ASSIGN_OR_RETURN(const SplitBehavior behavior, ParseBehavior(json, ""));
    INGOT_ASSIGN_OR_RETURN(const bool invert, json.Bool("invert", false));
    stages.push_back(MakeSplit(std::move(pattern), behavior, invert));
  } else if (type == "Digits") {
    INGOT_ASSIGN_OR_RETURN(const bool individual, json.Bool("individual_digits", false));
    stages.push_back(MakeDigits(individual));
  } else if (type == "Metaspace") {
    INGOT_ASSIGN_OR_RETURN(std::unique_ptr<PreTokenizer> stage, ParseMetaspace(json));
    stages.push_back(std::move(stage));
  } else if (type == "Whitespace") {
    stages.push_back(MakeSplit(Pattern::Function(MatchWhitespaceWord), SplitBehavior::kRemoved, true));
  } else if (type == "WhitespaceSplit") {
    stages.push_back(std::make_unique<CharacterStage>(IsSpace, SplitBehavior::kRemoved));
  } else if (type == "Punctuation") {
    INGOT_ASSIGN_OR_RETURN(const SplitBehavior behavior, ParseBehavior(json, "Isolated"));
    stages.push_back(std::make_unique<CharacterStage>(IsRustPunctuation, behavior));
  } else {
    return Unsupported("{}: pre_tokenizer {}", json.path(), type);
  }
  return {};
}

void RunPreTokenizers(const PreTokenizers& stages, size_t stage, std::string_view text, bool at_start, PieceSink sink) {
  if (stage == stages.size()) return sink(text, at_start);
  stages[stage]->Split(text, at_start, [&](std::string_view piece, bool piece_at_start) {
    RunPreTokenizers(stages, stage + 1, piece, piece_at_start, sink);
  });
}

}  // namespace ingot::tokenizer
