#include "engine/flight_recorder.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <deque>
#include <filesystem>
#include <fstream>
#include <future>
#include <sstream>
#include <thread>

#include "base/mutex.h"
#include "base/task_pool.h"
#include "engine/engine.h"
#include "engine/test_support.h"

namespace ingot::engine {
namespace {

constexpr int64_t kVocab = 100;

class FlightRecorderTest : public testing::Test {
 protected:
  FlightRecorderTest() { std::filesystem::remove(path_); }
  ~FlightRecorderTest() override { std::filesystem::remove(path_); }

  std::string Text() const {
    std::ifstream file(path_);
    return (std::ostringstream() << file.rdbuf()).str();
  }
  EngineOptions Options() const {
    return {.executor = {.max_batch_size = 3,
                         .max_prefill_tokens = 64,
                         .max_context = 256,
                         .block_len = 32,
                         .num_blocks = {12}},
            .flight_recorder = path_};
  }
  // Runs requests in a process of its own, which then does `last` amid a step.
  void RunAndDie(const std::function<void()>& last) {
    FakeModel model(kVocab);
    std::atomic<int> steps{0};
    model.on_forward = [&](const ops::StepBatch&) {
      if (++steps == 20) last();
    };
    const auto backend = ops::MakeCpuBackend(1);
    auto engine = Engine::Create(model, Options(), *backend);
    INGOT_CHECK(engine.has_value());
    std::promise<void> never;
    INGOT_CHECK((*engine)->Submit({{.prompt = {1, 2}, .max_tokens = 200}}).has_value());
    never.get_future().wait();
  }

  const std::string path_ = testing::TempDir() + "flight-" + std::to_string(getpid()) + ".txt";
};
using FlightRecorderDeathTest = FlightRecorderTest;

TEST_F(FlightRecorderDeathTest, TellsWhatWasUnderWayWhenACheckFailed) {
  EXPECT_DEATH(RunAndDie([] { INGOT_CHECK(1 + 1 == 3); }), "what the engine did last is in");
  const std::string text = Text();
  EXPECT_NE(text.find("ingot flight recorder: SIGABRT, process "), std::string::npos) << text;
  EXPECT_NE(text.find("flight_recorder_test.cc:"), std::string::npos);
  EXPECT_NE(text.find(": 1 + 1 == 3\n"), std::string::npos);
  EXPECT_NE(text.find("request 1 in slot 0 is admitted\n  request 1 in slot 0 computes 2 from token 0 and draws"),
            std::string::npos);
  EXPECT_NE(text.find("step 18 at"), std::string::npos);
  const size_t last = text.find("step 19 at");
  ASSERT_NE(last, std::string::npos);
  EXPECT_NE(text.find("under way", last), std::string::npos);
  EXPECT_EQ(text.find("under way"), text.find("under way", last));
  EXPECT_NE(text.find("request 1 in slot 0 computes 1 from token 20 and draws", last), std::string::npos);
}

TEST_F(FlightRecorderDeathTest, TellsOfASignal) {
  EXPECT_DEATH(RunAndDie([] { raise(SIGSEGV); }), "SIGSEGV: what the engine did last is in");
  EXPECT_NE(Text().find("ingot flight recorder: SIGSEGV"), std::string::npos);
  EXPECT_EQ(Text().find("check failed"), std::string::npos);
}

// More frames than any stack has. The sum keeps the calls from becoming a loop.
int Overflow(int depth) {
  if (depth == 1 << 30) return 0;
  volatile char frame[4096] = {};
  frame[depth % 4096] = static_cast<char>(depth);
  return Overflow(depth + 1) + frame[(depth + 1) % 4096];
}

TEST_F(FlightRecorderDeathTest, TellsOfAStackThatOverflows) {
  EXPECT_DEATH(RunAndDie([] { Overflow(0); }), "SIGSEGV: what the engine did last is in");
  EXPECT_NE(Text().find("ingot flight recorder: SIGSEGV"), std::string::npos);
  EXPECT_NE(Text().find("under way"), std::string::npos);
}

TEST_F(FlightRecorderDeathTest, TellsOfAnOverflowOnAThreadOfAPoolToo) {
  const auto overflow = [] {
    TaskPool tasks(1);
    tasks.Post([] { Overflow(0); });
    std::promise<void>().get_future().wait();
  };
  EXPECT_DEATH(RunAndDie(overflow), "SIGSEGV: what the engine did last is in");
  EXPECT_NE(Text().find("ingot flight recorder: SIGSEGV"), std::string::npos);
}

TEST_F(FlightRecorderDeathTest, WritesThroughNoLink) {
  const std::string other = path_ + ".other";
  std::ofstream(other) << "somebody's";
  std::filesystem::create_symlink(other, path_);
  EXPECT_DEATH(RunAndDie([] { raise(SIGSEGV); }), "");
  EXPECT_EQ(std::filesystem::file_size(other), 10u);
  std::filesystem::remove(other);
}

TEST_F(FlightRecorderTest, AStallIsToldOnce) {
  FakeModel model(kVocab);
  Mutex gate;
  model.on_forward = [&](const ops::StepBatch&) { const MutexLock lock(gate); };
  const auto backend = ops::MakeCpuBackend(1);
  EngineOptions options = Options();
  options.stall_seconds = 0.05;
  auto engine = *Engine::Create(model, options, *backend);
  std::promise<void> over;
  {
    const MutexLock lock(gate);
    ASSERT_TRUE(engine
                    ->Submit({{.prompt = {1, 2, 3},
                               .on_event =
                                   [&](const Event& event) {
                                     if (event.finish) over.set_value();
                                   }}})
                    .has_value());
    while (Text().find("under way") == std::string::npos) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_NE(Text().find("the engine makes no progress"), std::string::npos);
  over.get_future().wait();
}

TEST_F(FlightRecorderTest, AFileThatCannotBeIsRefusedAtTheStart) {
  FakeModel model(kVocab);
  const auto backend = ops::MakeCpuBackend(1);
  EngineOptions options = Options();
  options.flight_recorder = "/nowhere at all/flight.txt";
  const auto engine = Engine::Create(model, options, *backend);
  ASSERT_FALSE(engine.has_value());
  EXPECT_EQ(engine.error().message(),
            "flight recorder /nowhere at all/flight.txt: no file can be made in /nowhere at all");
}

TEST_F(FlightRecorderTest, KeepsTheLastStepsOfManyInFixedMemory) {
  FakeModel model(kVocab);
  const auto backend = ops::MakeCpuBackend(1);
  auto core = MakeCore(model, Options().executor, *backend);
  std::deque<Told> told(20);
  for (size_t i = 0; i < told.size(); ++i) {
    core->Add(i, {.prompt = {1, 2}, .max_tokens = 100, .on_event = Record(&told[i])}, Clock::now());
  }
  while (core->Step()) {
  }
  const auto report = *FlightReport::Create(path_, core->flight_recorder());
  ASSERT_TRUE(report->Write("a test"));
  const std::string text = Text();
  const int64_t steps = core->stats().steps;
  EXPECT_GT(steps, FlightRecorder::kSteps);
  EXPECT_EQ(text.find(fmt::format("step {} at", steps - FlightRecorder::kSteps - 1)), std::string::npos);
  for (int64_t step = steps - FlightRecorder::kSteps; step < steps; ++step) {
    EXPECT_NE(text.find(fmt::format("step {} at", step)), std::string::npos) << step;
  }
  EXPECT_EQ(text.find("under way"), std::string::npos);
}

TEST(SignalSafeWriter, WritesNumbersAsTheyAre) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  {
    SignalSafeWriter out(ends[1]);
    out << int64_t{0} << " " << INT64_MIN << " " << INT64_MAX << " ";
    out.Seconds(1'000'250);
  }
  char text[100] = {};
  ASSERT_GT(read(ends[0], text, sizeof(text) - 1), 0);
  EXPECT_STREQ(text, "0 -9223372036854775808 9223372036854775807 1.000250 s");
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace ingot::engine
