// Parses untrusted bytes and reads all that they give. For the damage test and the fuzz targets.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace ingot::formats {

// True when the bytes were accepted. Every byte of every tensor is read then, and weights are decoded.
bool ReadAllOfSafetensors(std::span<const std::byte> bytes);
bool ReadAllOfGguf(std::span<const std::byte> bytes);
bool ReadAllOfTorch(std::span<const std::byte> bytes);
// Texts joined by zero bytes: config, generation_config, tokenizer_config, chat_template.json.
bool ReadAllOfHfConfig(std::span<const std::byte> bytes);
bool ReadAllOfShardIndex(std::span<const std::byte> bytes);

}  // namespace ingot::formats
