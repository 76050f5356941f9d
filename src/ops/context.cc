#include "ops/context.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace ingot::ops {

Result<Scratch> Scratch::Allocate(int64_t bytes) {
  Scratch scratch;
  INGOT_ASSIGN_OR_RETURN(scratch.buffer_, Buffer::Allocate(bytes));
  return scratch;
}

std::byte* Scratch::TakeBytes(int64_t bytes) {
  INGOT_CHECK(bytes >= 0 && bytes <= buffer_.size() - used_);
  std::byte* const taken = buffer_.data() + used_;
  used_ = std::min((used_ + bytes + 63) / 64 * 64, buffer_.size());
  peak_ = std::max(peak_, used_);
  return taken;
}

}  // namespace ingot::ops
