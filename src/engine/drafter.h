// Guesses at the next tokens of a sequence, which the next step checks all at once (speculative decoding).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ingot::engine {

// Thread safety: none; the engine thread owns it.
class Drafter {
 public:
  virtual ~Drafter() = default;
  // Appends at most `limit` guesses at the tokens after `tokens`, ids of the model, to the empty `drafts`, whose
  // capacity suffices. Any guess is right in the sense that no answer depends on it.
  virtual void Propose(std::span<const int32_t> tokens, int64_t limit, std::vector<int32_t>* drafts) = 0;
};

// Prompt lookup: what followed the last tokens where they stood before, in prompt or answer. The longest repetition
// counts, from kMinRepeated tokens on, and of several of a length (kMaxRepeated and more count as one) the latest.
class LookupDrafter : public Drafter {
 public:
  static constexpr int64_t kMinRepeated = 2, kMaxRepeated = 4;
  void Propose(std::span<const int32_t> tokens, int64_t limit, std::vector<int32_t>* drafts) override;
};

}  // namespace ingot::engine
