// ingot serve api_server MODEL
#include <pthread.h>
#include <signal.h>

#include <cstdio>

#include "base/log.h"
#include "chat/chat_template.h"
#include "common.h"
#include "server/api_server.h"

namespace ingot::cli {
namespace {

struct ServeFlags {
  ModelFlags model;
  std::string model_name, server_name = "127.0.0.1";
  int server_port = 23333, tp = 1, quant_policy = 0;
  double drain_timeout = 30;
};

Status CheckFlags(const ServeFlags& flags) {
  if (flags.server_port < 0 || flags.server_port > 65535)
    return InvalidArgument("--server-port {} is outside 0…65535", flags.server_port);
  if (flags.tp != 1)
    return InvalidArgument("--tp {}: this build computes on one CPU device; --tp 1 is what it has", flags.tp);
  if (flags.quant_policy != 0)
    return Unsupported("--quant-policy {}: this build keeps the KV cache in fp16; use --quant-policy 0",
                       flags.quant_policy);
  return {};
}

void PrintHowToTry(const std::string& url, const std::string& model_name, bool can_chat) {
  fmt::print(stderr, "\nIngot serves {} on {}\n", model_name, url);
  if (!can_chat) {
    fmt::print(stderr,
               "This is a base model without a chat template; name one with --chat-template to chat with it.\n\n");
    return;
  }
  fmt::print(stderr,
             "Try it:\n\n  curl {}/v1/chat/completions -H 'Content-Type: application/json' \\\n"
             "    -d '{{\"model\": \"{}\", \"temperature\": 0, \"messages\": [{{\"role\": \"user\", \"content\": "
             "\"What is the capital of France?\"}}]}}'\n\n",
             url, model_name);
}

Status Serve(const ServeFlags& flags) {
  INGOT_RETURN_IF_ERROR(CheckFlags(flags));
  // Blocked before any thread starts, so that sigwait below is the one place where they arrive.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  INGOT_ASSIGN_OR_RETURN(const auto llm, LoadModel(flags.model));
  fmt::print(stderr, "{}\n", llm->MemoryLedger());
  const std::string name = flags.model_name.empty() ? flags.model.options.model : flags.model_name;
  server::ApiServerOptions options;
  options.http.address = flags.server_name;
  options.http.port = static_cast<uint16_t>(flags.server_port);
  options.model_name = name;
  INGOT_ASSIGN_OR_RETURN(const auto server, server::ApiServer::Start(*llm, options));
  if (flags.server_name != "127.0.0.1" && flags.server_name != "localhost" && flags.server_name != "::1") {
    fmt::print(stderr, "warning: {} is reachable from other machines, and this server asks for no key\n",
               flags.server_name);
  }
  const std::string shown = flags.server_name == "0.0.0.0" ? "127.0.0.1" : flags.server_name;
  PrintHowToTry(fmt::format("http://{}:{}", shown, server->port()), name, llm->chat_template() != nullptr);

  int signal_number = 0;
  sigwait(&signals, &signal_number);
  fmt::print(stderr, "{}: finishing what runs, at most {} s; once more stops at once\n",
             signal_number == SIGINT ? "interrupted" : "terminated", flags.drain_timeout);
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  server->Stop(flags.drain_timeout);
  return {};
}

}  // namespace

void DeclareServe(Flags& root) {
  Flags& serve = root.Command("serve", "Serve a model over HTTP");
  Flags& api = serve.Command("api_server", "OpenAI-compatible REST: /v1/chat/completions, /v1/models, /health");
  const auto flags = std::make_shared<ServeFlags>();
  AddModelFlags(api, &flags->model);
  api.Add("--model-name", &flags->model_name, "the model's name in requests; default: MODEL as it was typed");
  api.Add("--server-name", &flags->server_name, "address to listen on; 0.0.0.0: every interface");
  api.Add("--server-port", &flags->server_port, "port to listen on; 0: any free one");
  api.Add("--tp", &flags->tp, "devices to split a layer over");
  api.Add("--quant-policy", &flags->quant_policy, "bits of the KV cache: 0 is fp16");
  api.Add("--drain-timeout", &flags->drain_timeout,
          "seconds that running requests get when the server is told to stop");
  api.OnRun([flags] { return Serve(*flags); });
}

}  // namespace ingot::cli
