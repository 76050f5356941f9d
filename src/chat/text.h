// Strings of the template language: immutable, with the origin of every byte.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/marked_text.h"

namespace ingot::chat {

// Immutable once made, shared between values and threads.
struct Str {
  explicit Str(MarkedText text, bool is_markup = false);

  MarkedText marked;
  size_t num_chars;         // code points; equal to the number of bytes where each character is one byte
  bool in_message = false;  // the content of a message; see Runtime::NoteWalkedText
  bool markup = false;      // the result of `safe` or `escape`: `+` escapes what is joined to it, as MarkupSafe does

  std::string_view view() const { return marked.text; }
  bool single_bytes() const { return num_chars == marked.text.size(); }
  bool wholly_trusted() const;
  // The byte where character `index` begins. REQUIRES: index <= num_chars
  size_t ByteOffset(size_t index) const;
};
using StrPtr = std::shared_ptr<const Str>;

StrPtr MakeStr(MarkedText text, bool markup = false);
StrPtr TrustedStr(std::string_view text);
StrPtr UntrustedStr(std::string_view text);
StrPtr StrOf(std::string_view text, bool trusted);

// Appends source.text[begin, end) with its origin.
void AppendSlice(MarkedText& out, const MarkedText& source, size_t begin, size_t end);
void AppendMarked(MarkedText& out, const MarkedText& piece);
StrPtr SliceBytes(const Str& source, size_t begin, size_t end);

// Tells the origin of a text's bytes, asked for from left to right.
class OriginCursor {
 public:
  explicit OriginCursor(const MarkedText& source) : source_(&source) {}
  // Whether source byte `pos` is trusted. REQUIRES: calls with ascending pos
  bool TrustedAt(size_t pos);

 private:
  const MarkedText* source_;
  size_t next_ = 0;  // the first span that ends after the last pos
};

bool IsSpace(uint32_t code_point);  // as str.isspace has it

// `text` without the characters at its ends that are in `chars`; null: white space.
struct StripWhat {
  bool left = true, right = true;
};
StrPtr Strip(const StrPtr& text, const Str* chars, StripWhat what);

// Linear in haystack + needle; npos if absent.
size_t FindBytes(std::string_view haystack, std::string_view needle, size_t from);

// Each character has the origin of the one that it is made of.
StrPtr UpperCase(const Str& text);
StrPtr LowerCase(const Str& text);
StrPtr Capitalize(const Str& text);
StrPtr TitleMethod(const Str& text);  // str.title: after each character that has no case
StrPtr TitleFilter(const Str& text);  // Jinja's title: words begin after space - ( { [ <
StrPtr EscapeHtml(const Str& text);   // is markup

}  // namespace ingot::chat
