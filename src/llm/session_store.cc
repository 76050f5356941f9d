#include "llm/session_store.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <map>
#include <optional>
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/mutex.h"
#include "base/signal_stack.h"

namespace ingot::llm {
namespace {

constexpr int kSchemaVersion = 2;
constexpr int kApplicationId = 0x496E676F;  // "Ingo" in SQLite's header
constexpr std::chrono::seconds kBetweenTries{2}, kBetweenWarnings{60};
constexpr const char* kSchema =
    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);"
    "CREATE TABLE IF NOT EXISTS sessions (owner TEXT NOT NULL, id INTEGER NOT NULL, created INTEGER NOT NULL,"
    " used INTEGER NOT NULL, tokens BLOB NOT NULL, turns BLOB NOT NULL, PRIMARY KEY (owner, id));";

struct Closer {
  void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Database = std::unique_ptr<sqlite3, Closer>;
using Statement = std::unique_ptr<sqlite3_stmt, Closer>;

Status ErrorOf(sqlite3* database, const std::string& path) {
  const int code = sqlite3_errcode(database) & 0xFF;
  const char* message = sqlite3_errmsg(database);
  if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT) {
    return Corrupt("session-db {}: {}; move the file away to start over", path, message);
  }
  if (code == SQLITE_BUSY || code == SQLITE_LOCKED) {
    return Status(Code::kConflict, fmt::format("session-db {}: another server has it open", path));
  }
  return Io("session-db {}: {}", path, message);
}

Status Execute(sqlite3* database, const char* sql, const std::string& path) {
  if (sqlite3_exec(database, sql, nullptr, nullptr, nullptr) == SQLITE_OK) return {};
  return ErrorOf(database, path);
}

Result<Statement> Prepare(sqlite3* database, const char* sql, const std::string& path) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(database, sql, -1, &statement, nullptr) == SQLITE_OK) return Statement(statement);
  return Error(ErrorOf(database, path));
}

void BindText(const Statement& statement, int index, const std::string& text) {
  sqlite3_bind_text(statement.get(), index, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
}
template <typename T>
void BindNumbers(const Statement& statement, int index, const std::vector<T>& numbers) {
  // No numbers are a blob of no bytes; a null pointer would be NULL.
  const void* data = numbers.empty() ? static_cast<const void*>("") : numbers.data();
  sqlite3_bind_blob64(statement.get(), index, data, numbers.size() * sizeof(T), SQLITE_TRANSIENT);
}
template <typename T>
std::vector<T> NumbersAt(const Statement& statement, int column) {
  const auto bytes = static_cast<size_t>(sqlite3_column_bytes(statement.get(), column));
  std::vector<T> numbers(bytes / sizeof(T));
  if (!numbers.empty())
    std::memcpy(numbers.data(), sqlite3_column_blob(statement.get(), column), numbers.size() * sizeof(T));
  return numbers;
}
std::string TextAt(const Statement& statement, int column) {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement.get(), column));
  return text == nullptr ? "" : text;
}

class SqliteStore : public SessionStore {
 public:
  SqliteStore(Database database, std::string path) : database_(std::move(database)), path_(std::move(path)) {}
  ~SqliteStore() override {
    if (!thread_.joinable()) return;
    {
      const MutexLock lock(mutex_);
      stopping_ = true;
    }
    wake_.NotifyOne();
    thread_.join();
  }

  Status Begin(const std::string& fingerprint) {
    // Exclusive: a second server fails at once, and no reader needs shared memory.
    INGOT_RETURN_IF_ERROR(Execute(database_.get(), "PRAGMA locking_mode=EXCLUSIVE", path_));
    INGOT_RETURN_IF_ERROR(CheckOurs());
    INGOT_RETURN_IF_ERROR(Execute(database_.get(), "PRAGMA journal_mode=WAL", path_));
    // A commit survives the process's death; a power cut may take the last ones, never the file.
    INGOT_RETURN_IF_ERROR(Execute(database_.get(), "PRAGMA synchronous=NORMAL", path_));
    INGOT_RETURN_IF_ERROR(Execute(database_.get(), "BEGIN EXCLUSIVE", path_));
    INGOT_RETURN_IF_ERROR(
        Execute(database_.get(), fmt::format("PRAGMA application_id={}", kApplicationId).c_str(), path_));
    INGOT_RETURN_IF_ERROR(Execute(database_.get(), kSchema, path_));
    INGOT_RETURN_IF_ERROR(CheckMeta("version", std::to_string(kSchemaVersion),
                                    "was written by another version of Ingot; name another file"));
    INGOT_RETURN_IF_ERROR(CheckMeta("fingerprint", fingerprint,
                                    "holds sessions of another model, tokenizer or template; name another file"));
    INGOT_RETURN_IF_ERROR(Execute(database_.get(), "COMMIT", path_));
    INGOT_ASSIGN_OR_RETURN(write_,
                           Prepare(database_.get(), "INSERT OR REPLACE INTO sessions VALUES (?,?,?,?,?,?)", path_));
    INGOT_ASSIGN_OR_RETURN(remove_, Prepare(database_.get(), "DELETE FROM sessions WHERE owner = ? AND id = ?", path_));
    INGOT_RETURN_IF_ERROR(LoadAll());
    thread_ = std::thread([this] { Loop(); });
    return {};
  }

  std::vector<SessionRecord> TakeLoaded() override { return std::move(loaded_); }
  void Write(SessionRecord record, std::function<void()> done) override {
    Enqueue({std::move(record), false}, std::move(done));
  }
  void Remove(SessionKey key, std::function<void()> done) override {
    Enqueue({{.key = std::move(key)}, true}, std::move(done));
  }
  int64_t num_failures() const override { return failures_; }

 private:
  struct Change {
    SessionRecord record;
    bool remove;
  };
  // Of each session the last: a record is the whole of it.
  using Changes = std::map<SessionKey, Change>;

  Result<int64_t> NumberOf(const char* sql) const {
    INGOT_ASSIGN_OR_RETURN(const Statement read, Prepare(database_.get(), sql, path_));
    if (sqlite3_step(read.get()) != SQLITE_ROW) return Error(ErrorOf(database_.get(), path_));
    return sqlite3_column_int64(read.get(), 0);
  }

  // A new file, or one that we made.
  Status CheckOurs() const {
    INGOT_ASSIGN_OR_RETURN(const int64_t num_tables, NumberOf("SELECT count(*) FROM sqlite_master"));
    INGOT_ASSIGN_OR_RETURN(const int64_t application, NumberOf("PRAGMA application_id"));
    if (num_tables == 0 || application == kApplicationId) return {};
    return InvalidArgument("session-db {}: is another program's database; name another file", path_);
  }

  Status CheckMeta(const char* key, const std::string& value, const char* problem) {
    INGOT_ASSIGN_OR_RETURN(const Statement read,
                           Prepare(database_.get(), "SELECT value FROM meta WHERE key = ?", path_));
    BindText(read, 1, key);
    const int step = sqlite3_step(read.get());
    if (step == SQLITE_ROW) {
      if (TextAt(read, 0) == value) return {};
      return InvalidArgument("session-db {}: {}", path_, problem);
    }
    if (step != SQLITE_DONE) return ErrorOf(database_.get(), path_);
    INGOT_ASSIGN_OR_RETURN(const Statement write, Prepare(database_.get(), "INSERT INTO meta VALUES (?,?)", path_));
    BindText(write, 1, key);
    BindText(write, 2, value);
    return sqlite3_step(write.get()) == SQLITE_DONE ? Status() : ErrorOf(database_.get(), path_);
  }

  Status LoadAll() {
    INGOT_ASSIGN_OR_RETURN(
        const Statement read,
        Prepare(database_.get(), "SELECT owner, id, created, used, tokens, turns FROM sessions", path_));
    for (;;) {
      const int step = sqlite3_step(read.get());
      if (step == SQLITE_DONE) return {};
      if (step != SQLITE_ROW) return ErrorOf(database_.get(), path_);
      loaded_.push_back({.key = {TextAt(read, 0), sqlite3_column_int64(read.get(), 1)},
                         .tokens = NumbersAt<int32_t>(read, 4),
                         .turns = NumbersAt<int64_t>(read, 5),
                         .created = sqlite3_column_int64(read.get(), 2),
                         .used = sqlite3_column_int64(read.get(), 3)});
    }
  }

  void Enqueue(Change change, std::function<void()> done) {
    {
      const MutexLock lock(mutex_);
      SessionKey key = change.record.key;
      changes_.insert_or_assign(std::move(key), std::move(change));
      if (done) done_.push_back(std::move(done));
    }
    wake_.NotifyOne();
  }

  void Loop() {
    const SignalStack signal_stack;
    Changes unwritten;  // a full disk may have room again
    for (;;) {
      std::vector<std::function<void()>> done;
      int64_t num_new;
      bool last;
      {
        const MutexLock lock(mutex_);
        const auto next_try = std::chrono::steady_clock::now() + kBetweenTries;
        bool is_early = true;
        while (!stopping_ && changes_.empty() && is_early) {
          unwritten.empty() ? wake_.Wait(mutex_) : void(is_early = wake_.WaitUntil(mutex_, next_try));
        }
        num_new = std::ssize(changes_);
        changes_.merge(unwritten);  // what is newer stays
        unwritten = std::exchange(changes_, {});
        done.swap(done_);
        last = stopping_;
      }
      const Status status = Commit(unwritten);
      if (status.ok()) unwritten.clear();
      if (!status.ok()) Warn(status, num_new);
      for (const auto& tell : done) tell();
      if (last) return;
    }
  }

  void Warn(const Status& status, int64_t num_changes) {
    failures_ += num_changes;
    const auto now = std::chrono::steady_clock::now();
    if (last_warning_ && now - *last_warning_ < kBetweenWarnings) return;
    last_warning_ = now;
    Log(LogLevel::kWarning, "{}; serving continues, and sessions are kept in memory alone until it can be written",
        status.message());
  }

  // What waits goes in one transaction.
  Status Commit(const Changes& changes) {
    if (changes.empty()) return {};
    INGOT_RETURN_IF_ERROR(Execute(database_.get(), "BEGIN IMMEDIATE", path_));
    for (const auto& [key, change] : changes) {
      const Statement& statement = change.remove ? remove_ : write_;
      const SessionRecord& record = change.record;
      BindText(statement, 1, key.owner);
      sqlite3_bind_int64(statement.get(), 2, key.id);
      if (!change.remove) {
        sqlite3_bind_int64(statement.get(), 3, record.created);
        sqlite3_bind_int64(statement.get(), 4, record.used);
        BindNumbers(statement, 5, record.tokens);
        BindNumbers(statement, 6, record.turns);
      }
      const bool written = sqlite3_step(statement.get()) == SQLITE_DONE;
      const Status problem = written ? Status() : ErrorOf(database_.get(), path_);
      sqlite3_reset(statement.get());
      if (!written) {
        sqlite3_exec(database_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
        return problem;
      }
    }
    const Status status = Execute(database_.get(), "COMMIT", path_);
    if (!status.ok()) sqlite3_exec(database_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
    return status;
  }

  const Database database_;  // the writer's thread's, once it runs
  const std::string path_;
  Statement write_, remove_;
  std::vector<SessionRecord> loaded_;
  std::atomic<int64_t> failures_ = 0;
  std::optional<std::chrono::steady_clock::time_point> last_warning_;  // the writer's thread's

  Mutex mutex_;
  CondVar wake_;
  Changes changes_ INGOT_GUARDED_BY(mutex_);
  std::vector<std::function<void()>> done_ INGOT_GUARDED_BY(mutex_);  // to be called after changes_
  bool stopping_ INGOT_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<SessionStore>> SessionStore::Open(const std::string& path, const std::string& fingerprint) {
  // Made by us, so that other users of the machine do not read along; SQLite gives its other files the same rights.
  if (const int fd = ::open(path.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600); fd >= 0) ::close(fd);
  sqlite3* raw = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  Database database(raw);
  if (code != SQLITE_OK) return Io("session-db {}: {}", path, raw != nullptr ? sqlite3_errmsg(raw) : "out of memory");
  auto store = std::make_unique<SqliteStore>(std::move(database), path);
  INGOT_RETURN_IF_ERROR(store->Begin(fingerprint));
  return store;
}

}  // namespace ingot::llm
