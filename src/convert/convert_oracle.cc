// The other half of tests/convert_oracle.py:
//   convert_oracle hf|gguf TYPE MODEL OUTPUT
//   convert_oracle ids MODEL                  lines of JSON strings in, lines of JSON arrays of ids out
#include <iostream>

#include "base/json.h"
#include "convert/convert.h"
#include "tokenizer/tokenizer.h"

namespace ingot::convert {
namespace {

Result<Encoding> EncodingNamed(std::string_view name) {
  for (const Encoding encoding :
       {Encoding::kF32, Encoding::kF16, Encoding::kBF16, Encoding::kQ8_0, Encoding::kQ4_0, Encoding::kQ4_1}) {
    if (name == InfoOf(encoding).name) return encoding;
  }
  return InvalidArgument("type {}", name);
}

Status Convert(const std::string& to, const std::string& type, const std::string& model, const std::string& output) {
  INGOT_ASSIGN_OR_RETURN(const Encoding encoding, EncodingNamed(type));
  INGOT_ASSIGN_OR_RETURN(const auto checkpoint, formats::Checkpoint::Open(model));
  ThreadPool pool(2);
  const auto convert = to == "hf" ? &ToHuggingFace : &ToGguf;
  INGOT_ASSIGN_OR_RETURN(const auto report, convert(*checkpoint, {.output = output, .encoding = encoding}, pool));
  for (const std::string& notice : report.notices) fmt::print("note: {}\n", notice);
  return {};
}

Status PrintIds(const std::string& model) {
  INGOT_ASSIGN_OR_RETURN(const auto checkpoint, formats::Checkpoint::Open(model));
  INGOT_ASSIGN_OR_RETURN(const auto tokenizer, tokenizer::Tokenizer::Create(checkpoint->vocabulary()));
  for (std::string line; std::getline(std::cin, line);) {
    INGOT_ASSIGN_OR_RETURN(const auto text, ParseJson(line, "line"));
    INGOT_ASSIGN_OR_RETURN(std::string plain, JsonView(text, "line").AsString());
    fmt::print("[{}]\n", fmt::join(tokenizer->Encode(std::move(plain)), ","));
  }
  return {};
}

Status Run(const std::vector<std::string>& args) {
  if (args.size() == 2 && args[0] == "ids") return PrintIds(args[1]);
  if (args.size() == 4) return Convert(args[0], args[1], args[2], args[3]);
  return InvalidArgument("convert_oracle hf|gguf TYPE MODEL OUTPUT, or convert_oracle ids MODEL");
}

}  // namespace
}  // namespace ingot::convert

int main(int argc, char** argv) {
  const ingot::Status status = ingot::convert::Run(std::vector<std::string>(argv + 1, argv + argc));
  if (status.ok()) return 0;
  fmt::print(stderr, "{}\n", status.ToString());
  return 1;
}
