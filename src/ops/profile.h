// Where the time of forward passes goes: by op, number of rows and, of a product, its matrix.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "ops/step_batch.h"

namespace ingot::ops {

// What an op does at least, whatever the backend.
struct OpWork {
  const char* op;                             // a literal
  int64_t rows;                               // tokens, or rows of a product
  double bytes;                               // operands, read or written once
  double products = 0;                        // multiply-adds
  int64_t out_features = 0, in_features = 0;  // of a product
  int bits = 0;                               // of its weights
};

// Whether both are of the same op, number of rows and matrix.
bool IsSameStage(const OpWork& a, const OpWork& b);

// Thread safety: any.
class Profile {
 public:
  // Of all calls of an op of which OpWork says the same but for rows, which are up to so many and more than half of it.
  struct Stage {
    OpWork work;  // bytes and products of all calls
    int64_t calls;
    double seconds;
  };

  void Clear();
  void Add(const OpWork& work, double seconds);
  // By rows, then by time, longest first.
  std::vector<Stage> stages() const;

  // What attention reads in the step that begins: for each group of layers, positions, and pairs of a token and a
  // position.
  struct Seen {
    double positions = 0, pairs = 0;
  };
  void BeginStep(const StepBatch& batch, std::span<const KvView> kv);
  Seen seen(int group) const;

 private:
  mutable Mutex mutex_;
  std::vector<Stage> stages_ INGOT_GUARDED_BY(mutex_);
  std::vector<Seen> seen_ INGOT_GUARDED_BY(mutex_);  // [groups]
};

// Times a scope; nothing without a profile. On a device that runs behind the host this is the time of the launch.
class Timed {
 public:
  using Clock = std::chrono::steady_clock;
  Timed(Profile* profile, const OpWork& work) : profile_(profile), work_(work) {
    if (profile_ != nullptr) begin_ = Clock::now();
  }
  ~Timed() {
    if (profile_ != nullptr) profile_->Add(work_, std::chrono::duration<double>(Clock::now() - begin_).count());
  }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  Profile* const profile_;
  const OpWork work_;
  Clock::time_point begin_;
};

}  // namespace ingot::ops
