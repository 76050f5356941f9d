#include "server/refusal_pace.h"

#include <gtest/gtest.h>

namespace ingot::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(RefusalPace, SomeAreToldAtOnceMoreAtARateAndNoneAfterLong) {
  RefusalPace pace;
  const RefusalPace::Clock::time_point now{seconds(1000)};
  for (int i = 0; i <= RefusalPace::kBurst; ++i) EXPECT_EQ(pace.Next(now), milliseconds(0)) << i;
  for (int i = 1; i <= 40; ++i) EXPECT_EQ(pace.Next(now), milliseconds(i <= 20 ? 100 : 200)) << i;  // in groups
  for (int i = 0; i < 2000; ++i) pace.Next(now);
  EXPECT_EQ(pace.Next(now), RefusalPace::kLongest);
  // After a pause all is as at the start.
  for (int i = 0; i <= RefusalPace::kBurst; ++i) EXPECT_EQ(pace.Next(now + seconds(7)), milliseconds(0)) << i;
  EXPECT_GT(pace.Next(now + seconds(7)), milliseconds(0));
}

}  // namespace
}  // namespace ingot::server
