#include "ops/cuda/graphs.h"

#include <algorithm>

namespace ingot::ops {
namespace {

// Powers of two up to 256 sequences, times those of the splits of a context: few are in use at a time.
constexpr size_t kMaxGraphs = 64;

// Field by field: between fields may be bytes without a meaning.
using Same = bool (*)(const void* a, const void* b);
template <typename Params>
bool SameParams(const void* a, const void* b) {
  return *static_cast<const Params*>(a) == *static_cast<const Params*>(b);
}
#define INGOT_SAME_PARAMS(name, function, Params, threads, shared) SameParams<kernels::cuda::Params>,
constexpr Same kSame[] = {INGOT_CUDA_KERNELS(INGOT_SAME_PARAMS)};
#undef INGOT_SAME_PARAMS

}  // namespace

bool CudaGraphs::Recording::operator==(const Recording& other) const {
  if (launches.size() != other.launches.size()) return false;
  for (size_t i = 0; i < launches.size(); ++i) {
    const CudaLaunch &a = launches[i], &b = other.launches[i];
    if (a.kernel != b.kernel || a.grid.x != b.grid.x || a.grid.y != b.grid.y || a.grid.z != b.grid.z) return false;
    const Same same = kSame[static_cast<size_t>(a.kernel)];
    if (!same(params.data() + begins[i], other.params.data() + other.begins[i])) return false;
  }
  return true;
}

void CudaGraphs::Add(const CudaLaunch& launch, const void* params) {
  const size_t bytes = kernels::cuda::InfoOf(launch.kernel).params_bytes, begin = added_.params.size();
  added_.launches.push_back(launch);
  added_.begins.push_back(begin);
  const auto* const from = static_cast<const std::byte*>(params);
  added_.params.insert(added_.params.end(), from, from + bytes);
  added_.params.resize((added_.params.size() + alignof(std::max_align_t) - 1) / alignof(std::max_align_t) *
                       alignof(std::max_align_t));
}

void CudaGraphs::Launch() {
  if (added_.launches.empty()) return;
  const auto found = std::ranges::find(entries_, added_, &Entry::recording);
  Entry& entry = found == entries_.end() ? Make() : *found;
  entry.last_used = ++launched_;
  driver_.Launch(*entry.graph);
  added_.launches.clear();
  added_.begins.clear();
  added_.params.clear();
}

// Of what was added, in the place of the one that was not used for the longest time where there are many.
CudaGraphs::Entry& CudaGraphs::Make() {
  std::vector<CudaGraphNode> nodes;
  for (size_t i = 0; i < added_.launches.size(); ++i) {
    nodes.push_back({added_.launches[i], added_.params.data() + added_.begins[i]});
  }
  if (entries_.size() == kMaxGraphs) entries_.erase(std::ranges::min_element(entries_, {}, &Entry::last_used));
  ++made_;
  return entries_.emplace_back(added_, driver_.MakeGraph(nodes));
}

}  // namespace ingot::ops
