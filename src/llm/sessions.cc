#include "llm/sessions.h"

#include <algorithm>
#include <ctime>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/hash.h"
#include "chat/chat_template.h"
#include "formats/checkpoint.h"
#include "llm/checks.h"
#include "tokenizer/tokenizer.h"

namespace ingot::llm {
namespace {

int64_t Now() { return static_cast<int64_t>(std::time(nullptr)); }

bool IsEnd(const Llm& llm, int32_t id) {
  const std::vector<int32_t>& eos = llm.tokenizer().eos_ids();
  return std::ranges::find(eos, id) != eos.end();
}

SessionInfo InfoOf(const SessionRecord& record, bool running) {
  return {record.key, std::ssize(record.tokens), std::ssize(record.turns), record.created, record.used, running};
}

}  // namespace

std::string FingerprintOf(const Llm& llm) {
  Fingerprint print;
  formats::AddTo(llm.checkpoint(), &print);
  const tokenizer::Tokenizer& tokenizer = llm.tokenizer();
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) print.Add(tokenizer.TokenBytes(id));
  if (llm.chat_template() != nullptr) print.Add(llm.chat_template()->source());
  print.Add(llm.options().meta_instruction);
  return print.Text();
}

Result<std::shared_ptr<Sessions>> Sessions::Open(Llm& llm, const SessionOptions& options) {
  std::shared_ptr<Sessions> sessions(new Sessions(llm, options));
  if (options.db.empty()) return sessions;
  INGOT_ASSIGN_OR_RETURN(sessions->store_, SessionStore::Open(options.db, FingerprintOf(llm)));
  const int64_t vocab_size = llm.tokenizer().vocab_size();
  const MutexLock lock(sessions->mutex_);
  for (SessionRecord& record : sessions->store_->TakeLoaded()) {
    const bool sound = std::ranges::all_of(record.tokens, [&](int32_t id) { return id >= 0 && id < vocab_size; });
    if (!sound) return Corrupt("session-db {}: session {} holds ids that the model has not", options.db, record.key.id);
    const SessionKey key = record.key;
    // Ids that JavaScript cannot count to are a client's own.
    if (key.id < int64_t{1} << 53) sessions->next_id_ = std::max(sessions->next_id_, key.id + 1);
    sessions->sessions_.emplace(key, Session{.record = std::move(record), .stored = true});
  }
  return sessions;
}

// What waits to be written still looks at the sessions.
Sessions::~Sessions() { store_.reset(); }

// Forgets what was unused for too long; looks at most once a minute.
void Sessions::ExpireLocked(int64_t now) {
  if (options_.ttl_seconds == 0 || now < next_expiry_) return;
  next_expiry_ = now + std::min<int64_t>(60, options_.ttl_seconds);
  std::erase_if(sessions_, [&](const auto& entry) {
    const Session& session = entry.second;
    if (session.busy || now - session.record.used < options_.ttl_seconds) return false;
    if (session.stored) store_->Remove(entry.first, nullptr);
    return true;
  });
}

// An owner below an equal share gets one of the owner that has most, if that is more than a share: its longest unused
// one. An owner within its share loses none, and one owner alone none.
Sessions::SessionMap::iterator Sessions::LentLocked(const std::string& owner) {
  std::map<std::string_view, int64_t> held = {{owner, 0}};
  for (const auto& entry : sessions_) held[entry.first.owner] += entry.second.is_new ? 0 : 1;
  const int64_t share = options_.max_sessions / std::ssize(held);
  const auto most = std::ranges::max_element(held, {}, [](const auto& count) { return count.second; });
  auto lent = sessions_.end();
  if (held[owner] >= share || most->second <= share) return lent;
  for (auto it = sessions_.begin(); it != sessions_.end(); ++it) {
    if (it->first.owner != most->first || it->second.busy) continue;
    if (lent == sessions_.end() || it->second.record.used < lent->second.record.used) lent = it;
  }
  return lent;
}

// Ids are not used again while the process runs, so that no owner continues a session that is another's by now.
int64_t Sessions::FreeIdLocked(const std::string& owner) {
  while (sessions_.contains({owner, next_id_})) ++next_id_;
  return next_id_++;
}

Status Sessions::FullLocked() const {
  return QuotaExceeded("{} sessions are kept, as many as --max-sessions allows; delete one", options_.max_sessions)
      .value()
      .Of("session_id");
}

// For a session that a turn begins. Not before the turn is known to be one: no owner loses a session to a request that
// is refused.
Status Sessions::MakeRoom(const std::string& owner) {
  const MutexLock lock(mutex_);
  if (std::ssize(sessions_) <= options_.max_sessions) return {};
  const auto lent = LentLocked(owner);
  if (lent == sessions_.end()) return FullLocked();
  if (lent->second.stored) store_->Remove(lent->first, nullptr);
  sessions_.erase(lent);
  return {};
}

// Marks the session as busy; its tokens.
Result<Sessions::Begun> Sessions::BeginTurn(SessionKey key, bool keep) {
  const MutexLock lock(mutex_);
  ExpireLocked(Now());
  if (key.id < 0) key.id = FreeIdLocked(key.owner);
  auto found = sessions_.find(key);
  if (found == sessions_.end()) {
    if (keep && IsFullLocked() && LentLocked(key.owner) == sessions_.end()) return Error(FullLocked());
    found =
        sessions_.emplace(key, Session{.record = {.key = key, .created = Now(), .used = Now()}, .is_new = true}).first;
  }
  Session& session = found->second;
  if (session.busy) {
    return Error(Conflict("session {} is answering another request", key.id).value().Of("session_id"));
  }
  session.busy = true;
  session.cancelled = false;
  return Begun{key, session.record.tokens, session.num_ended, session.is_new};
}

// The turn is over: the next one may come. Without `keep` the session goes.
void Sessions::Free(const SessionKey& key, bool keep) {
  std::vector<std::function<void()>> waiting;
  {
    const MutexLock lock(mutex_);
    const auto found = sessions_.find(key);
    INGOT_CHECK(found != sessions_.end() && found->second.busy);
    found->second.busy = false;
    waiting.swap(found->second.on_free);
    // One that was begun by a turn that did not happen has not been begun.
    if (!keep || found->second.is_new) sessions_.erase(found);
  }
  for (const auto& done : waiting) done();
}

void Sessions::EndTurn(const SessionKey& key, TurnEnd end) {
  std::optional<SessionRecord> record;
  bool remove = false;
  {
    const MutexLock lock(mutex_);
    Session& session = sessions_.at(key);
    session.running = nullptr;
    ++session.num_ended;
    if (!end.failed) {
      std::erase_if(session.record.turns, [&](int64_t turn) { return turn > end.history_tokens; });
      session.record.tokens = std::move(end.tokens);
      session.record.turns.push_back(std::ssize(session.record.tokens));
      session.record.used = Now();
      session.is_new = false;
      if (end.keep && store_) record = session.record;
      remove = !end.keep && session.stored;
      session.stored = session.stored || record.has_value();
    }
  }
  const auto finish = [this, key, keep = end.keep || end.failed, notify = std::move(end.notify)] {
    Free(key, keep);
    notify();
  };
  if (record) return store_->Write(*std::move(record), finish);
  if (remove) return store_->Remove(key, finish);
  finish();
}

Result<std::vector<int32_t>> Sessions::NewTokens(const std::vector<int32_t>& history, const Request& request) const {
  if (history.empty()) return llm_.Tokenize(request);
  if (!request.token_ids.empty()) return request.token_ids;
  INGOT_ASSIGN_OR_RETURN(std::vector<int32_t> added, llm_.TokenizeNextTurn(request));
  // An answer that the model ended itself has its end already. Some templates put a space before it.
  const auto is_space = [&](int32_t id) {
    return llm_.tokenizer().TokenBytes(id).find_first_not_of(' ') == std::string::npos;
  };
  const auto end = std::ranges::find_if_not(added, is_space);
  if (end != added.end() && *end == history.back() && IsEnd(llm_, *end)) added.erase(added.begin(), end + 1);
  return added;
}

Status Sessions::CheckFits(int64_t history, int64_t added, const Request& request) const {
  const auto length = AnswerLength(request, history + added, llm_.session_len());
  if (length) return {};
  return length.error().Annotate(fmt::format("the session has {} tokens, the turn adds {}", history, added));
}

Result<Sessions::Addition> Sessions::Add(std::vector<int32_t> history, const TurnRequest& turn) const {
  INGOT_ASSIGN_OR_RETURN(std::vector<int32_t> added, NewTokens(history, turn.request));
  Status fits = CheckFits(std::ssize(history), std::ssize(added), turn.request);
  if (!fits.ok() && turn.when_full == WhenFull::kRenew && !history.empty()) {
    history.clear();
    INGOT_ASSIGN_OR_RETURN(added, NewTokens(history, turn.request));
    fits = CheckFits(0, std::ssize(added), turn.request);
  }
  INGOT_RETURN_IF_ERROR(fits);
  const int64_t history_tokens = std::ssize(history);
  history.insert(history.end(), added.begin(), added.end());
  if (history.empty()) return Error(InvalidArgument("the prompt is empty").value().Of("prompt"));
  return Addition{std::move(history), history_tokens};
}

Result<TurnHandle> Sessions::Turn(SessionKey wanted, const TurnRequest& turn, EventFn on_event) {
  if (turn.request.n != 1) return InvalidArgument("n {}: a session has one answer to a turn", turn.request.n);
  INGOT_ASSIGN_OR_RETURN(Begun begun, BeginTurn(std::move(wanted), turn.keep));
  const SessionKey key = begun.key;
  auto addition = Add(std::move(begun.tokens), turn);
  const Status room = addition && begun.is_new && turn.keep ? MakeRoom(key.owner) : Status();
  if (!addition || !room.ok()) {
    Free(key, true);
    return Error(addition ? room : addition.error());
  }
  const int64_t history = addition->history_tokens;
  TurnHandle result{
      .session_id = key.id, .history_tokens = history, .input_tokens = std::ssize(addition->tokens) - history};
  Request request = turn.request;
  request.messages.clear();
  request.prompt.reset();
  request.token_ids = addition->tokens;
  if (!llm_.options().enable_prefix_caching) {
    // Requests are to share nothing; a session still reuses its own blocks. An owner has no slash.
    request.cache_salt = fmt::format("session/{}/{}", key.owner, key.id);
    request.caches_always = true;
  }
  // Held by the callback: the answer's tokens, which become the session's with the last event.
  const auto said = std::make_shared<std::vector<int32_t>>(std::move(addition->tokens));
  const auto on_answer = [self = shared_from_this(), key, said, keep = turn.keep, history,
                          on_event = std::move(on_event)](const Event& event) {
    said->insert(said->end(), event.token_ids.begin(), event.token_ids.end());
    if (!event.finish) return on_event(event);
    self->EndTurn(key, {history, std::move(*said), keep, event.finish == FinishReason::kError,
                        [on_event, event] { on_event(event); }});
  };
  auto handle = llm_.Submit(request, on_answer);
  if (!handle) {
    Free(key, true);
    return Error(handle.error());
  }
  SetRunning(begun, *handle);
  result.handle = *std::move(handle);
  return result;
}

Result<SessionInfo> Sessions::Begin(SessionKey key) {
  SessionInfo info;
  {
    const MutexLock lock(mutex_);
    ExpireLocked(Now());
    if (key.id < 0) key.id = FreeIdLocked(key.owner);
    if (sessions_.contains(key)) return Error(Conflict("session {} is there already", key.id).value().Of("session_id"));
    if (IsFullLocked() && LentLocked(key.owner) == sessions_.end()) return Error(FullLocked());
    const SessionRecord record{.key = key, .created = Now(), .used = Now()};
    info = InfoOf(record, false);
    sessions_.emplace(key, Session{.record = record});
  }
  const Status room = MakeRoom(key.owner);
  if (room.ok()) return info;
  const MutexLock lock(mutex_);
  const auto found = sessions_.find(key);
  if (found != sessions_.end() && !found->second.busy) sessions_.erase(found);
  return Error(room);
}

// From now on Cancel reaches the turn; what was asked before is done now.
void Sessions::SetRunning(const Begun& begun, const std::shared_ptr<Handle>& handle) {
  bool cancelled = false;
  {
    const MutexLock lock(mutex_);
    const auto found = sessions_.find(begun.key);
    // The turn may be over already.
    if (found == sessions_.end() || !found->second.busy || found->second.num_ended != begun.num_ended) return;
    found->second.running = handle;
    cancelled = found->second.cancelled;
  }
  if (cancelled) handle->Cancel();
}

void Sessions::Cancel(const SessionKey& key, std::function<void()> done) {
  std::shared_ptr<Handle> running;
  {
    const MutexLock lock(mutex_);
    const auto found = sessions_.find(key);
    if (found != sessions_.end() && found->second.busy) {
      found->second.cancelled = true;
      found->second.on_free.push_back(std::exchange(done, nullptr));
      running = found->second.running;
    }
  }
  if (running) running->Cancel();
  if (done) done();
}

Result<Sessions::SessionMap::iterator> Sessions::FindIdleLocked(const SessionKey& key) {
  ExpireLocked(Now());
  const auto found = sessions_.find(key);
  if (found == sessions_.end()) return NotFound("there is no session {}", key.id);
  if (!found->second.busy) return found;
  return Error(Status(Code::kConflict, fmt::format("session {} is answering a request", key.id)));
}

Result<int64_t> Sessions::Rewind(const SessionKey& key, int64_t step, const std::function<void()>& done) {
  int64_t length = 0;
  {
    const MutexLock lock(mutex_);
    INGOT_ASSIGN_OR_RETURN(const auto found, FindIdleLocked(key));
    SessionRecord& record = found->second.record;
    length = std::ssize(record.tokens);
    if (step >= 0 && step < length) {
      length = step;
      record.tokens.resize(static_cast<size_t>(step));
      std::erase_if(record.turns, [&](int64_t end) { return end > step; });
    }
    record.used = Now();
    if (store_) {
      store_->Write(record, done);
      return length;
    }
  }
  done();
  return length;
}

Status Sessions::Remove(const SessionKey& key, const std::function<void(const SessionInfo&)>& done) {
  SessionInfo removed;
  {
    const MutexLock lock(mutex_);
    INGOT_ASSIGN_OR_RETURN(const auto found, FindIdleLocked(key));
    removed = InfoOf(found->second.record, false);
    const bool stored = found->second.stored;
    sessions_.erase(found);
    if (stored) {
      store_->Remove(key, [done, removed] { done(removed); });
      return {};
    }
  }
  done(removed);
  return {};
}

std::optional<SessionInfo> Sessions::Find(const SessionKey& key) {
  const MutexLock lock(mutex_);
  ExpireLocked(Now());
  const auto found = sessions_.find(key);
  if (found == sessions_.end()) return std::nullopt;
  return InfoOf(found->second.record, found->second.busy);
}

std::vector<SessionInfo> Sessions::List(const std::optional<std::string>& owner, std::optional<SessionKey> after,
                                        size_t limit) {
  const MutexLock lock(mutex_);
  ExpireLocked(Now());
  std::vector<SessionInfo> list;
  auto it = after ? sessions_.upper_bound(*after)
                  : sessions_.lower_bound({owner.value_or(""), std::numeric_limits<int64_t>::min()});
  for (; it != sessions_.end() && list.size() < limit; ++it) {
    if (owner && it->first.owner != *owner) break;
    list.push_back(InfoOf(it->second.record, it->second.busy));
  }
  return list;
}

int64_t Sessions::count() {
  const MutexLock lock(mutex_);
  return std::ssize(sessions_);
}

}  // namespace ingot::llm
