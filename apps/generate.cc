// ingot generate MODEL -p TEXT
#include <atomic>
#include <cstdio>
#include <thread>

#include "base/json_writer.h"
#include "chat/chat_template.h"
#include "common.h"

namespace ingot::cli {
namespace {

struct GenerateFlags {
  ModelFlags model;
  ParamFlags params;
  std::optional<std::string> prompt;
  bool raw = false, json = false;
};

JsonObject TokenJson(const llm::TokenLogprob& token) {
  return JsonObject().Add("id", token.id).Add("token", token.bytes).Add("logprob", token.logprob);
}

std::string TokensJson(const std::vector<llm::TokenInfo>& tokens) {
  return JsonList(tokens, [](const llm::TokenInfo& token) {
    const auto top = [](const llm::TokenLogprob& one) { return TokenJson(one).Text(); };
    return TokenJson(token.chosen).AddJson("top", JsonList(token.top, top)).Text();
  });
}

void PrintJson(const llm::Answer& answer, const llm::Request& request) {
  const std::string choices = JsonList(answer.choices, [&](const llm::Choice& choice) {
    JsonObject json;
    json.Add("text", choice.text).AddJson("token_ids", JsonList(choice.token_ids));
    json.Add("finish_reason", FinishReasonName(choice.finish));
    if (!choice.stop_reason.empty()) json.Add("stop_reason", choice.stop_reason);
    if (request.logprobs) json.AddJson("logprobs", TokensJson(choice.logprobs));
    if (request.prompt_logprobs) json.AddJson("prompt_logprobs", TokensJson(choice.prompt_logprobs));
    return json.Text();
  });
  const auto usage = JsonObject()
                         .Add("prompt_tokens", answer.usage.prompt_tokens)
                         .Add("completion_tokens", answer.usage.completion_tokens);
  const auto timings = JsonObject()
                           .Add("prefill_seconds", answer.timings.prefill_seconds)
                           .Add("decode_seconds", answer.timings.decode_seconds);
  fmt::print("{}\n", JsonObject()
                         .AddJson("choices", choices)
                         .AddJson("usage", usage.Text())
                         .AddJson("timings", timings.Text())
                         .Text());
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
  INGOT_ASSIGN_OR_RETURN(const boost::json::object params, flags.params.Given());
  for (const char* name : {"logprobs", "prompt_logprobs"}) {
    if (params.contains(name) && !flags.json)
      return InvalidArgument("{} is shown with --json only", llm::FlagOf(*llm::FindParam(name)));
  }
  llm::Request request;
  std::string prompt = flags.prompt.value_or("-");
  if (prompt == "-") {
    INGOT_ASSIGN_OR_RETURN(prompt, ReadStdin());
  } else if (HasPipedStdin()) {
    INGOT_ASSIGN_OR_RETURN(std::string text, ReadStdin());
    text.erase(text.find_last_not_of("\r\n") + 1);
    if (!text.empty()) prompt = text + "\n\n" + prompt;
  }
  if (prompt.empty()) return InvalidArgument("the prompt is empty; give one with -p TEXT or on standard input");
  INGOT_ASSIGN_OR_RETURN(const auto llm, LoadModel(flags.model));
  INGOT_RETURN_IF_ERROR(ApplyParams(params, *llm, &request));
  if (flags.raw || llm->chat_template() == nullptr) {
    if (!flags.raw) Say("a base model without a chat template: the text is completed as it stands\n");
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
  command.Add("-p,--prompt", &flags->prompt, "the prompt; - or none: standard input. What is piped in comes before it");
  command.Add("--raw", &flags->raw, "complete the text as it stands, without the chat template");
  command.Add("--json", &flags->json, "one JSON object: texts, token ids, finish reasons, usage, log probabilities");
  flags->params.Add(command, llm::kAsFlag | llm::kAsOneFlag);
  command.Example("ingot generate smollm2 -p 'What is the capital of France?' --temperature 0");
  command.Example("ingot generate model.gguf --json --n 3 --seed 1 < prompt.txt");
  command.Example("cat letter.txt | ingot generate smollm2 -p 'Summarize this letter in one sentence.'");
  command.OnRun([flags] { return Generate(*flags); });
}

}  // namespace ingot::cli
