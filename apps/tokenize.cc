// ingot tokenize MODEL
#include <cstdio>

#include "base/json_writer.h"
#include "base/mapped_file.h"
#include "common.h"
#include "formats/checkpoint.h"
#include "tokenizer/tokenizer.h"

namespace ingot::cli {
namespace {

struct TokenizeFlags {
  std::string model, tokenizer_pre;
  std::optional<std::string> text, file, decode;
  bool json = false, no_special = false, plain = false;
};

Result<std::string> ReadText(const TokenizeFlags& flags) {
  if (flags.text) return *flags.text;
  if (flags.file && *flags.file != "-") return ReadFile(*flags.file);
  return ReadStdin();
}

Result<std::vector<int32_t>> ParseIds(const std::string& text, int32_t vocab_size) {
  std::vector<int32_t> ids;
  const char* p = text.c_str();
  while (*p != '\0') {
    if (*p == ' ' || *p == ',' || *p == '\n' || *p == '[' || *p == ']') {
      ++p;
      continue;
    }
    char* end = nullptr;
    const long id = std::strtol(p, &end, 10);
    if (end == p || id < 0 || id >= vocab_size)
      return InvalidArgument("--decode: '{}' is no id in 0…{}", std::string_view(p).substr(0, 20), vocab_size - 1);
    ids.push_back(static_cast<int32_t>(id));
    p = end;
  }
  return ids;
}

void Print(const tokenizer::Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool json) {
  if (!json) {
    for (const int32_t id : ids) {
      std::string shown;
      AppendJsonString(shown, tokenizer.TokenBytes(id));
      fmt::print("{:7} {}\n", id, shown);
    }
    Say("{} tokens\n", ids.size());
    return;
  }
  std::vector<std::string> tokens;
  for (const int32_t id : ids) tokens.push_back(tokenizer.IdToToken(id));
  fmt::print(
      "{}\n",
      JsonObject().Add("count", ids.size()).AddJson("ids", JsonList(ids)).AddJson("tokens", JsonList(tokens)).Text());
}

Status Tokenize(const TokenizeFlags& flags) {
  INGOT_ASSIGN_OR_RETURN(const auto checkpoint,
                         OpenModel(flags.model, {.weights = false, .tokenizer_pre = flags.tokenizer_pre}));
  INGOT_ASSIGN_OR_RETURN(const auto tokenizer, tokenizer::Tokenizer::Create(checkpoint->vocabulary()));
  if (flags.decode) {
    INGOT_ASSIGN_OR_RETURN(const auto ids, ParseIds(*flags.decode, tokenizer->vocab_size()));
    fmt::print("{}\n", tokenizer->Decode(ids, false));
    return {};
  }
  INGOT_ASSIGN_OR_RETURN(std::string text, ReadText(flags));
  const MarkedText marked = flags.plain ? MarkedText::Untrusted(std::move(text)) : MarkedText::Trusted(std::move(text));
  Print(*tokenizer, tokenizer->Encode(marked, {.add_special_tokens = !flags.no_special}), flags.json);
  return {};
}

}  // namespace

void DeclareTokenize(Flags& root) {
  Flags& command = root.Command("tokenize", "Show the tokens of a text");
  const auto flags = std::make_shared<TokenizeFlags>();
  command.Positional("MODEL", &flags->model, "as for generate; only its tokenizer is read");
  command.Add("--text", &flags->text, "the text; default: --file, or standard input");
  command.Add("--file", &flags->file, "a file with the text");
  command.Add("--decode", &flags->decode, "token ids to decode into text");
  command.Add("--no-special", &flags->no_special, "add no BOS or EOS");
  command.Add("--plain", &flags->plain, "read the spelling of special tokens as ordinary text, as in users' messages");
  command.Add("--tokenizer-pre", &flags->tokenizer_pre, kTokenizerPreHelp);
  command.Add("--json", &flags->json, "one JSON object");
  command.Example("ingot tokenize smollm2 --text 'Hello, world'");
  command.Example("ingot tokenize smollm2 --decode 19556,28,905");
  command.OnRun([flags] { return Tokenize(*flags); });
}

}  // namespace ingot::cli
