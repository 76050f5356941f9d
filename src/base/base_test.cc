// Status, environment, logs, hashes, mapped files and texts.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <regex>
#include <thread>
#include <vector>

#include "base/env.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mapped_file.h"
#include "base/status.h"
#include "base/text_file.h"

namespace ingot {
namespace {

using ::testing::HasSubstr;

Result<int> Half(int value) {
  if (value % 2 != 0) return InvalidArgument("value {} is odd", value);
  return value / 2;
}
Result<int> Quarter(int value) {
  INGOT_ASSIGN_OR_RETURN(const int half, Half(value));
  return Half(half);
}
Status CheckQuarter(int value) {
  const Result<int> quarter = Quarter(value);
  INGOT_RETURN_IF_ERROR(quarter ? Status() : quarter.error());
  return {};
}

TEST(Status, TravelsUp) {
  EXPECT_EQ(Quarter(8), 2);
  EXPECT_EQ(Quarter(6).error().message(), "value 3 is odd");
  EXPECT_EQ(Quarter(6).error().Annotate("config").ToString(), "invalid argument: config: value 3 is odd");
  EXPECT_TRUE(CheckQuarter(4).ok());
  EXPECT_EQ(CheckQuarter(3).code(), Code::kInvalidArgument);
  EXPECT_EQ(Status().Annotate("config"), Status());
  // A file is named once.
  const Status of_file(Code::kCorrupt, "m/a.gguf: no magic");
  EXPECT_EQ(of_file.Annotate("m/a.gguf"), of_file);
  EXPECT_EQ(of_file.Annotate("m"), of_file);
  EXPECT_EQ(of_file.Annotate("m/a").message(), "m/a: m/a.gguf: no magic");
  EXPECT_EQ(Quarter(6).error().field(), "");
  EXPECT_EQ(Quarter(6).error().Of("width").Annotate("config").field(), "width");
  EXPECT_EQ(Status().ToString(), "ok");
}

TEST(Env, NamesAndValues) {
  EXPECT_EQ(EnvNameOfFlag("session-len"), "INGOT_SESSION_LEN");
  EXPECT_EQ(EnvNameOfFlag("--tp"), "INGOT_TP");
  setenv("INGOT_BASE_TEST", "x", 1);
  EXPECT_EQ(GetEnv("INGOT_BASE_TEST"), "x");
  setenv("INGOT_BASE_TEST", "", 1);
  EXPECT_EQ(GetEnv("INGOT_BASE_TEST"), std::nullopt);
  unsetenv("INGOT_BASE_TEST");
  EXPECT_EQ(GetEnv("INGOT_BASE_TEST"), std::nullopt);
}

TEST(Log, ParsesLevels) {
  EXPECT_EQ(ParseLogLevel("Warning"), LogLevel::kWarning);
  EXPECT_EQ(ParseLogLevel("OFF"), LogLevel::kOff);
  EXPECT_THAT(ParseLogLevel("loud").error().message(), HasSubstr("loud"));
}

class LogTest : public ::testing::Test {
 protected:
  ~LogTest() override {
    SetLogLevel(LogLevel::kWarning);
    SetLogJson(false);
  }
  template <typename F>
  static std::string Stderr(F f) {
    ::testing::internal::CaptureStderr();
    f();
    return ::testing::internal::GetCapturedStderr();
  }
};

TEST_F(LogTest, OneLineAndNothingBelowTheLevel) {
  SetLogLevel(LogLevel::kInfo);
  const std::string line = Stderr([] {
    Log(LogLevel::kDebug, "hidden");
    Log(LogLevel::kInfo, "loaded {} of {}\nforged", 1, "two");
  });
  EXPECT_TRUE(std::regex_match(line, std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info loaded 1 of two\\nforged
)"))) << line;
  SetLogLevel(LogLevel::kOff);
  EXPECT_EQ(Stderr([] { Log(LogLevel::kError, "silent"); }), "");
}

TEST_F(LogTest, Json) {
  SetLogJson(true);
  const std::string line = Stderr([] { Log(LogLevel::kError, "a \"b\"\n"); });
  EXPECT_THAT(line, HasSubstr(R"("level":"error","message":"a \"b\"\n"})"));
  EXPECT_EQ(std::ranges::count(line, '\n'), 1);
  const LogFields fields = {{"ms", 1.23456}, {"s", 2.0}, {"n", int64_t{7}}};
  EXPECT_THAT(Stderr([&] { LogLine(LogLevel::kError, "", fields); }), HasSubstr(R"("ms":1.235,"s":2,"n":7})"));
}

TEST_F(LogTest, LinesOfThreadsDoNotMix) {
  const std::string lines = Stderr([] {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([t] {
        for (int i = 0; i < 200; ++i) Log(LogLevel::kError, "{}", std::string(100, static_cast<char>('a' + t)));
      });
    }
    for (std::thread& thread : threads) thread.join();
  });
  size_t count = 0;
  for (size_t begin = 0; begin < lines.size(); ++count) {
    const size_t end = lines.find('\n', begin);
    const std::string message = lines.substr(lines.rfind(' ', end) + 1, end - lines.rfind(' ', end) - 1);
    ASSERT_EQ(message, std::string(100, message[0]));
    begin = end + 1;
  }
  EXPECT_EQ(count, 800u);
}

class FileTest : public ::testing::Test {
 protected:
  FileTest() : folder_(::testing::TempDir() + "ingot_file_" + std::to_string(getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~FileTest() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
};

TEST_F(FileTest, WritesReadsMaps) {
  const std::string path = folder_ + "/a";
  ASSERT_TRUE(WriteFile(path, "old").ok());
  ASSERT_TRUE(WriteFile(path, std::string(10000, 'x')).ok());
  EXPECT_EQ(ReadFile(path), std::string(10000, 'x'));
  EXPECT_THAT(ReadFile(path, 9999).error().message(), HasSubstr("10000 bytes, at most 9999"));
  Result<MappedFile> file = MappedFile::Open(path);
  ASSERT_TRUE(file);
  const MappedFile moved = *std::move(file);
  EXPECT_EQ(moved.bytes().size(), 10000u);
  EXPECT_EQ(moved.bytes()[9999], std::byte{'x'});
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);  // no temporary stays
}

TEST_F(FileTest, DropPagesKeepsTheBytes) {
  const std::string path = folder_ + "/a";
  ASSERT_TRUE(WriteFile(path, std::string(100000, 'x')).ok());
  const Result<MappedFile> file = MappedFile::Open(path);
  ASSERT_TRUE(file);
  file->DropPages(0, 100000);
  file->DropPages(5000, 10);
  file->DropPages(99999, SIZE_MAX);
  file->DropPages(SIZE_MAX, SIZE_MAX);
  for (const std::byte byte : file->bytes()) ASSERT_EQ(byte, std::byte{'x'});
}

TEST_F(FileTest, ReadsWhatHasNoSizeToItsEnd) {
  EXPECT_THAT(ReadFile("/proc/self/status").value(), HasSubstr("\nPid:\t" + std::to_string(getpid())));
  const std::string path = folder_ + "/pipe", text(100000, 'x');
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  const auto read = [&](size_t max_bytes) {
    std::thread writer([&] {
      const int fd = open(path.c_str(), O_WRONLY);
      for (size_t done = 0; done < text.size();) {
        const ssize_t n = write(fd, text.data() + done, text.size() - done);
        if (n <= 0) break;  // the reader has enough
        done += static_cast<size_t>(n);
      }
      close(fd);
    });
    Result<std::string> content = ReadFile(path, max_bytes);
    writer.join();
    return content;
  };
  signal(SIGPIPE, SIG_IGN);
  EXPECT_EQ(read(text.size()), text);
  EXPECT_THAT(read(text.size() - 1).error().message(), HasSubstr("more than 99999 bytes"));
  EXPECT_THAT(ReadFile("/dev/zero", 1000).error().message(), HasSubstr("more than 1000 bytes"));
}

TEST_F(FileTest, Errors) {
  EXPECT_EQ(MappedFile::Open(folder_ + "/none").error().code(), Code::kNotFound);
  EXPECT_EQ(MappedFile::Open(folder_).error().code(), Code::kInvalidArgument);
  EXPECT_THAT(MappedFile::Open("/dev/null").error().message(), HasSubstr("not a regular file"));
  EXPECT_THAT(ReadFile(folder_).error().message(), HasSubstr("a folder, not a file"));
  EXPECT_EQ(ReadFile(folder_ + "/none").error().code(), Code::kNotFound);
  EXPECT_EQ(WriteFile(folder_ + "/no/such/folder", "x").code(), Code::kNotFound);
  ASSERT_TRUE(WriteFile(folder_ + "/empty", "").ok());
  EXPECT_TRUE(MappedFile::Open(folder_ + "/empty")->bytes().empty());
  EXPECT_EQ(ReadFile(folder_ + "/empty"), "");
  for (const auto& [bytes, text] : std::initializer_list<std::pair<const char*, const char*>>{{"\xEF\xBB\xBF"
                                                                                               "a\r\nb\r\n",
                                                                                               "a\nb\n"},
                                                                                              {"a\rb\r", "a\rb\r"},
                                                                                              {"", ""},
                                                                                              {"\r\n", "\n"}}) {
    ASSERT_TRUE(WriteFile(folder_ + "/typed", bytes).ok());
    EXPECT_EQ(ReadTextFile(folder_ + "/typed"), text);
  }
}

TEST(TextFile, ReadsWhatEditorsWrite) {
  const auto clean = [](std::string text) { return CleanText(std::move(text), "notes.txt"); };
  EXPECT_EQ(clean("\xEF\xBB\xBFone\r\ntwo\r\n").value(), "one\ntwo\n");
  EXPECT_EQ(clean("one\r\ntwo").value(), "one\ntwo");
  EXPECT_EQ(clean("a\rb\n\r\r\n\r").value(), "a\rb\n\r\n\r");  // a lone \r is no line break
  EXPECT_EQ(clean("\xEF\xBB\xBF").value(), "");
  EXPECT_EQ(clean("x\xEF\xBB\xBF").value(), "x\xEF\xBB\xBF");
  EXPECT_THAT(clean(std::string("\xFF\xFEo\0n\0", 6)).error().message(), HasSubstr("notes.txt: the text is UTF-16"));
}

TEST(Hash, IsTheSameEverywhere) {
  EXPECT_EQ(Hash64(""), 0x2D06800538D394C2u);  // XXH3's own test vector
  EXPECT_EQ(Hash128("")[0], 0x99AA06D3014798D8u);
  Fingerprint a, b, c;
  a.Add("ab"), a.Add("c");
  b.Add("a"), b.Add("bc");
  c.Add("ab"), c.Add("c");
  EXPECT_EQ(a.Text().size(), 32u);
  EXPECT_EQ(a.Text(), c.Text());
  EXPECT_NE(a.Text(), b.Text());
}

}  // namespace
}  // namespace ingot
