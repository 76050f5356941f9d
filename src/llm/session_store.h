// Sessions on disk: tokens that outlive the process.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"

namespace ingot::llm {

// Whose session it is: the owner is the hash of an API key, "" without keys.
struct SessionKey {
  std::string owner;
  int64_t id = 0;
  auto operator<=>(const SessionKey&) const = default;
};

struct SessionRecord {
  SessionKey key;
  std::vector<int32_t> tokens;    // all turns
  std::vector<int64_t> turns;     // tokens up to the end of each turn
  int64_t created = 0, used = 0;  // seconds since 1970
};

// SQLite in WAL mode with a writer thread of its own: what was written survives kill -9, and the engine never waits for
// a disk. Thread safety: all methods from any thread.
class SessionStore {
 public:
  // `fingerprint` says which model, tokenizer and template the tokens are of. kInvalidArgument when the file is of
  // another, kConflict when another process has it open, kCorrupt when it is no store of sessions.
  static Result<std::unique_ptr<SessionStore>> Open(const std::string& path, const std::string& fingerprint);
  virtual ~SessionStore() = default;  // writes what waits

  // All sessions, as they were when the store was opened.
  virtual std::vector<SessionRecord> TakeLoaded() = 0;
  // In the order of the calls. `done` is called from the writer's thread once the change is on its way to the disk for
  // good, or could not be written, which is logged and counted, and tried again until it succeeds or the store ends; it
  // may be empty.
  virtual void Write(SessionRecord record, std::function<void()> done) = 0;
  virtual void Remove(SessionKey key, std::function<void()> done) = 0;
  virtual int64_t num_failures() const = 0;  // changes that could not be written at first
};

}  // namespace ingot::llm
