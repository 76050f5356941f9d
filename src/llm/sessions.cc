#include "llm/sessions.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <ctime>
#include <limits>

#include "chat/chat_template.h"
#include "formats/checkpoint.h"
#include "llm/checks.h"
#include "llm/prompt.h"
#include "tokenizer/tokenizer.h"

namespace ingot::llm {
namespace {

int64_t Now() { return static_cast<int64_t>(std::time(nullptr)); }

// FNV-1a; the fingerprint tells models apart, it does not defend against anybody.
class Fingerprint {
 public:
  void Add(std::string_view text) {
    for (const char c : text) Mix(static_cast<unsigned char>(c));
    Mix(0xFFFF);
  }
  std::string Text() const { return fmt::format("{:016x}{:016x}", a_, b_); }

 private:
  void Mix(uint64_t value) {
    a_ = (a_ ^ value) * 0x100000001B3u;
    b_ = (b_ ^ (value + 0x9E37)) * 0x9E3779B97F4A7C15u;
    b_ ^= b_ >> 29;
  }
  uint64_t a_ = 0xCBF29CE484222325u, b_ = 0x84222325CBF29CE4u;
};

bool IsEnd(const Llm& llm, int32_t id) {
  const std::vector<int32_t>& eos = llm.tokenizer().eos_ids();
  return std::ranges::find(eos, id) != eos.end();
}

}  // namespace

std::string FingerprintOf(const Llm& llm) {
  Fingerprint print;
  const formats::Checkpoint& checkpoint = llm.checkpoint();
  print.Add(boost::json::serialize(checkpoint.config()));
  for (const formats::TensorEntry* tensor : checkpoint.tensors()) {
    print.Add(tensor->name);
    const size_t bytes = std::min<size_t>(tensor->bytes.size(), 64);
    print.Add({reinterpret_cast<const char*>(tensor->bytes.data()), bytes});
  }
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
  for (SessionRecord& record : sessions->store_->TakeLoaded()) {
    const bool sound = std::ranges::all_of(record.tokens, [&](int32_t id) { return id >= 0 && id < vocab_size; });
    if (!sound) return Corrupt("session-db {}: session {} holds ids that the model has not", options.db, record.key.id);
    const SessionKey key = record.key;
    sessions->sessions_[key].record = std::move(record);
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
    if (session.busy || session.record.used + options_.ttl_seconds > now) return false;
    if (store_) store_->Remove(entry.first);
    return true;
  });
}

// Marks the session as busy; its tokens.
Result<std::vector<int32_t>> Sessions::BeginTurn(const SessionKey& key) {
  const std::lock_guard lock(mutex_);
  ExpireLocked(Now());
  auto found = sessions_.find(key);
  if (found == sessions_.end()) {
    if (std::ssize(sessions_) >= options_.max_sessions) {
      return ResourceExhausted("{} sessions are kept, as many as --max-sessions allows; delete one", sessions_.size());
    }
    found = sessions_.emplace(key, Session{.record = {.key = key, .created = Now(), .used = Now()}}).first;
  }
  if (found->second.busy)
    return Error(Status(Code::kConflict, fmt::format("session {} is answering another request", key.id)));
  found->second.busy = true;
  return found->second.record.tokens;
}

// The turn did not come to run.
void Sessions::AbandonTurn(const SessionKey& key) {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(key);
  if (found == sessions_.end()) return;
  found->second.busy = false;
  if (found->second.record.turns.empty()) sessions_.erase(found);
}

void Sessions::EndTurn(const SessionKey& key, TurnEnd end) {
  std::optional<SessionRecord> record;
  {
    const std::lock_guard lock(mutex_);
    Session& session = sessions_[key];
    std::erase_if(session.record.turns, [&](int64_t turn) { return turn > end.history_tokens; });
    session.record.tokens = std::move(end.tokens);
    session.record.turns.push_back(std::ssize(session.record.tokens));
    session.record.used = Now();
    session.running = nullptr;
    ++session.num_ended;
    if (end.keep) record = session.record;
  }
  const auto free = [this, key, keep = end.keep] {
    const std::lock_guard lock(mutex_);
    const auto found = sessions_.find(key);
    if (found == sessions_.end()) return;
    found->second.busy = false;
    if (keep) return;
    sessions_.erase(found);
    if (store_) store_->Remove(key);
  };
  if (!end.keep || !store_) {
    free();
    return end.told();
  }
  store_->Write(*std::move(record), [free, told = std::move(end.told)](const Status&) {
    free();
    told();
  });
}

// What the template puts from the end of an answer to the beginning of the next: found with a conversation of
// placeholders, because it does not depend on what was said.
Result<std::vector<int32_t>> Sessions::NextTurnTokens(const Request& request) const {
  Request before = request, after = request;
  before.messages = {{{"role", "user"}, {"content", "."}}, {{"role", "assistant"}, {"content", "."}}};
  after.messages = before.messages;
  after.messages.insert(after.messages.end(), request.messages.begin(), request.messages.end());
  before.add_generation_prompt = false;
  before.continue_final_message = true;
  INGOT_ASSIGN_OR_RETURN(const std::vector<int32_t> head, llm_.Tokenize(before));
  INGOT_ASSIGN_OR_RETURN(std::vector<int32_t> whole, llm_.Tokenize(after));
  if (head.size() > whole.size() || !std::equal(head.begin(), head.end(), whole.begin())) {
    return Unsupported(
        "the chat template does not simply append turns; send whole conversations to /v1/chat/completions");
  }
  whole.erase(whole.begin(), whole.begin() + std::ssize(head));
  return whole;
}

Result<std::vector<int32_t>> Sessions::NewTokens(const std::vector<int32_t>& history, const Request& request) const {
  if (history.empty() || request.messages.empty()) {
    Request first = request;
    if (!history.empty()) first.add_special_tokens = false;
    return llm_.Tokenize(first);
  }
  INGOT_ASSIGN_OR_RETURN(std::vector<int32_t> added, NextTurnTokens(request));
  // An answer that the model ended itself has its end already.
  if (!added.empty() && added.front() == history.back() && IsEnd(llm_, added.front())) added.erase(added.begin());
  return added;
}

Status Sessions::CheckFits(int64_t history, int64_t added, const Request& request) const {
  const auto length = AnswerLength(request, history + added, llm_.session_len());
  if (length) return {};
  return TooLong("the session has {} tokens, the turn adds {}: {}", history, added, length.error().message());
}

Result<TurnHandle> Sessions::Turn(const SessionKey& key, const TurnRequest& turn, EventFn on_event) {
  INGOT_ASSIGN_OR_RETURN(std::vector<int32_t> tokens, BeginTurn(key));
  const auto fail = [&](const Status& status) -> Result<TurnHandle> {
    AbandonTurn(key);
    return Error(status);
  };
  auto added = NewTokens(tokens, turn.request);
  if (!added) return fail(added.error());
  Status fits = CheckFits(std::ssize(tokens), std::ssize(*added), turn.request);
  if (!fits.ok() && turn.when_full == WhenFull::kRenew && !tokens.empty()) {
    tokens.clear();
    added = NewTokens(tokens, turn.request);
    if (!added) return fail(added.error());
    fits = CheckFits(0, std::ssize(*added), turn.request);
  }
  if (!fits.ok()) return fail(fits);
  TurnHandle result{.history_tokens = std::ssize(tokens), .input_tokens = std::ssize(*added)};
  tokens.insert(tokens.end(), added->begin(), added->end());

  Request request = turn.request;
  request.messages.clear();
  request.prompt.reset();
  request.token_ids = tokens;
  // Held by the callback: the answer's tokens, which become the session's with the last event.
  const auto said = std::make_shared<std::vector<int32_t>>(std::move(tokens));
  const auto on_answer = [self = shared_from_this(), key, said, keep = turn.keep, history = result.history_tokens,
                          on_event](const Event& event) {
    said->insert(said->end(), event.token_ids.begin(), event.token_ids.end());
    if (!event.finish) return on_event(event);
    self->EndTurn(key, {history, std::move(*said), keep, [on_event, event] { on_event(event); }});
  };
  const int64_t ended_before = NumEnded(key);
  auto handle = llm_.Submit(request, on_answer);
  if (!handle) return fail(handle.error());
  result.handle = *handle;
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(key);
  // It may be over already.
  if (found != sessions_.end() && found->second.num_ended == ended_before) found->second.running = *handle;
  return result;
}

int64_t Sessions::NumEnded(const SessionKey& key) {
  const std::lock_guard lock(mutex_);
  return sessions_[key].num_ended;
}

int64_t Sessions::FreeId(const std::string& owner) {
  const std::lock_guard lock(mutex_);
  const auto after = sessions_.lower_bound({owner + '\x01', std::numeric_limits<int64_t>::min()});
  if (after == sessions_.begin()) return 1;
  const auto last = std::prev(after);
  return last->first.owner == owner && last->first.id >= 1 ? last->first.id + 1 : 1;
}

bool Sessions::Cancel(const SessionKey& key) {
  std::shared_ptr<Handle> running;
  {
    const std::lock_guard lock(mutex_);
    const auto found = sessions_.find(key);
    if (found != sessions_.end()) running = found->second.running;
  }
  if (running) running->Cancel();
  return running != nullptr;
}

Result<int64_t> Sessions::Rewind(const SessionKey& key, int64_t step) {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(key);
  if (found == sessions_.end()) return NotFound("there is no session {}", key.id);
  if (found->second.busy)
    return Error(Status(Code::kConflict, fmt::format("session {} is answering a request", key.id)));
  SessionRecord& record = found->second.record;
  if (step < 0 || step >= std::ssize(record.tokens)) return std::ssize(record.tokens);
  record.tokens.resize(static_cast<size_t>(step));
  std::erase_if(record.turns, [&](int64_t end) { return end > step; });
  record.used = Now();
  if (store_) store_->Write(record, nullptr);
  return step;
}

Status Sessions::Remove(const SessionKey& key) {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(key);
  if (found == sessions_.end()) return NotFound("there is no session {}", key.id);
  if (found->second.busy)
    return Error(Status(Code::kConflict, fmt::format("session {} is answering a request", key.id)));
  sessions_.erase(found);
  if (store_) store_->Remove(key);
  return {};
}

namespace {

SessionInfo InfoOf(const SessionRecord& record, bool running) {
  return {record.key, std::ssize(record.tokens), std::ssize(record.turns), record.created, record.used, running};
}

}  // namespace

std::optional<SessionInfo> Sessions::Find(const SessionKey& key) {
  const std::lock_guard lock(mutex_);
  ExpireLocked(Now());
  const auto found = sessions_.find(key);
  if (found == sessions_.end()) return std::nullopt;
  return InfoOf(found->second.record, found->second.busy);
}

std::vector<SessionInfo> Sessions::List(const std::optional<std::string>& owner, std::optional<SessionKey> after,
                                        size_t limit) {
  const std::lock_guard lock(mutex_);
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
  const std::lock_guard lock(mutex_);
  return std::ssize(sessions_);
}

}  // namespace ingot::llm
