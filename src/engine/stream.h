// Where the device's half of the steps runs.
#pragma once

#include <cstdint>
#include <functional>

namespace ingot::engine {

// Work runs in the order in which it was posted, one piece after the other, within Post or after it.
// Thread safety: Post and Wait by one thread.
class Stream {
 public:
  virtual ~Stream() = default;  // what was posted has run
  // Returns the number of this piece of work; the first is 1.
  virtual int64_t Post(std::function<void()> work) = 0;
  // Until that piece and all before it are done.
  virtual void Wait(int64_t number) = 0;
  // Whether the host should plan the next step while this one runs: Post returns before the work is done.
  virtual bool runs_behind() const = 0;
};

// A CPU's: the work is done when Post returns.
class InlineStream : public Stream {
 public:
  int64_t Post(std::function<void()> work) override {
    work();
    return ++posted_;
  }
  void Wait(int64_t) override {}
  bool runs_behind() const override { return false; }

 private:
  int64_t posted_ = 0;
};

}  // namespace ingot::engine
