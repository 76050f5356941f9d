#include "base/hash.h"

#include <fmt/format.h>
#define XXH_INLINE_ALL  // the header alone: nothing to link or to install with the program
#include <xxhash.h>

namespace ingot {

uint64_t Hash64(std::string_view text) { return XXH3_64bits(text.data(), text.size()); }

std::array<uint64_t, 2> Hash128(std::string_view text) {
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  return {hash.high64, hash.low64};
}

struct Fingerprint::State {
  XXH3_state_t xxh3;
};

Fingerprint::Fingerprint() : state_(std::make_unique<State>()) { XXH3_128bits_reset(&state_->xxh3); }

Fingerprint::~Fingerprint() = default;

void Fingerprint::Add(std::string_view text) {
  const uint64_t size = text.size();  // in the byte order of x86
  XXH3_128bits_update(&state_->xxh3, &size, sizeof size);
  XXH3_128bits_update(&state_->xxh3, text.data(), text.size());
}

std::string Fingerprint::Text() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(&state_->xxh3);
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace ingot
