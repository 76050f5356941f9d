// Which tokens may come next, where not all may: the seam for what wants answers of a certain form (a JSON schema, a
// grammar).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ingot::sampling {

constexpr size_t MaskWords(int64_t vocab_size) { return static_cast<size_t>((vocab_size + 31) / 32); }

// A state that moves on with every token of one answer. Thread safety: none; one call at a time, though not always from
// the same thread. What it allows is a function of the tokens accepted.
class TokenMask {
 public:
  virtual ~TokenMask() = default;
  // Bit id % 32 of word id / 32: whether the token may come next, end tokens included. All of `allowed` is written:
  // [MaskWords(vocab_size)]; bits past the vocabulary are ignored. Allocates nothing.
  virtual void FillAllowed(std::span<uint32_t> allowed) const = 0;
  // The token comes next. False, and nothing changes, where it is not allowed.
  virtual bool Accept(int32_t id) = 0;
  // Takes back the last `count` accepted tokens: drafts that were not confirmed.   REQUIRES: that many were accepted
  virtual void Rollback(int count) = 0;
};

}  // namespace ingot::sampling
