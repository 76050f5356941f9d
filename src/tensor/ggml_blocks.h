// Takes the blocks of GGML's quantized types apart. For encoding.cc only.
#pragma once

#include "tensor/encoding.h"

namespace ingot {

// Decodes one block: number `index` of the matrix, into vectors of *out that SizeToFormat sized.
using BlockDecoder = void (*)(const uint8_t* block, int64_t index, WeightRows* out);
BlockDecoder BlockDecoderOf(Encoding encoding);  // REQUIRES: a block encoding

// The I-quants, whose codes come from grids (ggml_grid_blocks.cc).
void DecodeIq1S(const uint8_t* block, int64_t index, WeightRows* out);
void DecodeIq1M(const uint8_t* block, int64_t index, WeightRows* out);
void DecodeIq2Xxs(const uint8_t* block, int64_t index, WeightRows* out);
void DecodeIq2Xs(const uint8_t* block, int64_t index, WeightRows* out);
void DecodeIq2S(const uint8_t* block, int64_t index, WeightRows* out);
void DecodeIq3Xxs(const uint8_t* block, int64_t index, WeightRows* out);
void DecodeIq3S(const uint8_t* block, int64_t index, WeightRows* out);

inline uint16_t Load16(const uint8_t* p) { return static_cast<uint16_t>(p[0] | p[1] << 8); }
inline uint32_t Load32(const uint8_t* p) { return p[0] | p[1] << 8 | p[2] << 16 | static_cast<uint32_t>(p[3]) << 24; }
inline float LoadF16(const uint8_t* p) { return F16ToF32(Load16(p)); }

// The scales of a block of 256 weights: its super scale d, then the codes of its groups.
class SuperScales {
 public:
  SuperScales(float d, int64_t index, WeightRows* out)
      : d_(d), first_(index * (kSuperBlock / out->format.group_size)), out_(out) {
    if (out->format.codebook != Format::Codebook::kNone) unit_ = InfoOf(out->format.codebook).unit;
    out->super_scale[index] = d;
  }
  void Put(int group, int code) {
    out_->scale_code[first_ + group] = static_cast<int16_t>(code);
    out_->scale[first_ + group] = d_ * static_cast<float>(code) * unit_;
  }

 private:
  float d_, unit_ = 1;
  int64_t first_;  // the block's first group
  WeightRows* out_;
};

}  // namespace ingot
