#include "llm/output_parser.h"

#include <gtest/gtest.h>

#include "llm/test_llm.h"

namespace ingot::llm {
namespace {

// "<think>…</think>" is reasoning, wherever it stands; an end that is missing is the answer's.
class ThinkParser : public OutputParser {
 public:
  ParsedText Push(std::string_view text) override {
    held_ += text;
    ParsedText parsed;
    for (;;) {
      const std::string_view mark = thinks_ ? "</think>" : "<think>";
      std::string& out = thinks_ ? parsed.reasoning : parsed.content;
      const size_t at = held_.find(mark);
      if (at == std::string::npos) {
        const size_t held = BeginningOf(mark);
        out += held_.substr(0, held_.size() - held);
        held_.erase(0, held_.size() - held);
        return parsed;
      }
      out += held_.substr(0, at);
      held_.erase(0, at + mark.size());
      thinks_ = !thinks_;
    }
  }
  ParsedText Finish() override {
    ParsedText parsed;
    (thinks_ ? parsed.reasoning : parsed.content) = std::exchange(held_, {});
    return parsed;
  }

 private:
  // How many of the last characters held may be the mark's first ones.
  size_t BeginningOf(std::string_view mark) const {
    for (size_t length = std::min(mark.size() - 1, held_.size()); length > 0; --length) {
      if (held_.ends_with(mark.substr(0, length))) return length;
    }
    return 0;
  }
  std::string held_;
  bool thinks_ = false;
};

struct Heard {
  std::string text, reasoning, stop_reason;
  std::vector<int32_t> token_ids;
  std::vector<std::pair<std::string, std::string>> pieces;
  int finals = 0;
  int64_t completion_tokens = 0;
};

// What is reported of these tokens, drawn one after the other.
Heard Tell(const std::string& tokens, AnswerOptions options) {
  const ByteTokenizer tokenizer;
  AnswerStream stream(tokenizer, std::move(options));
  Heard heard;
  const auto on_event = [&](const Event& event) {
    heard.text += event.text;
    heard.reasoning += event.reasoning;
    heard.token_ids.insert(heard.token_ids.end(), event.token_ids.begin(), event.token_ids.end());
    heard.pieces.emplace_back(event.text, event.reasoning);
    if (!event.finish) return;
    ++heard.finals;
    heard.stop_reason = event.stop_reason;
    heard.completion_tokens = event.usage.completion_tokens;
  };
  for (size_t i = 0; i < tokens.size(); ++i) {
    engine::Event event;
    event.token = {.id = static_cast<uint8_t>(tokens[i])};
    if (i + 1 == tokens.size()) event.finish = FinishReason::kLength;
    stream.Push(event, on_event);
  }
  return heard;
}

AnswerOptions Thinking(std::vector<std::string> stop = {}) {
  return {.stop = std::move(stop), .parser = [] { return std::make_unique<ThinkParser>(); }};
}

TEST(OutputParser, SortsTextIntoChannelsInWholeCharacters) {
  const Heard heard = Tell("<think>Grüße an 世界</think>Schöne <b> Grüße<", Thinking());
  EXPECT_EQ(heard.reasoning, "Grüße an 世界");
  EXPECT_EQ(heard.text, "Schöne <b> Grüße<");
  EXPECT_EQ(heard.finals, 1);
  EXPECT_GT(heard.pieces.size(), 20u);
  for (const auto& [text, reasoning] : heard.pieces) {
    EXPECT_TRUE(text.empty() || reasoning.empty());
    for (const std::string& piece : {text, reasoning}) {
      EXPECT_TRUE(piece.empty() || (piece.front() & 0xC0) != 0x80) << "begins within a character: " << piece;
    }
  }
}

TEST(OutputParser, AnUnfinishedCharacterOrMarkIsToldAtTheEnd) {
  EXPECT_EQ(Tell("<think>so</thi", Thinking()).reasoning, "so</thi");
  const Heard heard = Tell("<think>so</think>a\xE4\xB8", Thinking());
  EXPECT_EQ(heard.reasoning, "so");
  EXPECT_EQ(heard.text, "a\xEF\xBF\xBD");
}

TEST(OutputParser, StopStringsAreFoundInAnyChannelAndCutTokens) {
  const std::string tokens = "<think>one STOP two</think>three";
  const Heard in_thought = Tell(tokens, Thinking({"STOP"}));
  EXPECT_EQ(in_thought.reasoning, "one ");
  EXPECT_EQ(in_thought.text, "");
  EXPECT_EQ(in_thought.stop_reason, "STOP");
  EXPECT_EQ(in_thought.finals, 1);
  EXPECT_EQ(in_thought.completion_tokens, 15);  // to the P, and nothing beyond
  EXPECT_EQ(in_thought.token_ids.size(), 15u);
  // A stop string that a mark begins with, and one across a mark.
  EXPECT_EQ(Tell(tokens, Thinking({"</"})).reasoning, "one STOP two");
  EXPECT_EQ(Tell(tokens, Thinking({"</think>thr"})).reasoning, "one STOP two");
  EXPECT_EQ(Tell(tokens, Thinking({"</think>thr"})).text, "");
}

TEST(OutputParser, AllIsTheAnswerWithoutOne) {
  const Heard heard = Tell("<think>so</think>", {});
  EXPECT_EQ(heard.text, "<think>so</think>");
  EXPECT_EQ(heard.reasoning, "");
}

// Everything is reasoning.
class OnlyThoughts : public OutputParser {
 public:
  ParsedText Push(std::string_view text) override { return {.content = {}, .reasoning = std::string(text)}; }
  ParsedText Finish() override { return {}; }
};

TEST(OutputParser, EachAnswerOfARequestHasItsOwn) {
  const FakeLlm fake = MakeFakeLlm();
  Request request;
  request.prompt = "hello";
  request.max_tokens = 20;
  request.ignore_eos = true;
  request.sampling.seed = 3;
  request.n = 2;
  const auto plain = fake.llm->Generate(request);
  int made = 0;
  request.output_parser = [&made] {
    ++made;
    return std::make_unique<OnlyThoughts>();
  };
  const auto sorted = fake.llm->Generate(request);
  ASSERT_TRUE(plain.has_value() && sorted.has_value());
  EXPECT_EQ(made, 2);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(sorted->choices[i].text, "");
    EXPECT_EQ(sorted->choices[i].reasoning, plain->choices[i].text);
    EXPECT_EQ(sorted->choices[i].token_ids, plain->choices[i].token_ids);
  }
}

}  // namespace
}  // namespace ingot::llm
