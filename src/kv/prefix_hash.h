// What the nodes of a prefix index are found by, before what they stand for is compared.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "kv/prefix_index.h"

namespace ingot::kv {

inline uint64_t Mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15u;
  return hash ^ (hash >> 32);
}

inline uint64_t HashOf(NodeId parent, std::span<const int32_t> tokens) {
  uint64_t hash = Mix(0x243F6A8885A308D3u, static_cast<uint64_t>(parent) + 2);
  for (const int32_t token : tokens) hash = Mix(hash, static_cast<uint32_t>(token));
  return hash;
}

inline uint64_t HashOf(const PrefixScope& scope) {
  uint64_t hash = 0x13198A2E03707344u;
  for (const std::string* text : {&scope.model, &scope.adapter, &scope.salt}) {
    for (const char c : *text) hash = Mix(hash, static_cast<unsigned char>(c));
    hash = Mix(hash, 0x100);  // where it ends
  }
  return hash;
}

}  // namespace ingot::kv
