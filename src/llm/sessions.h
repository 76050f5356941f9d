// Stateful sessions: a conversation that the server keeps, so that a client sends only what is new.
//
// A session is its tokens. A turn appends what the chat template puts between the last answer and the next one, and the
// answer. The cache of earlier turns is found by the engine's prefix index; what was evicted is computed again.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "llm/llm.h"
#include "llm/session_store.h"

namespace ingot::llm {

// Ids that the server chooses are from here on: clients that choose their own begin lower.
inline constexpr int64_t kFirstChosenId = 1'000'000'000;

struct SessionOptions {
  std::string db;  // a file; "": sessions end with the process
  // More are refused, except those that one turn begins and ends. An owner that has less than its share (max_sessions
  // by the number of owners) is not: the longest unused session of the owner that has most is forgotten for it.
  int64_t max_sessions = 10'000;
  int64_t ttl_seconds = 7 * 86400;  // unused for so long, a session is forgotten; 0: never
};

struct SessionInfo {
  SessionKey key;
  int64_t tokens = 0, turns = 0;
  int64_t created = 0, used = 0;  // seconds since 1970
  bool running = false;
};

// What a turn does when the session is full.
enum class WhenFull : uint8_t {
  kRefuse,  // kTooLong with the counts
  kRenew    // the history is dropped, and the session restarts with the turn
};

struct TurnRequest {
  Request request;  // messages, a prompt or ids: the new turn alone. n is 1: others are refused
  WhenFull when_full = WhenFull::kRefuse;
  bool keep = true;  // false: the session is forgotten after the answer
};

struct TurnHandle {
  std::shared_ptr<Handle> handle;
  int64_t session_id = 0;
  int64_t history_tokens = 0;  // of the turns before
  int64_t input_tokens = 0;    // that this one adds before the answer
};

// Thread safety: all methods from any thread at once. One turn of a session runs at a time. Lives until its last turn
// has ended; `llm` outlives it.
class Sessions : public std::enable_shared_from_this<Sessions> {
 public:
  static Result<std::shared_ptr<Sessions>> Open(Llm& llm, const SessionOptions& options);
  ~Sessions();

  // An empty session, without a turn; key.id -1: with an id that no session of the owner has. kConflict where there is
  // one already, kQuotaExceeded where all are kept. It is stored with its first turn.
  Result<SessionInfo> Begin(SessionKey key);
  // Begins the session where there is none; key.id -1: one with an id that no session of the owner has. kConflict while
  // another turn of it runs. The final event comes after the turn has been written, when the next one may come. A turn
  // that was cancelled is kept as far as it came; one that ends in an error has not happened.
  Result<TurnHandle> Turn(SessionKey key, const TurnRequest& turn, EventFn on_event);
  // Stops the running turn. `done` is called once none runs.
  void Cancel(const SessionKey& key, std::function<void()> done);
  // Cuts the session to its first `step` tokens (0: an empty one); below 0 and beyond its end nothing happens. How many
  // it has then. kConflict while a turn runs; kNotFound. Unless it fails, `done` is called after this has been written.
  Result<int64_t> Rewind(const SessionKey& key, int64_t step, const std::function<void()>& done);
  // Deletes it. Errors and `done`, which gets what it was, are as with Rewind.
  Status Remove(const SessionKey& key, const std::function<void(const SessionInfo&)>& done);
  std::optional<SessionInfo> Find(const SessionKey& key);
  // In the order of ids, after `after`; of all owners where none is given.
  std::vector<SessionInfo> List(const std::optional<std::string>& owner, std::optional<SessionKey> after, size_t limit);
  int64_t count();
  int64_t failed_writes() const { return store_ ? store_->num_failures() : 0; }

 private:
  struct Session {
    SessionRecord record;
    std::shared_ptr<Handle> running;
    bool busy = false;                           // from before `running` is set until its turn has been written
    bool is_new = false;                         // begun by the turn that runs
    bool stored = false;                         // the store has it, or is about to
    bool cancelled = false;                      // the turn that runs is to stop
    std::vector<std::function<void()>> on_free;  // wait until it is not busy
    int64_t num_ended = 0;                       // turns, in this process
  };
  using SessionMap = std::map<SessionKey, Session>;
  Sessions(Llm& llm, const SessionOptions& options) : llm_(llm), options_(options) {}
  bool IsFullLocked() const INGOT_REQUIRES(mutex_) {
    return static_cast<int64_t>(sessions_.size()) >= options_.max_sessions;
  }
  Result<std::vector<int32_t>> NewTokens(const std::vector<int32_t>& history, const Request& request) const;
  Status CheckFits(int64_t history, int64_t added, const Request& request) const;
  struct Addition {
    std::vector<int32_t> tokens;  // of the session with the turn
    int64_t history_tokens;       // that it continues from
  };
  Result<Addition> Add(std::vector<int32_t> history, const TurnRequest& turn) const;
  struct Begun {
    SessionKey key;
    std::vector<int32_t> tokens;
    int64_t num_ended;
    bool is_new;
  };
  Result<Begun> BeginTurn(SessionKey key, bool keep);
  struct TurnEnd {
    int64_t history_tokens;       // that the turn went on from
    std::vector<int32_t> tokens;  // of the session with the answer
    bool keep, failed;
    std::function<void()> notify;  // the client
  };
  void EndTurn(const SessionKey& key, TurnEnd end);
  void SetRunning(const Begun& begun, const std::shared_ptr<Handle>& handle);
  void Free(const SessionKey& key, bool keep);
  int64_t FreeIdLocked(const std::string& owner) INGOT_REQUIRES(mutex_);
  // The session that makes room for a new one of `owner` when all are full; end() where none does.
  SessionMap::iterator LentLocked(const std::string& owner) INGOT_REQUIRES(mutex_);
  Status FullLocked() const;
  Status MakeRoom(const std::string& owner);
  Result<SessionMap::iterator> FindIdleLocked(const SessionKey& key) INGOT_REQUIRES(mutex_);
  void ExpireLocked(int64_t now) INGOT_REQUIRES(mutex_);

  Llm& llm_;
  const SessionOptions options_;
  std::unique_ptr<SessionStore> store_;  // null without a file
  Mutex mutex_;
  SessionMap sessions_ INGOT_GUARDED_BY(mutex_);
  int64_t next_expiry_ INGOT_GUARDED_BY(mutex_) = 0;
  int64_t next_id_ INGOT_GUARDED_BY(mutex_) = kFirstChosenId;
};

// Names model, tokenizer and template: tokens of one mean nothing to another.
std::string FingerprintOf(const Llm& llm);

}  // namespace ingot::llm
