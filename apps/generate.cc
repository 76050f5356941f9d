// ingot generate MODEL -p TEXT
#include <cstdio>
#include <thread>

#include "base/json.h"
#include "chat/chat_template.h"
#include "common.h"

namespace ingot::cli {
namespace {

struct GenerateFlags {
  ModelFlags model;
  SamplingFlags sampling;
  std::optional<std::string> prompt;
  bool raw = false, json = false;
};

void AppendToken(std::string& out, const llm::TokenLogprob& token) {
  out += fmt::format(R"({{"id":{},"token":)", token.id);
  AppendJsonString(out, token.bytes);
  out += R"(,"logprob":)";
  AppendJsonNumber(out, token.logprob);
}

void AppendTokens(std::string& out, const char* name, const std::vector<llm::TokenInfo>& tokens) {
  out += fmt::format(R"(,"{}":[)", name);
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) out += ',';
    AppendToken(out, tokens[i].chosen);
    out += R"(,"top":[)";
    for (size_t j = 0; j < tokens[i].top.size(); ++j) {
      if (j > 0) out += ',';
      AppendToken(out, tokens[i].top[j]);
      out += '}';
    }
    out += "]}";
  }
  out += ']';
}

void AppendChoice(std::string& out, const llm::Choice& choice, const llm::Request& request) {
  out += R"({"text":)";
  AppendJsonString(out, choice.text);
  out += fmt::format(R"(,"token_ids":[{}],"finish_reason":"{}")", fmt::join(choice.token_ids, ","),
                     FinishReasonName(choice.finish));
  if (!choice.stop_reason.empty()) {
    out += R"(,"stop_reason":)";
    AppendJsonString(out, choice.stop_reason);
  }
  if (request.logprobs) AppendTokens(out, "logprobs", choice.logprobs);
  if (request.prompt_logprobs) AppendTokens(out, "prompt_logprobs", choice.prompt_logprobs);
  out += '}';
}

void PrintJson(const llm::Answer& answer, const llm::Request& request) {
  std::string out = R"({"choices":[)";
  for (size_t i = 0; i < answer.choices.size(); ++i) {
    if (i > 0) out += ',';
    AppendChoice(out, answer.choices[i], request);
  }
  out += fmt::format(
      R"(],"usage":{{"prompt_tokens":{},"completion_tokens":{}}},"timings":{{"prefill_seconds":{:.6f},"decode_seconds":{:.6f}}}}})",
      answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.timings.prefill_seconds,
      answer.timings.decode_seconds);
  fmt::print("{}\n", out);
}

// Prints as it comes; Ctrl-C ends the answer.
Status Stream(llm::Llm& llm, const llm::Request& request) {
  const InterruptGuard interrupt;
  Status error;
  std::atomic<bool> done = false;
  INGOT_ASSIGN_OR_RETURN(const auto handle, llm.Submit(request, [&](const llm::Event& event) {
    std::fwrite(event.text.data(), 1, event.text.size(), stdout);
    std::fflush(stdout);
    if (event.finish == llm::FinishReason::kError) error = event.error;
    if (event.finish) done = true;
  }));
  while (!done && !interrupt.interrupted())
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // a signal handler can only set a flag
  if (!done) handle->Cancel();
  handle->Wait();
  fmt::print("\n");
  return error;
}

Status PrintAnswers(llm::Llm& llm, const llm::Request& request, bool json) {
  INGOT_ASSIGN_OR_RETURN(const auto answer, llm.Generate(request));
  if (json) {
    PrintJson(answer, request);
    return {};
  }
  for (size_t i = 0; i < answer.choices.size(); ++i) fmt::print("[{}] {}\n", i, answer.choices[i].text);
  return {};
}

Status Generate(const GenerateFlags& flags) {
  if (flags.sampling.logprobs && !flags.json) return InvalidArgument("--logprobs is shown with --json only");
  if (flags.sampling.prompt_logprobs && !flags.json)
    return InvalidArgument("--prompt-logprobs is shown with --json only");
  llm::Request request;
  std::string prompt = flags.prompt.value_or("-");
  if (prompt == "-") {
    INGOT_ASSIGN_OR_RETURN(prompt, ReadStdin());
  }
  if (prompt.empty()) return InvalidArgument("the prompt is empty; give one with -p TEXT or on standard input");
  INGOT_ASSIGN_OR_RETURN(const auto llm, LoadModel(flags.model));
  INGOT_RETURN_IF_ERROR(ApplySampling(flags.sampling, *llm, &request));
  if (flags.raw || llm->chat_template() == nullptr) {
    if (!flags.raw) fmt::print(stderr, "a base model without a chat template: the text is completed as it stands\n");
    request.prompt = std::move(prompt);
  } else {
    request.messages.push_back({{"role", "user"}, {"content", prompt}});
  }
  return OfFlag(flags.json || request.n > 1 ? PrintAnswers(*llm, request, flags.json) : Stream(*llm, request));
}

}  // namespace

void DeclareGenerate(Flags& root) {
  Flags& command = root.Command("generate", "Answer one prompt");
  const auto flags = std::make_shared<GenerateFlags>();
  AddModelFlags(command, &flags->model);
  command.Add("-p,--prompt", &flags->prompt, "the prompt; - or none: standard input");
  command.Add("--raw", &flags->raw, "complete the text as it stands, without the chat template");
  command.Add("--json", &flags->json, "one JSON object: texts, token ids, finish reasons, usage, log probabilities");
  AddSamplingFlags(command, &flags->sampling);
  AddAnswerFlags(command, &flags->sampling);
  command.Example("ingot generate smollm2 -p 'What is the capital of France?' --temperature 0");
  command.Example("ingot generate model.gguf --json --n 3 --seed 1 < prompt.txt");
  command.OnRun([flags] { return Generate(*flags); });
}

}  // namespace ingot::cli
