#include "llm/sessions.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <cctype>
#include <ctime>
#include <fstream>
#include <future>
#include <limits>
#include <mutex>
#include <set>
#include <thread>

#include "base/mutex.h"
#include "base/test_folder.h"
#include "llm/test_llm.h"

namespace ingot::llm {
namespace {

using Ids = std::vector<int32_t>;

// Set by one thread and awaited by another. Copies are the same signal, so that it lives until both are done with it.
class Signal {
 public:
  void Set() const { promise_->set_value(); }
  void Wait() const { promise_->get_future().wait(); }

 private:
  std::shared_ptr<std::promise<void>> promise_ = std::make_shared<std::promise<void>>();
};

struct Said {
  TurnHandle turn;
  Choice choice;
  Usage usage;
};

Request Text(const std::string& text, int64_t max_tokens = 8) {
  Request request;
  request.messages = {{{"role", "user"}, {"content", text}}};
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  return request;
}

Request Open(const std::string& text, int64_t max_tokens = 8) {
  Request request = Text(text, max_tokens);
  request.ignore_eos = true;
  return request;
}

// The turn and its answer; a turn that is refused has its error.
Result<Said> Say(Sessions& sessions, const SessionKey& key, const TurnRequest& turn) {
  const Signal ended;
  Said said;
  auto handle = sessions.Turn(key, turn, [&said, ended](const Event& event) {
    said.choice.text += event.text;
    said.choice.token_ids.insert(said.choice.token_ids.end(), event.token_ids.begin(), event.token_ids.end());
    if (!event.finish) return;
    said.choice.finish = *event.finish;
    said.usage = event.usage;
    ended.Set();
  });
  if (!handle) return Error(handle.error());
  ended.Wait();
  handle->handle->Wait();  // the callback, which holds the sessions, is gone
  said.turn = *std::move(handle);
  return said;
}

Said MustSay(Sessions& sessions, const SessionKey& key, const Request& request) {
  auto said = Say(sessions, key, {.request = request});
  INGOT_CHECK(said.has_value());
  return *std::move(said);
}

std::shared_ptr<Sessions> OpenSessions(Llm& llm, const SessionOptions& options = {}) {
  auto sessions = Sessions::Open(llm, options);
  INGOT_CHECK(sessions.has_value());
  return *std::move(sessions);
}

const std::function<void()> kNothing = [] {};

TEST(Sessions, ATurnSendsOnlyWhatIsNewAndAnswersAsTheWholeHistoryDoes) {
  for (const bool caching : {true, false}) {
    SCOPED_TRACE(caching);
    const FakeLlm fake = MakeFakeLlm(true, {.enable_prefix_caching = caching}), cold = MakeFakeLlm();
    const auto sessions = OpenSessions(*fake.llm);
    Ids history;
    for (int i = 0; i < 12; ++i) {
      const Request request = i % 2 == 0 ? Open("turn") : Text("turn", 20);
      const Said said = MustSay(*sessions, {"", 1}, request);
      EXPECT_EQ(said.turn.history_tokens, std::ssize(history));
      EXPECT_EQ(said.usage.cached_tokens, std::max<int64_t>(0, std::ssize(history) - 1));
      // The fake template puts nothing after an answer: <|user|>turn<|assistant|>.
      EXPECT_EQ(said.turn.input_tokens, 6 + (i == 0 ? 1 : 0));
      if (i == 0) history.push_back(ByteTokenizer::kBos);
      for (const int32_t id : {ByteTokenizer::kUser, 't' + 0, 'u' + 0, 'r' + 0, 'n' + 0, ByteTokenizer::kAssistant})
        history.push_back(id);
      Request whole = request;
      whole.messages.clear();
      whole.token_ids = history;
      whole.cache_salt = std::to_string(i);
      EXPECT_EQ(cold.llm->Generate(whole)->choices[0].token_ids, said.choice.token_ids);
      history.insert(history.end(), said.choice.token_ids.begin(), said.choice.token_ids.end());
    }
    EXPECT_EQ(sessions->Find({"", 1})->turns, 12);
  }
}

TEST(Sessions, WithoutPrefixCachingSessionsShareNothingWithEachOther) {
  const FakeLlm fake = MakeFakeLlm(true, {.enable_prefix_caching = false});
  const auto sessions = OpenSessions(*fake.llm);
  MustSay(*sessions, {"", 1}, Open("the same beginning"));
  EXPECT_EQ(MustSay(*sessions, {"", 2}, Open("the same beginning")).usage.cached_tokens, 0);
  EXPECT_EQ(MustSay(*sessions, {"a", 1}, Open("the same beginning")).usage.cached_tokens, 0);
  EXPECT_GT(MustSay(*sessions, {"a", 1}, Open("next")).usage.cached_tokens, 20);
  EXPECT_EQ(fake.llm->Generate(Open("the same beginning"))->usage.cached_tokens, 0);
}

// What users write cannot end a turn, and what a template puts after an answer comes with the next turn, once.
TEST(Sessions, TheEndOfAnAnswerBelongsToTheNextTurnUnlessTheModelSaidIt) {
  for (const char* space : {"", " "}) {
    SCOPED_TRACE(space);
    const std::string source = fmt::format(
        "{{{{ bos_token }}}}{{% for m in messages %}}<|{{{{ m['role'] }}}}|>{{{{ m['content'] }}}}"
        "{{% if m['role'] == 'assistant' %}}{}</s>{{% endif %}}{{{{ '\\n' }}}}{{% endfor %}}"
        "{{% if add_generation_prompt %}}<|assistant|>{{% endif %}}",
        space);
    FakeLlm fake = MakeFakeLlm(true, {}, source);
    const auto sessions = OpenSessions(*fake.llm);
    int64_t stopped = 0, cut = 0;
    for (int64_t id = 1; id <= 60; ++id) {
      Request request = Text("x" + std::to_string(id), 60);
      const Said first = MustSay(*sessions, {"", id}, request);
      const bool ended = first.choice.finish == FinishReason::kStop;
      ended ? ++stopped : ++cut;
      const Said next = MustSay(*sessions, {"", id}, Open("</s><|user|>", 1));
      // \n<|user|>, twelve bytes of text, \n<|assistant|>; before it the end that the model did not say.
      const int64_t end = ended ? 0 : 1 + static_cast<int64_t>(std::string_view(space).size());
      EXPECT_EQ(next.turn.input_tokens, 2 + 12 + 2 + end);
    }
    EXPECT_GT(stopped, 0);
    EXPECT_GT(cut, 0);
  }
}

// As Qwen3's does with thoughts: what is written of an answer depends on whether it is the last.
TEST(Sessions, TemplatesThatRewriteTheLastAnswerAreAppendedTo) {
  const FakeLlm fake = MakeFakeLlm(
      true, {},
      "{% for m in messages %}<|{{ m['role'] }}|>{% if loop.last and m['role'] == 'assistant' %}(thought){% endif %}"
      "{{ m['content'] }}\n\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}");
  const auto sessions = OpenSessions(*fake.llm);
  MustSay(*sessions, {"", 1}, Open("hi"));
  EXPECT_EQ(MustSay(*sessions, {"", 1}, Open("hi")).turn.input_tokens, 2 + 1 + 2 + 2 + 1);
  const FakeLlm other = MakeFakeLlm(true, {}, "{{ messages[-1]['content'] }}");
  const auto forgetful = OpenSessions(*other.llm);
  MustSay(*forgetful, {"", 1}, Open("hi"));
  const auto refused = Say(*forgetful, {"", 1}, {.request = Open("hi")});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Code::kUnsupported);
  EXPECT_EQ(forgetful->Find({"", 1})->turns, 1);
}

// First turn, answer and next turn are what the template writes of all of it, but for the space that some put before an
// answer, which models say themselves.
TEST(Sessions, TurnsOfEveryBuiltinTemplateAddUpToTheConversation) {
  for (const std::string& name : chat::BuiltinTemplateNames()) {
    SCOPED_TRACE(name);
    const FakeLlm fake = MakeFakeLlm(true, {}, *chat::BuiltinTemplate(name));
    const boost::json::object question = {{"role", "user"}, {"content", "One?"}};
    const boost::json::object answer = {{"role", "assistant"}, {"content", "1"}};
    const boost::json::object next = {{"role", "user"}, {"content", "And </s> two?"}};
    Request request;
    request.messages = {question};
    Ids turns = fake.llm->Tokenize(request).value();
    const int64_t first = std::ssize(turns);
    request.messages = {question, answer, next};
    Ids whole = fake.llm->Tokenize(request).value();
    ASSERT_GT(std::ssize(whole), first);
    while (std::isspace(whole[static_cast<size_t>(first)]) != 0) whole.erase(whole.begin() + first);
    turns.push_back('1');
    request.messages = {next};
    const Ids added = fake.llm->TokenizeNextTurn(request).value();
    turns.insert(turns.end(), added.begin(), added.end());
    EXPECT_EQ(fake.llm->tokenizer().Decode(turns, false), fake.llm->tokenizer().Decode(whole, false));
    EXPECT_EQ(turns, whole);
  }
}

TEST(Sessions, ABaseModelGoesOnWithItsText) {
  const FakeLlm fake = MakeFakeLlm(/*with_template=*/false);
  const auto sessions = OpenSessions(*fake.llm);
  Request request = Open("");
  request.messages.clear();
  request.prompt = "abc";
  EXPECT_EQ(MustSay(*sessions, {"", 1}, request).turn.input_tokens, 4);  // with BOS
  EXPECT_EQ(MustSay(*sessions, {"", 1}, request).turn.input_tokens, 3);
  request.prompt = "";
  EXPECT_EQ(MustSay(*sessions, {"", 1}, request).turn.history_tokens, 4 + 8 + 3 + 8);
}

TEST(Sessions, AStopStringCutsTheSessionToTheTokenThatCompletedIt) {
  const FakeLlm fake = MakeFakeLlm();
  const auto sessions = OpenSessions(*fake.llm);
  const Said whole = MustSay(*sessions, {"", 1}, Open("story", 60));
  Request request = Open("story", 60);
  request.stop = {fake.llm->tokenizer().TokenBytes(whole.choice.token_ids[20])};
  const Said said = MustSay(*sessions, {"", 2}, request);
  EXPECT_EQ(said.choice.finish, FinishReason::kStop);
  EXPECT_LE(said.choice.token_ids.size(), 21u);
  const int64_t length = said.turn.input_tokens + std::ssize(said.choice.token_ids);
  EXPECT_EQ(sessions->Find({"", 2})->tokens, length);
  EXPECT_EQ(MustSay(*sessions, {"", 2}, Open("on")).turn.history_tokens, length);
}

TEST(Sessions, ACancelledTurnIsKeptAndAFailedOneHasNotHappened) {
  const FakeLlm fake = MakeFakeLlm();
  const auto sessions = OpenSessions(*fake.llm);
  const SessionKey key{"", 1};
  const Signal ended, freed, asked;
  fake.model->on_forward = [asked, forwards = std::make_shared<int>(0)](const auto&) {
    if (++*forwards == 20) asked.Wait();
  };
  std::atomic<int64_t> tokens = 0;
  std::optional<FinishReason> finish;
  // The turn is cancelled while it is answered; asking from within an event is allowed.
  const auto turn = sessions->Turn(key, {.request = Open("long", 400)}, [&, ended, freed, asked](const Event& event) {
    if ((tokens += std::ssize(event.token_ids)) == std::ssize(event.token_ids) && !event.finish) {
      sessions->Cancel(key, [freed] { freed.Set(); });
      asked.Set();
    }
    if (!event.finish) return;
    finish = event.finish;
    ended.Set();
  });
  ASSERT_TRUE(turn.has_value());
  ended.Wait();
  freed.Wait();
  EXPECT_EQ(finish, FinishReason::kCancelled);
  EXPECT_EQ(sessions->Find(key)->tokens, turn->input_tokens + tokens);
  EXPECT_LT(tokens, 400);
  bool done = false;
  sessions->Cancel(key, [&] { done = true; });
  EXPECT_TRUE(done);  // nothing runs

  const int64_t before = sessions->Find(key)->tokens;
  Request broken = Open("next", 4);
  broken.messages = {{{"role", "user"}, {"content", std::string(1, static_cast<char>(engine::FakeModel::kNanToken))}}};
  EXPECT_EQ(Say(*sessions, key, {.request = broken})->choice.finish, FinishReason::kError);
  EXPECT_EQ(Say(*sessions, {"", 2}, {.request = broken})->choice.finish, FinishReason::kError);
  EXPECT_EQ(sessions->Find(key)->tokens, before);
  EXPECT_EQ(sessions->Find(key)->turns, 1);
  EXPECT_FALSE(sessions->Find({"", 2}).has_value());
  EXPECT_TRUE(Say(*sessions, key, {.request = Open("next", 4)}).has_value());
}

TEST(Sessions, ATurnWhoseClientCannotBeToldHasNotHappened) {
  const FakeLlm fake = MakeFakeLlm();
  const auto sessions = OpenSessions(*fake.llm);
  MustSay(*sessions, {"", 1}, Open("one", 4));
  const int64_t before = sessions->Find({"", 1})->tokens;
  const Signal failed;
  fake.model->on_forward = [failed, once = std::make_shared<std::once_flag>()](const auto&) {
    std::call_once(*once, [&] { failed.Wait(); });
  };
  Event last;
  const auto turn = sessions->Turn({"", 1}, {.request = Open("two")}, [&](const Event& event) { last = event; });
  ASSERT_TRUE(turn.has_value());
  turn->handle->Fail(Status(Code::kUnavailable, "stopping"));
  failed.Set();
  turn->handle->Wait();
  EXPECT_EQ(last.finish, FinishReason::kError);
  EXPECT_EQ(last.error.message(), "stopping");
  EXPECT_EQ(sessions->Find({"", 1})->tokens, before);
}

TEST(Sessions, OneTurnAtATime) {
  const FakeLlm fake = MakeFakeLlm();
  const auto sessions = OpenSessions(*fake.llm);
  const SessionKey key{"", 1};
  const Signal begun, go_on, ended;
  fake.model->on_forward = [begun, go_on, once = std::make_shared<std::once_flag>()](const auto&) {
    std::call_once(*once, [&] {
      begun.Set();
      go_on.Wait();
    });
  };
  ASSERT_TRUE(sessions
                  ->Turn(key, {.request = Open("one")},
                         [ended](const Event& event) {
                           if (event.finish) ended.Set();
                         })
                  .has_value());
  begun.Wait();
  EXPECT_EQ(Say(*sessions, key, {.request = Open("two")}).error().code(), Code::kConflict);
  EXPECT_EQ(sessions->Rewind(key, 0, kNothing).error().code(), Code::kConflict);
  EXPECT_EQ(sessions->Remove(key, [](const SessionInfo&) {}).code(), Code::kConflict);
  EXPECT_TRUE(sessions->Find(key)->running);
  go_on.Set();
  ended.Wait();
  EXPECT_FALSE(sessions->Find(key)->running);
  EXPECT_EQ(sessions->Find(key)->turns, 1);
}

TEST(Sessions, RewindsToAnyTokenAndGoesOnFromThere) {
  const FakeLlm fake = MakeFakeLlm();
  const auto sessions = OpenSessions(*fake.llm);
  const SessionKey key{"", 1};
  const Said first = MustSay(*sessions, key, Open("one"));
  const int64_t length = sessions->Find(key)->tokens;
  const Said second = MustSay(*sessions, key, Open("two"));
  EXPECT_EQ(*sessions->Rewind(key, length, kNothing), length);
  EXPECT_EQ(sessions->Find(key)->turns, 1);
  EXPECT_EQ(MustSay(*sessions, key, Open("two")).choice.token_ids, second.choice.token_ids);
  EXPECT_EQ(*sessions->Rewind(key, -1, kNothing), sessions->Find(key)->tokens);
  EXPECT_EQ(*sessions->Rewind(key, 1 << 20, kNothing), sessions->Find(key)->tokens);

  // Into the first turn: a turn that is refused leaves the session as it is.
  EXPECT_EQ(*sessions->Rewind(key, 3, kNothing), 3);
  EXPECT_EQ(sessions->Find(key)->turns, 0);
  EXPECT_EQ(Say(*sessions, key, {.request = Open(std::string(600, 'x'))}).error().code(), Code::kTooLong);
  EXPECT_EQ(sessions->Find(key)->tokens, 3);
  EXPECT_EQ(MustSay(*sessions, key, Open("two")).turn.history_tokens, 3);

  EXPECT_EQ(*sessions->Rewind(key, 0, kNothing), 0);
  EXPECT_EQ(MustSay(*sessions, key, Open("one")).choice.token_ids, first.choice.token_ids);
  EXPECT_EQ(sessions->Rewind({"", 9}, 0, kNothing).error().code(), Code::kNotFound);
}

TEST(Sessions, AFullOneIsRefusedOrStartsOver) {
  const FakeLlm fake = MakeFakeLlm();
  const auto sessions = OpenSessions(*fake.llm);
  const SessionKey key{"", 1};
  const Said first = MustSay(*sessions, key, Open(std::string(300, 'x')));
  const Request next = Open(std::string(250, 'y'));
  const auto refused = Say(*sessions, key, {.request = next});
  EXPECT_EQ(refused.error().code(), Code::kTooLong);
  EXPECT_NE(refused.error().message().find("the session has 311 tokens, the turn adds 252"), std::string::npos)
      << refused.error().message();
  EXPECT_EQ(sessions->Find(key)->turns, 1);
  const auto renewed = Say(*sessions, key, {.request = next, .when_full = WhenFull::kRenew});
  ASSERT_TRUE(renewed.has_value());
  EXPECT_EQ(renewed->turn.history_tokens, 0);
  EXPECT_EQ(sessions->Find(key)->turns, 1);
  // What fits no session loses none.
  const int64_t length = sessions->Find(key)->tokens;
  EXPECT_FALSE(
      Say(*sessions, key, {.request = Open(std::string(600, 'z')), .when_full = WhenFull::kRenew}).has_value());
  EXPECT_EQ(sessions->Find(key)->tokens, length);
}

TEST(Sessions, ChosenIdsAreUnusedAndNumbersAreBounded) {
  const FakeLlm fake = MakeFakeLlm();
  const auto sessions = OpenSessions(*fake.llm, {.max_sessions = 10});
  MustSay(*sessions, {"", std::numeric_limits<int64_t>::max()}, Open("x"));
  MustSay(*sessions, {"", kFirstChosenId}, Open("x"));
  std::vector<std::thread> threads;
  Mutex mutex;
  std::set<int64_t> ids;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const Said said = MustSay(*sessions, {"", -1}, Open("x"));
      const MutexLock lock(mutex);
      ids.insert(said.turn.session_id);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ids.size(), 8u);
  EXPECT_GT(*ids.begin(), kFirstChosenId);
  EXPECT_EQ(Say(*sessions, {"", -1}, {.request = Open("x")}).error().code(), Code::kQuotaExceeded);
  EXPECT_TRUE(Say(*sessions, {"", -1}, {.request = Open("x"), .keep = false}).has_value());
  EXPECT_TRUE(Say(*sessions, {"", *ids.begin()}, {.request = Open("x"), .keep = false}).has_value());
  EXPECT_EQ(sessions->count(), 9);
  // An id is not given twice, also when its session has gone.
  EXPECT_EQ(ids.count(MustSay(*sessions, {"", -1}, Open("x")).turn.session_id), 0u);
}

TEST(Sessions, TenThousandAreListedByPageAndOwner) {
  const TempFolder folder;
  const std::string db = folder.path() + "/sessions.db";
  const FakeLlm fake = MakeFakeLlm();
  {
    auto store = SessionStore::Open(db, FingerprintOf(*fake.llm));
    ASSERT_TRUE(store.has_value()) << store.error().ToString();
    for (int64_t i = 0; i < 10'000; ++i) {
      const auto now = static_cast<int64_t>(std::time(nullptr));
      (*store)->Write({{i % 2 == 0 ? "a" : "b", i}, Ids(static_cast<size_t>(i % 50), 7), {i % 50}, now, now}, nullptr);
    }
  }
  const auto sessions = OpenSessions(*fake.llm, {.db = db});
  EXPECT_EQ(sessions->count(), 10'000);
  for (const std::optional<std::string>& owner : {std::optional<std::string>("b"), std::optional<std::string>()}) {
    int64_t count = 0;
    std::optional<SessionKey> after;
    for (;;) {
      const auto page = sessions->List(owner, after, 777);
      if (page.empty()) break;
      for (const SessionInfo& info : page) {
        EXPECT_TRUE(!after || *after < info.key);
        EXPECT_TRUE(!owner || info.key.owner == *owner);
        EXPECT_EQ(info.tokens, info.key.id % 50);
        after = info.key;
        ++count;
      }
    }
    EXPECT_EQ(count, owner ? 5000 : 10'000);
  }
  EXPECT_TRUE(sessions->List("c", std::nullopt, 10).empty());
}

TEST(Sessions, OutliveTheProcessAsTheyWere) {
  const TempFolder folder;
  const std::string db = folder.path() + "/sessions.db";
  const FakeLlm fake = MakeFakeLlm(), whole = MakeFakeLlm();
  const auto uninterrupted = OpenSessions(*whole.llm);
  const SessionKey key{"owner", 5};
  for (int i = 0; i < 6; ++i) {
    const auto sessions = OpenSessions(*fake.llm, {.db = db});
    EXPECT_EQ(sessions->count(), i == 0 ? 0 : 1);
    const Said said = MustSay(*sessions, key, Open("turn")), expected = MustSay(*uninterrupted, key, Open("turn"));
    EXPECT_EQ(said.choice.token_ids, expected.choice.token_ids);
    EXPECT_EQ(said.turn.history_tokens, expected.turn.history_tokens);
    MustSay(*sessions, {"owner", 6}, Open("forgotten"));
    const Signal removed;
    const auto on_removed = [removed](const SessionInfo& info) {
      EXPECT_EQ(info.turns, 1);
      removed.Set();
    };
    EXPECT_TRUE(sessions->Remove({"owner", 6}, on_removed).ok());
    removed.Wait();
    EXPECT_TRUE(Say(*sessions, {"owner", 7}, {.request = Open("at once"), .keep = false}).has_value());
    if (i != 3) continue;
    for (const auto& one : {sessions, uninterrupted}) {
      const Signal rewound;
      EXPECT_TRUE(one->Rewind(key, 20, [rewound] { rewound.Set(); }).has_value());
      rewound.Wait();
    }
  }
  struct stat info{};
  ASSERT_EQ(::stat(db.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST(Sessions, WhatWasUnusedForLongIsForgottenOnDiskToo) {
  const TempFolder folder;
  const std::string db = folder.path() + "/sessions.db";
  const FakeLlm fake = MakeFakeLlm();
  const auto now = static_cast<int64_t>(std::time(nullptr));
  {
    auto store = SessionStore::Open(db, FingerprintOf(*fake.llm));
    ASSERT_TRUE(store.has_value());
    (*store)->Write({{"", 1}, {7}, {1}, now - 500, now - 400}, nullptr);
    (*store)->Write({{"", 2}, {7}, {1}, now - 500, now}, nullptr);
  }
  {
    const auto sessions = OpenSessions(*fake.llm, {.db = db, .ttl_seconds = 300});
    EXPECT_FALSE(sessions->Find({"", 1}).has_value());
    EXPECT_TRUE(sessions->Find({"", 2}).has_value());
  }
  for (const int64_t ttl_seconds : {int64_t{0}, std::numeric_limits<int64_t>::max()}) {
    EXPECT_TRUE(OpenSessions(*fake.llm, {.db = db, .ttl_seconds = ttl_seconds})->Find({"", 2}).has_value());
  }
}

std::string OpenError(const std::string& db, const std::string& fingerprint = "f") {
  const auto store = SessionStore::Open(db, fingerprint);
  return store ? "" : store.error().message();
}

TEST(SessionStore, RefusesWhatIsNoneOfItsFiles) {
  const TempFolder folder;
  const std::string path = folder.path() + "/s.db";
  {
    auto first = SessionStore::Open(path, "f");
    ASSERT_TRUE(first.has_value());
    EXPECT_NE(OpenError(path).find("another server has it open"), std::string::npos);
    (*first)->Write({{"", 1}, Ids(100'000, 7), {1}, 0, 0}, nullptr);
  }
  EXPECT_NE(OpenError(path, "g").find("another model, tokenizer or template"), std::string::npos);
  EXPECT_EQ(OpenError(path), "");
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096 * 2);
    file << std::string(8192, '\xFF');
  }
  EXPECT_NE(OpenError(path).find("move the file away"), std::string::npos) << OpenError(path);
  std::ofstream(folder.path() + "/text") << std::string(5000, 'x');
  EXPECT_NE(OpenError(folder.path() + "/text").find("move the file away"), std::string::npos);
  EXPECT_NE(OpenError(folder.path()), "");
  EXPECT_NE(OpenError(folder.path() + "/no/such/folder.db"), "");
}

}  // namespace
}  // namespace ingot::llm
