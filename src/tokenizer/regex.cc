#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/regex.h"

#include <pcre2.h>

#include <algorithm>
#include <array>
#include <map>

#include "text/utf8.h"

namespace ingot::tokenizer {
namespace {

// A pattern of the known kind takes some ten steps per character. These bounds end a catastrophic one within a second.
constexpr uint32_t kMatchLimit = 20'000'000;
constexpr uint32_t kDepthLimit = 1'000'000;
constexpr uint32_t kHeapLimitKib = 256 * 1024;
constexpr size_t kMaxPatternBytes = size_t{1} << 14;
constexpr size_t kMaxSets = 128;
constexpr size_t kMaxKinds = 250;
constexpr size_t kJitStackBytes = size_t{1} << 20;
constexpr size_t kPages = 0x110000 / 256;

using Membership = std::array<uint64_t, kMaxSets / 64>;  // bit i: in sets[i]

// What a thread needs to match: made once per thread, used by whichever expression runs.
struct Scratch {
  pcre2_match_data* match_data = pcre2_match_data_create(32, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 * 1024, kJitStackBytes, nullptr);
  std::vector<uint8_t> kinds;     // [characters]
  std::vector<uint32_t> offsets;  // [characters + 1], bytes
  Scratch() {
    pcre2_set_match_limit(context, kMatchLimit);
    pcre2_set_depth_limit(context, kDepthLimit);
    pcre2_set_heap_limit(context, kHeapLimitKib);
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~Scratch() {
    pcre2_match_data_free(match_data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

// The kind of every code point, in pages of 256 of which equal ones are shared.
struct KindTable {
  using Page = std::array<uint8_t, 256>;
  std::array<uint16_t, kPages> index{};
  std::vector<Page> pages;
  uint8_t Of(uint32_t code_point) const { return pages[index[code_point >> 8]][code_point & 255]; }
};

struct Partition {
  KindTable table;
  std::map<Membership, uint8_t> kinds;
};

Result<Partition> MakePartition(const std::vector<CodePointSet>& sets) {
  struct Event {
    uint32_t at;
    size_t set;
  };
  std::vector<Event> events;
  for (size_t i = 0; i < sets.size(); ++i) {
    for (const CodePointRange& range : sets[i]) {
      events.push_back({range.first, i});
      events.push_back({range.last + 1, i});
    }
  }
  std::sort(events.begin(), events.end(), [](const Event& a, const Event& b) { return a.at < b.at; });
  Partition partition;
  std::vector<uint8_t> flat(0x110000);
  Membership current{};
  uint32_t begin = 0;
  uint8_t next = 1;
  const auto fill = [&](uint32_t end) {
    if (end <= begin) return true;
    const auto [it, inserted] = partition.kinds.try_emplace(current, next);
    if (inserted) {
      const bool line_feed = (current[0] & 1) != 0;  // keeps its byte, for ^ and $
      if (line_feed) {
        it->second = '\n';
      } else if (++next == '\n') {
        ++next;
      }
    }
    std::fill(flat.begin() + begin, flat.begin() + std::min<uint32_t>(end, 0x110000), it->second);
    begin = end;
    return next <= kMaxKinds;
  };
  for (const Event& event : events) {
    if (!fill(event.at))
      return Unsupported("a regular expression that distinguishes more than {} kinds of characters", kMaxKinds);
    current[event.set / 64] ^= uint64_t{1} << (event.set % 64);
  }
  fill(0x110000);
  std::map<KindTable::Page, uint16_t> seen;
  for (size_t page = 0; page < kPages; ++page) {
    KindTable::Page content;
    std::copy_n(flat.begin() + static_cast<std::ptrdiff_t>(page * 256), 256, content.begin());
    const auto [it, inserted] = seen.try_emplace(content, static_cast<uint16_t>(partition.table.pages.size()));
    if (inserted) partition.table.pages.push_back(content);
    partition.table.index[page] = it->second;
  }
  return partition;
}

// The pattern in bytes: every set as the class of its kinds.
std::string SpellOut(const ParsedPattern& pattern, const Partition& partition) {
  std::string out;
  for (size_t at = 0; at < pattern.text.size();) {
    if (pattern.text[at] != '\1') {
      out += pattern.text[at++];
      continue;
    }
    size_t set = 0;
    for (++at; pattern.text[at] != '\2'; ++at) set = set * 10 + static_cast<size_t>(pattern.text[at] - '0');
    ++at;
    std::string members;
    for (const auto& [membership, kind] : partition.kinds) {
      if (membership[set / 64] >> (set % 64) & 1) members += fmt::format("\\x{:02x}", kind);
    }
    out += members.empty() ? "(?!)" : "[" + members + "]";
  }
  return out;
}

}  // namespace

struct Regex::Compiled {
  pcre2_code* code = nullptr;
  KindTable table;
  ~Compiled() { pcre2_code_free(code); }
};

Regex::Regex(std::unique_ptr<Compiled> compiled) : compiled_(std::move(compiled)) {}
Regex::~Regex() = default;

Result<std::unique_ptr<Regex>> Regex::Compile(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return InvalidArgument("regular expression of {} bytes; at most {} are allowed", pattern.size(), kMaxPatternBytes);
  }
  INGOT_ASSIGN_OR_RETURN(const ParsedPattern parsed, ParsePattern(pattern));
  if (parsed.sets.size() > kMaxSets) {
    return Unsupported("a regular expression with {} different sets of characters; at most {}", parsed.sets.size(),
                       kMaxSets);
  }
  INGOT_ASSIGN_OR_RETURN(Partition partition, MakePartition(parsed.sets));
  const std::string bytes = SpellOut(parsed, partition);
  auto compiled = std::make_unique<Compiled>();
  compiled->table = std::move(partition.table);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context, 100);
  // Ruby's ^ and $ match at every line.
  compiled->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(bytes.data()), bytes.size(),
                                 PCRE2_MULTILINE | PCRE2_NEVER_UTF | PCRE2_NEVER_BACKSLASH_C, &error, &offset, context);
  pcre2_compile_context_free(context);
  if (compiled->code == nullptr) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(error, message, sizeof(message));
    return InvalidArgument("regular expression \"{}\": {}", pattern, reinterpret_cast<const char*>(message));
  }
  pcre2_jit_compile(compiled->code, PCRE2_JIT_COMPLETE);  // where it cannot, the interpreter runs
  return std::unique_ptr<Regex>(new Regex(std::move(compiled)));
}

void Regex::FindAll(std::string_view text, std::vector<ByteSpan>& matches) const {
  thread_local Scratch scratch;
  scratch.kinds.clear();
  scratch.offsets.clear();
  const char* const text_end = text.data() + text.size();
  for (const char* p = text.data(); p < text_end;) {
    const auto [code_point, length] = DecodeUtf8(p, text_end);
    scratch.kinds.push_back(compiled_->table.Of(code_point));
    scratch.offsets.push_back(static_cast<uint32_t>(p - text.data()));
    p += length;
  }
  scratch.offsets.push_back(static_cast<uint32_t>(text.size()));
  const size_t length = scratch.kinds.size();
  for (size_t from = 0; from < length;) {
    const auto match = [&](uint32_t options) {
      return pcre2_match(compiled_->code, scratch.kinds.data(), length, from, options, scratch.match_data,
                         scratch.context);
    };
    int count = match(0);
    if (count == PCRE2_ERROR_JIT_STACKLIMIT) count = match(PCRE2_NO_JIT);
    if (count < 0) return;
    const PCRE2_SIZE* const offsets = pcre2_get_ovector_pointer(scratch.match_data);
    if (offsets[1] > offsets[0]) matches.emplace_back(scratch.offsets[offsets[0]], scratch.offsets[offsets[1]]);
    from = std::max(offsets[1], offsets[0] + 1);
  }
}

}  // namespace ingot::tokenizer
