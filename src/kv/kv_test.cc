#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "kv/block_pool.h"
#include "kv/block_table.h"

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

TEST(BlockTable, GrowsByBlocksAndMapsPositionsToSlots) {
  BlockPool pool(4);
  BlockTable table(32, 4);
  ASSERT_TRUE(table.Grow(pool, 33));
  EXPECT_EQ(table.size(), 2);
  ASSERT_TRUE(table.Grow(pool, 64));
  EXPECT_EQ(table.size(), 2);
  EXPECT_EQ(table.SlotOf(0), table.ids()[0] * 32);
  EXPECT_EQ(table.SlotOf(31), table.ids()[0] * 32 + 31);
  EXPECT_EQ(table.SlotOf(32), table.ids()[1] * 32);
  table.Clear();
  EXPECT_EQ(pool.num_free(), 4);
}

TEST(BlockTable, SaysWhenThePoolIsEmptyAndKeepsWhatItHas) {
  BlockPool pool(3);
  BlockTable first(32, 8), second(32, 8);
  ASSERT_TRUE(first.Grow(pool, 64));
  EXPECT_FALSE(second.Grow(pool, 64));
  EXPECT_EQ(second.size(), 1);
  first.Clear();
  EXPECT_TRUE(second.Grow(pool, 64));
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

}  // namespace
}  // namespace ingot::kv
