#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "kv/block_pool.h"
#include "kv/block_table.h"
#include "kv/cache.h"
#include "kv/prefix_hash.h"
#include "kv/prefix_index.h"

namespace ingot::kv {
namespace {

TEST(BlockPool, HandsOutEveryBlockOnce) {
  BlockPool pool(5);
  std::vector<BlockRef> held;
  std::set<int32_t> ids;
  while (auto block = pool.Allocate()) {
    ids.insert(block->id());
    held.push_back(*std::move(block));
  }
  EXPECT_EQ(ids, (std::set<int32_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(pool.num_free(), 0);
  EXPECT_EQ(pool.num_in_use(), 5);
  EXPECT_TRUE(pool.CheckIntegrity());
  held.clear();
  EXPECT_EQ(pool.num_free(), 5);
  EXPECT_TRUE(pool.CheckIntegrity());
}

TEST(BlockPool, ReusesTheBlockGivenBackLast) {
  BlockPool pool(8);
  auto a = pool.Allocate();
  auto b = pool.Allocate();
  const int32_t id = a->id();
  a.reset();
  EXPECT_EQ(pool.Allocate()->id(), id);
}

TEST(BlockPool, ASharedBlockIsFreeWhenItsLastHolderGoes) {
  BlockPool pool(1);
  auto first = pool.Allocate();
  BlockRef second = first->Share();
  first.reset();
  EXPECT_EQ(pool.num_in_use(), 1);
  EXPECT_FALSE(pool.Allocate().has_value());
  second = BlockRef();
  EXPECT_EQ(pool.num_in_use(), 0);
  EXPECT_TRUE(pool.CheckIntegrity());
}

TEST(BlockTable, MapsPositionsToSlotsAndGivesBackWhatIsBehind) {
  BlockPool pool(4);
  BlockTable table(32, 4);
  for (int i = 0; i < 3; ++i) table.Append(*pool.Allocate());
  EXPECT_EQ(table.KvSlotOf(0), table.ids()[0] * 32);
  EXPECT_EQ(table.KvSlotOf(31), table.ids()[0] * 32 + 31);
  EXPECT_EQ(table.KvSlotOf(64), table.ids()[2] * 32);
  table.ReleaseBefore(2);
  EXPECT_EQ(table.begin(), 2);
  EXPECT_EQ(table.size(), 3);
  EXPECT_EQ(pool.num_free(), 3);
  EXPECT_EQ(table.CountExclusive(pool), 1);
  table.Clear();
  EXPECT_EQ(pool.num_free(), 4);
}

TEST(BlockPool, KeepsWhatItIsToldToUntilItIsDropped) {
  BlockPool pool(2);
  auto block = pool.Allocate();
  const int32_t id = block->id();
  pool.Keep(id);
  block.reset();
  EXPECT_EQ(pool.num_cached(), 1);
  EXPECT_EQ(pool.num_in_use(), 0);
  {
    const BlockRef again = pool.Hold(id);
    EXPECT_EQ(pool.num_in_use(), 1);
  }
  EXPECT_TRUE(pool.CheckIntegrity());
  pool.Drop(id);
  EXPECT_EQ(pool.num_free(), 2);
  EXPECT_TRUE(pool.CheckIntegrity());
}

TEST(BlockPool, StaysWholeUnderRandomUse) {
  std::mt19937_64 random(7);
  BlockPool pool(37);
  std::vector<BlockRef> held;
  for (int step = 0; step < 20'000; ++step) {
    const uint64_t choice = random() % 4;
    if (choice < 2) {
      if (auto block = pool.Allocate()) held.push_back(*std::move(block));
    } else if (!held.empty()) {
      const size_t i = random() % held.size();
      if (choice == 2) {
        held.push_back(held[i].Share());
      } else {
        std::swap(held[i], held.back());
        held.pop_back();
      }
    }
    if (held.size() > 100) held.resize(50);
    std::set<int32_t> distinct;
    for (const BlockRef& block : held) distinct.insert(block.id());
    ASSERT_EQ(pool.num_in_use(), static_cast<int32_t>(distinct.size()));
    ASSERT_TRUE(pool.CheckIntegrity());
  }
}

// A sequence in a cache, its blocks' contents kept in a plain map: (group, block, offset) → token.
class World {
 public:
  explicit World(const CacheOptions& options) : cache_(options), options_(options) {
    for (const GroupOptions& group : options.groups) {
      contents_.emplace_back(static_cast<size_t>(group.num_blocks * options.block_len), std::pair(-1, -1));
    }
  }
  struct Sequence {
    PrefixScopePtr scope = std::make_shared<PrefixScope>();
    std::vector<int32_t> tokens;
    int64_t computed = 0;
    Holding holding;
  };
  // How many of them could start, in the same step: what they find is looked up first.
  size_t Start(std::span<Sequence> sequences) {
    std::vector<PrefixMatch> matches;
    PerGroup taken{};
    for (const Sequence& s : sequences) {
      const PrefixMatch match = cache_.Find(*s.scope, s.tokens, static_cast<int64_t>(s.tokens.size()) - 1);
      const PerGroup more = cache_.BlocksOfMatch(match);
      bool fits = true;
      for (int g = 0; g < cache_.num_groups(); ++g) {
        taken[static_cast<size_t>(g)] += more[static_cast<size_t>(g)];
        fits = fits && taken[static_cast<size_t>(g)] <= cache_.Available(g);
      }
      if (!fits) break;
      matches.push_back(match);
    }
    for (size_t i = 0; i < matches.size(); ++i) {
      Sequence& s = sequences[i];
      s.holding = cache_.MakeHolding(1000, s.scope);
      hits += matches[i].num_tokens;
      cache_.Take(matches[i], &s.holding);
      s.computed = matches[i].num_tokens;
    }
    for (Sequence& s : sequences.first(matches.size())) {
      cache_.CopyPart(&s.holding, [&](int g, int32_t from, int32_t to) {
        auto& group = contents_[static_cast<size_t>(g)];
        for (int i = 0; i < options_.block_len; ++i) group[At(to, i)] = group[At(from, i)];
      });
    }
    return matches.size();
  }
  bool Compute(Sequence* s, int64_t count) {
    const int64_t end = std::min<int64_t>(std::ssize(s->tokens), s->computed + count);
    if (!cache_.Grow(&s->holding, end)) return false;
    for (int g = 0; g < cache_.num_groups(); ++g) {
      if (cache_.group(g).is_state) {
        Advance(g, *s, end);
        continue;
      }
      const BlockTable& table = s->holding.tables[static_cast<size_t>(g)];
      for (int64_t p = s->computed; p < end; ++p) {
        contents_[static_cast<size_t>(g)][static_cast<size_t>(table.KvSlotOf(p))] = {s->tokens[static_cast<size_t>(p)],
                                                                                     static_cast<int>(p)};
      }
    }
    for (int64_t p = s->computed; p < end; ++p) CheckSeen(*s, p);
    s->computed = end;
    cache_.Commit(&s->holding, s->tokens, end);
    return true;
  }
  // Writes tokens that are rejected.
  void Draft(Sequence* s, int64_t count) {
    const bool fits = cache_.Grow(&s->holding, s->computed + count);
    for (int g = 0; fits && g < cache_.num_groups(); ++g) {
      for (int64_t p = s->computed; p < s->computed + count; ++p) {
        const BlockTable& table = s->holding.tables[static_cast<size_t>(g)];
        const int32_t slot = cache_.group(g).is_state ? StateSlot(table, p) : table.KvSlotOf(p);
        contents_[static_cast<size_t>(g)][static_cast<size_t>(slot)] = {-7, static_cast<int>(p)};
      }
    }
    const int64_t left = cache_.Rewind(&s->holding, s->computed);
    ASSERT_LE(left, s->computed);
    if (left < s->computed) {
      ASSERT_TRUE(fits && has_states());
      ASSERT_EQ(left % options_.block_len, 0);
      ++rewinds_to_snapshots;
    }
    s->computed = left;
    for (const BlockTable& table : s->holding.tables) {
      ASSERT_EQ(table.size(), BlocksFor(s->computed, options_.block_len));
    }
  }
  void Stop(Sequence* s) { cache_.Release(&s->holding, s->tokens, s->computed); }
  Cache& cache() { return cache_; }
  bool has_states() const { return std::ranges::any_of(options_.groups, &GroupOptions::is_state); }
  int64_t hits = 0, rewinds_to_snapshots = 0;

 private:
  size_t At(int32_t block, int offset) const {
    return static_cast<size_t>(block) * static_cast<size_t>(options_.block_len) + static_cast<size_t>(offset);
  }
  // A state is at the first token of its block in contents_: what the tokens so far add up to, and how many they are.
  int32_t StateSlot(const BlockTable& table, int64_t position) const {
    return table.KvSlotOf(position / options_.block_len * options_.block_len);
  }
  static std::pair<int32_t, int> Next(std::pair<int32_t, int> state, int32_t token) {
    return {(state.first * 31 + token + 1) % 1'000'003, state.second + 1};
  }
  void Advance(int g, const Sequence& s, int64_t end) {
    auto& states = contents_[static_cast<size_t>(g)];
    const BlockTable& table = s.holding.tables[static_cast<size_t>(g)];
    std::pair<int32_t, int> state{0, 0};
    for (int64_t p = 0; p < s.computed; ++p) state = Next(state, s.tokens[static_cast<size_t>(p)]);
    if (s.computed > 0) {
      const int64_t last = s.computed - 1;
      ASSERT_GE(last / options_.block_len, table.begin());
      ASSERT_EQ(states[static_cast<size_t>(StateSlot(table, last))], state) << s.computed;
    }
    for (int64_t p = s.computed; p < end; ++p) {
      state = Next(state, s.tokens[static_cast<size_t>(p)]);
      states[static_cast<size_t>(StateSlot(table, p))] = state;
    }
  }
  void CheckSeen(const Sequence& s, int64_t position) const {
    for (int g = 0; g < cache_.num_groups(); ++g) {
      if (cache_.group(g).is_state) continue;  // Advance did
      const int window = options_.groups[static_cast<size_t>(g)].window;
      for (int64_t p = window == 0 ? 0 : std::max<int64_t>(0, position - window + 1); p <= position; ++p) {
        const auto slot = static_cast<size_t>(s.holding.tables[static_cast<size_t>(g)].KvSlotOf(p));
        ASSERT_EQ(contents_[static_cast<size_t>(g)][slot],
                  std::pair(s.tokens[static_cast<size_t>(p)], static_cast<int>(p)));
      }
    }
  }
  Cache cache_;
  CacheOptions options_;
  std::vector<std::vector<std::pair<int32_t, int>>> contents_;  // [groups][blocks · block_len]
};

TEST(Cache, RandomSequencesAlwaysSeeTheirOwnTokens) {
  std::mt19937_64 random(3);
  int64_t hits = 0;
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE(round);
    CacheOptions options{.block_len = 8, .groups = {{0, 24}}, .granularity = round % 2 == 0 ? 1 : 4};
    const GroupOptions window{static_cast<int>(1 + random() % 30), 20}, states{kStateWindow, 20, true};
    if (round % 5 == 1) options.groups = {window};
    if (round % 5 == 2) options.groups.push_back(window);
    if (round % 5 == 3) options.groups.push_back(states);
    if (round % 5 == 4) options.groups = {states};
    World world(options);
    std::vector<World::Sequence> live;
    for (int step = 0; step < 3000; ++step) {
      if (random() % 3 == 0 && live.size() < 4) {
        std::vector<World::Sequence> several(1 + random() % 3);
        for (World::Sequence& s : several) {
          if (random() % 4 == 0) s.scope = std::make_shared<PrefixScope>(PrefixScope{.salt = "x"});
          // Few tokens and few lengths: beginnings meet.
          for (uint64_t n = 1 + random() % 60; n > 0; --n) s.tokens.push_back(static_cast<int32_t>(random() % 40 == 0));
        }
        several.resize(world.Start(several));
        std::ranges::move(several, std::back_inserter(live));
      }
      if (live.empty()) continue;
      World::Sequence& s = live[random() % live.size()];
      if (random() % 4 == 0) world.Draft(&s, 1 + static_cast<int64_t>(random() % 20));
      if (!world.Compute(&s, 1 + static_cast<int64_t>(random() % 12)) || random() % 6 == 0 ||
          s.computed == std::ssize(s.tokens)) {
        world.Stop(&s);
        std::swap(s, live.back());
        live.pop_back();
      }
      ASSERT_TRUE(world.cache().CheckIntegrity());
      if (HasFatalFailure()) return;
    }
    for (World::Sequence& s : live) world.Stop(&s);
    const CacheStats stats = world.cache().stats();
    EXPECT_EQ(stats.free + stats.cached, stats.total);
    hits += world.hits;
    if (world.has_states()) {
      EXPECT_GT(world.hits, 100);
      EXPECT_GT(world.rewinds_to_snapshots, 100);
    }
  }
  EXPECT_GT(hits, 10'000);
}

TEST(Cache, AHitEndsWhereThereIsAStateAndSnapshotsAreEvictedLikeBlocks) {
  World world({.block_len = 8, .groups = {{0, 20}, {kStateWindow, 5, true}}});
  const auto run = [&](std::vector<int32_t> tokens) {
    World::Sequence s{.tokens = std::move(tokens)};
    EXPECT_EQ(world.Start(std::span(&s, 1)), 1u);
    const int64_t cached = s.computed;
    EXPECT_TRUE(world.Compute(&s, std::ssize(s.tokens)));
    world.Stop(&s);
    EXPECT_TRUE(world.cache().CheckIntegrity());
    return cached;
  };
  const auto tokens = [](size_t length) {
    std::vector<int32_t> ids(length);
    for (size_t i = 0; i < length; ++i) ids[i] = static_cast<int32_t>(i);
    return ids;
  };
  EXPECT_EQ(run(tokens(28)), 0);
  EXPECT_EQ(run(tokens(28)), 24);  // K and V of 27 tokens are there, and states after 24 and after all 28
  EXPECT_EQ(run(tokens(40)), 28);  // as a next turn finds them
  auto other = tokens(40);
  other[20] = 99;
  EXPECT_EQ(run(other), 16);
  // The states of those took the place of the first ones, whose blocks of K and V are still there.
  EXPECT_GT(world.cache().pool(0).num_free(), 0);
  EXPECT_EQ(run(tokens(12)), 0);
}

TEST(Cache, AStateWithinABlockIsKeptBesideThatOfTheWholeBlock) {
  World world({.block_len = 8, .groups = {{0, 20}, {kStateWindow, 20, true}}});
  std::vector<int64_t> cached;
  for (const size_t length : {40, 28, 31}) {
    World::Sequence s{.tokens = std::vector<int32_t>(length, 1)};
    ASSERT_EQ(world.Start(std::span(&s, 1)), 1u);
    cached.push_back(s.computed);
    ASSERT_TRUE(world.Compute(&s, std::ssize(s.tokens)));
    world.Stop(&s);
  }
  EXPECT_EQ(cached, (std::vector<int64_t>{0, 24, 28}));
}

TEST(Cache, ARewindGoesBackToTheLastSnapshot) {
  Cache cache({.block_len = 8, .groups = {{0, 20}, {kStateWindow, 9, true}}});
  const std::vector<int32_t> tokens(40, 1);
  for (const bool shares : {false, true}) {
    Holding holding = cache.MakeHolding(40, shares ? std::make_shared<PrefixScope>() : nullptr);
    const auto compute = [&](int64_t num_computed, int64_t num_written) {
      ASSERT_TRUE(cache.Grow(&holding, num_written));
      cache.Commit(&holding, tokens, num_computed);
    };
    compute(20, 20);
    EXPECT_EQ(cache.Rewind(&holding, 20), 20);  // nothing was written beyond
    compute(20, 23);
    EXPECT_EQ(cache.Rewind(&holding, 21), 16);
    for (const BlockTable& table : holding.tables) EXPECT_EQ(table.size(), 2);
    EXPECT_EQ(holding.tables[1].begin(), 1);  // the state after 16 tokens, and no other
    compute(24, 25);
    EXPECT_EQ(cache.Rewind(&holding, 24), 24);
    compute(27, 30);
    cache.Release(&holding, tokens, 27);  // the state after 27 is gone
    EXPECT_EQ(cache.Find(PrefixScope{}, tokens, 39).num_tokens, shares ? 24 : 0);
    EXPECT_TRUE(cache.CheckIntegrity());
  }
}

// The window after a hit within a block sees that block alone: of what is before it, nothing is held.
TEST(Cache, WhatFollowsAHitEntersTheIndexThoughTheBlocksBeforeItWereEvicted) {
  Cache cache({.block_len = 8, .groups = {{3, 4}}});
  const auto scope = std::make_shared<PrefixScope>();
  const std::vector<int32_t> tokens(24, 1);
  Holding first = cache.MakeHolding(24, scope);
  ASSERT_TRUE(cache.Grow(&first, 14));
  cache.Release(&first, tokens, 14);
  Holding second = cache.MakeHolding(24, scope);
  const PrefixMatch match = cache.Find(*scope, tokens, 14);
  ASSERT_EQ(match.num_tokens, 14);
  cache.Take(match, &second);
  cache.CopyPart(&second, [](int, int32_t, int32_t) {});
  Holding other = cache.MakeHolding(24, nullptr);
  ASSERT_TRUE(cache.Grow(&other, 24));  // all other blocks: those of the first are evicted
  cache.Release(&other, {}, 0);
  ASSERT_TRUE(cache.Grow(&second, 17));
  cache.Commit(&second, tokens, 17);
  EXPECT_TRUE(cache.CheckIntegrity());
  cache.Release(&second, tokens, 17);
  EXPECT_TRUE(cache.CheckIntegrity());
}

TEST(Cache, EvictsTheEndOfWhatWasUnusedLongest) {
  World world({.block_len = 8, .groups = {{0, 6}}});
  const auto run = [&](int32_t token, int64_t length) {
    World::Sequence s{.tokens = std::vector<int32_t>(static_cast<size_t>(length), token)};
    EXPECT_EQ(world.Start(std::span(&s, 1)), 1u);
    const int64_t cached = s.computed;
    EXPECT_TRUE(world.Compute(&s, length));
    world.Stop(&s);
    return cached;
  };
  EXPECT_EQ(run(1, 24), 0);
  EXPECT_EQ(run(2, 24), 0);
  EXPECT_EQ(run(1, 24), 23);  // a block is copied for its last token: 2's last block is evicted
  EXPECT_EQ(run(2, 24), 16);
}

TEST(Cache, OnlyTheSameModelAdapterAndSaltShareBlocks) {
  World world({.block_len = 8, .groups = {{0, 20}}});
  const auto cached = [&](const PrefixScope& scope) {
    World::Sequence s{.scope = std::make_shared<PrefixScope>(scope), .tokens = std::vector<int32_t>(20, 1)};
    EXPECT_EQ(world.Start(std::span(&s, 1)), 1u);
    const int64_t found = s.computed;
    EXPECT_TRUE(world.Compute(&s, 20));
    world.Stop(&s);
    return found;
  };
  // The same letters, otherwise shared out, are something else.
  const PrefixScope scopes[] = {{"m", "a", "s"}, {"n", "a", "s"}, {"m", "b", "s"}, {"m", "a", "t"},
                                {"ma", "", "s"}, {"", "ma", "s"}, {"", "", "mas"}};
  for (const PrefixScope& scope : std::span(scopes).first(3)) EXPECT_EQ(cached(scope), 0);
  for (const PrefixScope& scope : std::span(scopes).first(3)) EXPECT_EQ(cached(scope), 19);
  for (const PrefixScope& scope : std::span(scopes).last(4)) EXPECT_EQ(cached(scope), 0);
  EXPECT_TRUE(world.cache().CheckIntegrity());
}

// Two beginnings of two tokens each that have one hash as children of `parent`.
std::pair<std::vector<int32_t>, std::vector<int32_t>> TokensOfOneHash(NodeId parent) {
  std::map<uint64_t, int32_t> seen;  // the upper half of the hash of one token, which the next one does not change
  std::mt19937 random(1);            // of numbers in a row, the hashes are too even
  for (;;) {
    const auto token = static_cast<int32_t>(random());
    const uint64_t hash = HashOf(parent, std::vector{token});
    const auto [other, is_new] = seen.try_emplace(hash >> 32, token);
    if (is_new || other->second == token) continue;
    const auto last = static_cast<int32_t>((hash ^ HashOf(parent, std::vector{other->second})) & 0xFFFFFFFFu);
    return {{other->second, 0}, {token, last}};
  }
}

TEST(PrefixIndex, TokensOfTheSameHashAreNotTakenForEachOther) {
  BlockPool pool(4);
  PrefixIndex index({.block_len = 2, .windows = {0}, .pools = {&pool}});
  const auto scope = std::make_shared<PrefixScope>();
  const NodeId root = index.Root(scope);
  const auto [one, other] = TokensOfOneHash(root);
  ASSERT_EQ(HashOf(root, one), HashOf(root, other));
  ASSERT_NE(one, other);
  BlockTable table(2, 1);
  table.Append(*pool.Allocate());
  ASSERT_NE(index.Insert(root, one, std::span(&table, 1), 0), kNoNode);
  EXPECT_EQ(index.Find(*scope, one, 2).num_tokens, 2);
  EXPECT_EQ(index.Find(*scope, other, 2).num_tokens, 0);
}

// Found by a search: HashOf has 64 bits.
TEST(Cache, ASaltOfTheSameHashSharesNothing) {
  const PrefixScope one{"m", "a", std::string("\x68\x59\xd2\x05\x11\x00", 6)},
      other{"m", "a", "\x68\x4a\xa7\xb6\x57\x1b"};
  ASSERT_EQ(HashOf(one), HashOf(other));
  ASSERT_NE(one, other);
  World world({.block_len = 8, .groups = {{0, 20}}});
  const auto cached = [&](const PrefixScope& scope) {
    World::Sequence s{.scope = std::make_shared<PrefixScope>(scope), .tokens = std::vector<int32_t>(20, 1)};
    EXPECT_EQ(world.Start(std::span(&s, 1)), 1u);
    const int64_t found = s.computed;
    EXPECT_TRUE(world.Compute(&s, 20));
    world.Stop(&s);
    return found;
  };
  EXPECT_EQ(cached(one), 0);
  EXPECT_EQ(cached(other), 0);
  EXPECT_EQ(cached(one), 19);
  EXPECT_EQ(cached(other), 19);
}

TEST(Cache, WhatOneIsToCopyDoesNotTakeWhatAnotherFoundInTheSameStep) {
  World world({.block_len = 8, .groups = {{0, 6}}});
  const auto tokens = [](int32_t token, size_t length) { return std::vector<int32_t>(length, token); };
  for (const auto& [token, length] : {std::pair(2, 8), std::pair(1, 24)}) {
    World::Sequence s{.tokens = tokens(token, static_cast<size_t>(length))};
    ASSERT_EQ(world.Start(std::span(&s, 1)), 1u);
    ASSERT_TRUE(world.Compute(&s, length));
    world.Stop(&s);
  }
  World::Sequence other{.tokens = tokens(3, 16)};  // what was free
  ASSERT_EQ(world.Start(std::span(&other, 1)), 1u);
  ASSERT_TRUE(world.Compute(&other, 16));
  // The first copies a block, for which 2's, unused longest, would be evicted; the second has found that one.
  std::vector<World::Sequence> both(2);
  both[0].tokens = tokens(1, 5);
  both[1].tokens = tokens(2, 9);
  ASSERT_EQ(world.Start(both), 2u);
  for (World::Sequence& s : both) EXPECT_EQ(s.computed, std::ssize(s.tokens) - 1);
  EXPECT_TRUE(world.cache().CheckIntegrity());
  for (World::Sequence& s : both) world.Stop(&s);
  world.Stop(&other);
}

}  // namespace
}  // namespace ingot::kv
