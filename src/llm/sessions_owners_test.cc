// Several owners and one store: none can take all of it from the others.
#include <gtest/gtest.h>

#include <ctime>
#include <future>
#include <string>
#include <vector>

#include "base/test_folder.h"
#include "llm/sessions.h"
#include "llm/test_llm.h"

namespace ingot::llm {
namespace {

class SessionOwnersTest : public ::testing::Test {
 protected:
  // One of four for each age: so many seconds ago session 0, 1, … of the owner was used.
  std::shared_ptr<Sessions> OpenFour(const std::string& owner, const std::vector<int64_t>& ages) {
    const auto now = static_cast<int64_t>(std::time(nullptr));
    auto store = SessionStore::Open(db(), FingerprintOf(*fake_.llm));
    INGOT_CHECK(store.has_value());
    for (size_t i = 0; i < ages.size(); ++i) {
      (*store)->Write({{owner, static_cast<int64_t>(i)}, {7}, {1}, now - 500, now - ages[i]}, nullptr);
    }
    store->reset();
    return Open();
  }
  std::shared_ptr<Sessions> Open() {
    auto sessions = Sessions::Open(*fake_.llm, {.db = db(), .max_sessions = 4});
    INGOT_CHECK(sessions.has_value());
    return *std::move(sessions);
  }
  // Whether a turn of the session was answered; if not, it was refused for want of room.
  bool Begin(Sessions& sessions, const SessionKey& key) {
    TurnRequest turn;
    turn.request.messages = {{{"role", "user"}, {"content", "x"}}};
    turn.request.max_tokens = 1;
    std::promise<void> ended;
    const auto handle = sessions.Turn(key, turn, [&](const Event& event) {
      if (event.finish) ended.set_value();
    });
    if (!handle) {
      EXPECT_EQ(handle.error().code(), Code::kQuotaExceeded);
      EXPECT_EQ(handle.error().field(), "session_id");
      return false;
    }
    ended.get_future().wait();
    handle->handle->Wait();
    return true;
  }
  static std::vector<int64_t> IdsOf(Sessions& sessions, const std::string& owner) {
    std::vector<int64_t> ids;
    for (const SessionInfo& info : sessions.List(owner, std::nullopt, 100)) ids.push_back(info.key.id);
    return ids;
  }
  std::string db() const { return (folder_ / "sessions.db").string(); }

  const FakeLlm fake_ = MakeFakeLlm();
  const TempFolder folder_;
};

using Ids = std::vector<int64_t>;

TEST_F(SessionOwnersTest, ARewindToOneTokenBeforeTheEndOfATurnCutsIt) {
  const auto sessions = OpenFour("a", {10});  // a turn of one token
  EXPECT_EQ(*sessions->Rewind({"a", 0}, 0, [] {}), 0);
  EXPECT_EQ(sessions->Find({"a", 0})->turns, 0);
}

TEST_F(SessionOwnersTest, AnIdOfBeforeARestartIsGivenToNoOtherOwner) {
  EXPECT_TRUE(Begin(*Open(), {"a", kFirstChosenId + 7}));
  const auto sessions = Open();
  EXPECT_TRUE(Begin(*sessions, {"b", -1}));
  EXPECT_EQ(IdsOf(*sessions, "b"), Ids{kFirstChosenId + 8});
}

TEST_F(SessionOwnersTest, WhoHasLessThanAShareGetsTheLongestUnusedOfWhoHasMost) {
  auto sessions = OpenFour("a", {10, 40, 20, 30});
  EXPECT_TRUE(Begin(*sessions, {"b", 7}));
  EXPECT_EQ(IdsOf(*sessions, "a"), (Ids{0, 2, 3}));
  EXPECT_FALSE(Begin(*sessions, {"a", 9}));
  EXPECT_TRUE(Begin(*sessions, {"a", 0}));  // it is there
  EXPECT_TRUE(Begin(*sessions, {"b", 8}));
  EXPECT_EQ(IdsOf(*sessions, "a"), (Ids{0, 2}));
  for (const char* owner : {"a", "b"}) EXPECT_FALSE(Begin(*sessions, {owner, 9})) << owner;
  // A third owner: the share is 1 now, and both have more.
  EXPECT_TRUE(Begin(*sessions, {"c", 1}));
  EXPECT_EQ(IdsOf(*sessions, "a"), (Ids{0}));
  EXPECT_EQ(IdsOf(*sessions, "b"), (Ids{7, 8}));
  EXPECT_FALSE(Begin(*sessions, {"c", 2}));
  sessions = nullptr;
  EXPECT_EQ(Open()->count(), 4);  // the file has forgotten them, too
}

TEST_F(SessionOwnersTest, ARequestThatIsRefusedReplacesNoSession) {
  auto sessions = OpenFour("a", {10, 40, 20, 30});
  TurnRequest turn;
  turn.request.messages = {{{"role", "user"}, {"content", "x"}}};
  turn.request.max_tokens = int64_t{1} << 20;
  const auto refused = sessions->Turn({"b", 7}, turn, [](const Event&) {});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Code::kTooLong);
  EXPECT_EQ(IdsOf(*sessions, "a"), (Ids{0, 1, 2, 3}));
  EXPECT_TRUE(Begin(*sessions, {"b", 7}));
  EXPECT_EQ(IdsOf(*sessions, "a"), (Ids{0, 2, 3}));
}

TEST_F(SessionOwnersTest, OneAloneLosesNone) {
  const auto sessions = OpenFour("", {10, 40, 20, 30});
  EXPECT_FALSE(Begin(*sessions, {"", 9}));
  EXPECT_EQ(IdsOf(*sessions, ""), (Ids{0, 1, 2, 3}));
}

}  // namespace
}  // namespace ingot::llm
