// ingot serve api_server MODEL
#include <pthread.h>
#include <signal.h>

#include <cstdio>

#include "base/json.h"
#include "base/log.h"
#include "chat/chat_template.h"
#include "common.h"
#include "server/api_server.h"

namespace ingot::cli {
namespace {

struct ServeFlags {
  ModelFlags model;
  std::string model_name, server_name = "127.0.0.1";
  int server_port = 23333, tp = 1;
  double drain_timeout = 30;
};

Status CheckFlags(const ServeFlags& flags) {
  if (flags.server_port < 0 || flags.server_port > 65535)
    return InvalidArgument("--server-port {} is outside 0…65535", flags.server_port);
  if (!(flags.drain_timeout >= 0 && flags.drain_timeout <= 86400))
    return InvalidArgument("--drain-timeout {} is outside 0…86400 seconds", flags.drain_timeout);
  if (flags.tp != 1)
    return InvalidArgument("--tp {}: this build computes on one CPU device; --tp 1 is what it has", flags.tp);
  return {};
}

// 'it'"'"'s': as one word of a shell's command line.
std::string ShellQuoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\"'\"'") : std::string(1, c);
  return out + "'";
}

// Where this machine reaches the server.
std::string UrlOf(const std::string& address, int port) {
  std::string host = address;
  if (address == "0.0.0.0") host = "127.0.0.1";
  if (address == "::") host = "::1";
  if (host.find(':') != std::string::npos) host = fmt::format("[{}]", host);
  return fmt::format("http://{}:{}", host, port);
}

void PrintHowToTry(const std::string& url, const std::string& model_name, bool can_chat) {
  fmt::print(stderr, "Ingot serves {} on {}\n", model_name, url);
  if (!can_chat) {
    fmt::print(stderr,
               "This is a base model without a chat template; name one with --chat-template to chat with it.\n\n");
    return;
  }
  std::string body = R"({"model": )";
  AppendJsonString(body, model_name);
  body += R"(, "temperature": 0, "messages": [{"role": "user", "content": "What is the capital of France?"}]})";
  fmt::print(stderr, "Try it:\n\n  curl {}/v1/chat/completions -H 'Content-Type: application/json' \\\n    -d {}\n\n",
             url, ShellQuoted(body));
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

  const std::string name = flags.model_name.empty() ? flags.model.options.model : flags.model_name;
  server::ApiServerOptions options;
  options.http.address = flags.server_name;
  options.http.port = static_cast<uint16_t>(flags.server_port);
  options.model_name = name;
  INGOT_RETURN_IF_ERROR(server::CheckAddress(options.http));  // before what takes long
  INGOT_ASSIGN_OR_RETURN(const auto llm, LoadModel(flags.model));
  fmt::print(stderr, "{}\n", llm->MemoryLedger());
  INGOT_ASSIGN_OR_RETURN(const auto server, server::ApiServer::Start(*llm, options));
  if (flags.server_name != "127.0.0.1" && flags.server_name != "localhost" && flags.server_name != "::1") {
    fmt::print(stderr, "warning: {} is reachable from other machines, and this server asks for no key\n",
               flags.server_name);
  }
  PrintHowToTry(UrlOf(flags.server_name, server->port()), name, llm->chat_template() != nullptr);

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
  api.Add("--max-queue", &flags->model.options.max_queue, "requests that wait for a slot; more get 429");
  api.Add("--tp", &flags->tp, "devices to split a layer over");
  api.Add("--drain-timeout", &flags->drain_timeout,
          "seconds that running requests get when the server is told to stop");
  api.Example("ingot serve api_server smollm2");
  api.Example("ingot serve api_server InternLM/internlm-chat-7b --model-name internlm-chat-7b --server-port 8080");
  api.OnRun([flags] { return Serve(*flags); });
}

}  // namespace ingot::cli
