#include "engine/flight_recorder.h"

#include <algorithm>

namespace ingot::engine {
namespace {

using Word = std::atomic<int64_t>;

// A record's header; kMaxGroups numbers of available blocks begin at kAvailable.
enum Header : int64_t { kNumber, kIsTask, kBegin, kTook, kRunning, kWaiting, kBudget, kGroups, kEntries, kAvailable };
constexpr int64_t kHeaderWords = kAvailable + kv::kMaxGroups;
constexpr int64_t kBeingWritten = -1;  // a number
constexpr int64_t kUnderWay = -1;      // a duration

enum Entry : int64_t { kKind, kId, kSlot, kFrom, kCount, kEntryWords };
enum Kind : int64_t { kPreempted, kAdmitted, kComputes, kComputesAndDraws };

int64_t Get(const Word& word) { return word.load(std::memory_order_relaxed); }
void Set(Word& word, int64_t value) { word.store(value, std::memory_order_relaxed); }

// Fills a record's entries as far as there is room; counts them all.
class Entries {
 public:
  Entries(Word* record, int64_t room, std::span<const RequestId> ids)
      : at_(record + kHeaderWords), room_(room), ids_(ids) {}
  void Add(Kind kind, int32_t slot, int64_t begin = 0, int64_t count = 0) {
    if (count_++ >= room_) return;
    Set(at_[kKind], kind);
    Set(at_[kId], static_cast<int64_t>(ids_[static_cast<size_t>(slot)]));
    Set(at_[kSlot], slot);
    Set(at_[kFrom], begin);
    Set(at_[kCount], count);
    at_ += kEntryWords;
  }
  int64_t count() const { return count_; }

 private:
  Word* at_;
  int64_t room_, count_ = 0;
  std::span<const RequestId> ids_;
};

void WriteEntry(SignalSafeWriter& out, const Word* entry) {
  const int64_t kind = Get(entry[kKind]);
  out << "  request " << Get(entry[kId]) << " in slot " << Get(entry[kSlot]);
  if (kind == kPreempted) {
    out << " is preempted";
  } else if (kind == kAdmitted) {
    out << " is admitted";
  } else {
    out << " computes " << Get(entry[kCount]) << " from token " << Get(entry[kFrom]);
    if (kind == kComputesAndDraws) out << " and draws";
  }
  out << "\n";
}

}  // namespace

FlightRecorder::FlightRecorder(int max_batch_size)
    : start_(Clock::now()),
      // A sequence works or is preempted; if it works, it may have been admitted just before.
      max_entries_(std::min<int64_t>(2 * int64_t{max_batch_size}, kMaxEntries)),
      record_words_(kHeaderWords + max_entries_ * kEntryWords),
      words_(std::make_unique<Word[]>(static_cast<size_t>(kSteps * record_words_))) {}

int64_t FlightRecorder::MicrosSinceStart() const {
  return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start_).count();
}

FlightRecorder::Word* FlightRecorder::Begin() {
  Word* record = RecordOf(Get(next_));
  record[kNumber].store(kBeingWritten, std::memory_order_release);
  for (const int64_t field : {kIsTask, kEntries}) Set(record[field], 0);
  Set(record[kBegin], MicrosSinceStart());
  Set(record[kTook], kUnderWay);
  return record;
}

int64_t FlightRecorder::Publish(Word* record) {
  const int64_t number = Get(next_);
  record[kNumber].store(number, std::memory_order_release);
  next_.store(number + 1, std::memory_order_release);
  return number;
}

int64_t FlightRecorder::BeginTask() {
  Word* record = Begin();
  Set(record[kIsTask], 1);
  return Publish(record);
}

int64_t FlightRecorder::BeginStep(const Step& step) {
  Word* record = Begin();
  Set(record[kRunning], step.running);
  Set(record[kWaiting], step.waiting);
  Set(record[kBudget], step.prefill_budget);
  Set(record[kGroups], step.num_groups);
  for (int g = 0; g < step.num_groups; ++g) Set(record[kAvailable + g], step.available[static_cast<size_t>(g)]);
  Entries entries(record, max_entries_, step.ids);
  for (const int32_t slot : step.plan->preempted) entries.Add(kPreempted, slot);
  for (const int32_t slot : step.plan->admitted_slots) entries.Add(kAdmitted, slot);
  for (const Work& work : step.plan->work) {
    entries.Add(work.sample ? kComputesAndDraws : kComputes, work.slot, work.begin, work.count);
  }
  Set(record[kEntries], entries.count());
  return Publish(record);
}

void FlightRecorder::End(int64_t number) {
  Word* record = RecordOf(number);
  Set(record[kTook], MicrosSinceStart() - Get(record[kBegin]));
}

void FlightRecorder::Write(SignalSafeWriter& out) const {
  const int64_t end = next_.load(std::memory_order_acquire);
  out << "seconds count from the start; now: ";
  out.Seconds(MicrosSinceStart()) << "\n";
  for (int64_t number = std::max<int64_t>(0, end - kSteps); number < end; ++number) {
    const Word* record = RecordOf(number);
    if (record[kNumber].load(std::memory_order_acquire) != number) continue;
    out << (Get(record[kIsTask]) != 0 ? "task " : "step ") << number << " at ";
    out.Seconds(Get(record[kBegin]));
    const int64_t took = Get(record[kTook]);
    took == kUnderWay ? out << ", under way" : (out << ", took ").Seconds(took);
    if (Get(record[kIsTask]) == 0) {
      out << ": " << Get(record[kRunning]) << " run, " << Get(record[kWaiting]) << " wait, prompts get "
          << Get(record[kBudget]) << " tokens, blocks available:";
      const int64_t groups = std::min<int64_t>(Get(record[kGroups]), kv::kMaxGroups);
      for (int64_t g = 0; g < groups; ++g) out << " " << Get(record[kAvailable + g]);
    }
    out << "\n";
    const int64_t entries = Get(record[kEntries]);
    for (int64_t i = 0; i < std::min(entries, max_entries_); ++i) {
      WriteEntry(out, record + kHeaderWords + i * kEntryWords);
    }
    if (entries > max_entries_) out << "  and " << entries - max_entries_ << " more\n";
  }
}

}  // namespace ingot::engine
