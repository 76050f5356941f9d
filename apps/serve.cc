// ingot serve api_server MODEL
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <thread>

#include "base/env.h"
#include "base/json.h"
#include "base/log.h"
#include "base/log_file.h"
#include "base/signal_stack.h"
#include "build_info.h"
#include "chat/chat_template.h"
#include "common.h"
#include "llm/memory_plan.h"
#include "serve_gradio.h"
#include "serve_triton.h"
#include "server/api_server.h"
#include "server_signals.h"
#ifdef INGOT_GRPC
#include "rpc/rpc_server.h"
#endif
#include "text/bytes.h"

namespace ingot::cli {
namespace {

struct ServeFlags {
  ModelFlags model;
  std::string model_name, metrics_compat, log_file, log_format = "text";
  int server_port = 23333, grpc_port = -1, tp = 1;
  int64_t max_body_bytes = int64_t{16} << 20, max_body_memory = int64_t{1} << 30;
  double drain_timeout = 30;
  bool disable_docs = false, ssl = false;
  server::ApiServerOptions api;
};

Status CheckFlags(const ServeFlags& flags) {
  // `INGOT_API_KEYS=$KEYS` where KEYS is not set must not let everyone in.
  for (const char* name : {"INGOT_API_KEYS", "INGOT_API_KEYS_FILE", "INGOT_ADMIN_KEYS", "INGOT_ADMIN_KEYS_FILE"}) {
    const char* const value = std::getenv(name);
    if (value != nullptr && *value == '\0') return InvalidArgument("{} is empty: set it to a key, or unset it", name);
  }
  if (flags.max_body_bytes < 1024 || flags.max_body_bytes > int64_t{1} << 32)
    return InvalidArgument("--max-body-size {} is outside 1KiB…4GiB", SizeAtLeast(flags.max_body_bytes));
  if (flags.max_body_memory < 0 || flags.max_body_memory > int64_t{1} << 50)
    return InvalidArgument("--max-body-memory {} is outside 0…1024TiB", SizeAtLeast(flags.max_body_memory));
  if (flags.tp != 1)
    return InvalidArgument("--tp {}: {}, as one device; --tp 1 is what it has", flags.tp, INGOT_COMPUTES_ON);
  return {};
}

// In the folder for temporary files: a name that no other process has now.
std::string DefaultFlightRecorder() {
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::temp_directory_path(error);
  return error ? "" : (folder / fmt::format("ingot-flight-{}.txt", getpid())).string();
}

// Where this machine reaches the server.
std::string UrlOf(const server::HttpOptions& http, int port) {
  const std::string& address = http.address;
  std::string host = address;
  if (address == "0.0.0.0") host = "127.0.0.1";
  if (address == "::") host = "::1";
  if (host.find(':') != std::string::npos) host = fmt::format("[{}]", host);
  return fmt::format("{}://{}:{}", http.tls.enabled() ? "https" : "http", host, port);
}

bool AsksForKey(const server::ApiKeyOptions& keys) {
  return !keys.keys.empty() || !keys.keys_file.empty() || !keys.admin_keys.empty() || !keys.admin_keys_file.empty();
}

// To people, who read it as it stands; to machines as lines of the log.
void Tell(const std::string& text) {
  if (LogsJson()) return Log(LogLevel::kInfo, "{}", text);
  Say("{}\n", text);
}

void TellHowToTry(const std::string& url, const server::ApiServerOptions& options, bool can_chat) {
  if (options.transport != nullptr)
    Tell(fmt::format("gRPC is served at {}:{}", options.http.address, options.transport->port()));
  Tell(fmt::format("Ingot serves {} on {}", options.model_name, url));
  if (options.docs) Tell(fmt::format("  {}/chat to talk to it, {}/docs for the API", url, url));
  if (!can_chat) {
    return Tell("This is a base model without a chat template; name one with --chat-template to chat with it.\n");
  }
  if (LogsJson()) return;
  std::string body = R"({"model": )";
  AppendJsonString(body, options.model_name);
  body += R"(, "temperature": 0, "messages": [{"role": "user", "content": "What is the capital of France?"}]})";
  Tell(fmt::format("Try it:\n\n  curl {}{}/v1/chat/completions -H 'Content-Type: application/json' \\\n{}    -d {}\n",
                   options.http.tls.enabled() ? "-k " : "", url,
                   AsksForKey(options.keys) ? "    -H 'Authorization: Bearer KEY' \\\n" : "", ShellQuoted(body)));
}

// As many descriptors as the connections want, or as many as there may be. Who is one too many has one, too, to be
// reported: up to as many as are served.
void RaiseDescriptorLimit(int connections) {
  rlimit limit{};
  const auto wanted = 2 * static_cast<rlim_t>(connections) + 128;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
  limit.rlim_cur = std::min(wanted, limit.rlim_max);
  setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < wanted) {
    Log(LogLevel::kWarning, "{} file descriptors are allowed (ulimit -n); --max-connections {} needs {}",
        limit.rlim_cur, connections, wanted);
  }
}

// LMDeploy's way to name certificate and key.
void ReadSslVariables(server::TlsOptions* tls) {
  const auto read = [](const char* name, std::string* value) {
    if (value->empty()) *value = GetEnv(name).value_or("");
  };
  read("SSL_CERTFILE", &tls->cert_file);
  read("SSL_KEYFILE", &tls->key_file);
}

// An error when it is read later would not name the flag.
Status CheckReadable(const char* flag, const std::string& path) {
  if (path.empty() || access(path.c_str(), R_OK) == 0) return {};
  return NotFound("{} {}: {}", flag, path, std::strerror(errno));
}

// Loading the model takes long: errors of the database's file are reported before.
Status CheckSessionDb(const std::string& path) {
  if (path.empty()) return {};
  std::error_code error;
  std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (folder.empty()) folder = ".";
  if (!std::filesystem::is_directory(folder, error))
    return NotFound("--session-db {}: there is no folder {}; make it first", path, folder.string());
  if (std::filesystem::is_directory(path, error))
    return InvalidArgument("--session-db {}: is a folder, not a file", path);
  const bool is_there = std::filesystem::exists(path, error);
  // SQLite keeps files of its own next to it.
  if (access(folder.c_str(), W_OK | X_OK) != 0 || (is_there && access(path.c_str(), R_OK | W_OK) != 0))
    return Io("--session-db {}: {}", path, std::strerror(errno));
  return {};
}

Status CheckFiles(const server::ApiServerOptions& options) {
  INGOT_RETURN_IF_ERROR(CheckReadable("--api-keys-file", options.keys.keys_file));
  INGOT_RETURN_IF_ERROR(CheckReadable("--admin-keys-file", options.keys.admin_keys_file));
  return CheckSessionDb(options.sessions.db);
}

Status CheckTls(const ServeFlags& flags, const server::TlsOptions& tls) {
  if (flags.ssl && !tls.enabled())
    return InvalidArgument("--ssl takes the files that SSL_CERTFILE and SSL_KEYFILE name, and they are not set");
  if (tls.cert_file.empty() && tls.enabled())
    return InvalidArgument("--ssl-keyfile asks for its certificate: --ssl-certfile");
  if (!tls.client_ca_file.empty() && !tls.enabled())
    return InvalidArgument("--ssl-ca-certs asks for --ssl-certfile and --ssl-keyfile");
  return {};
}

// MODEL as it was typed, without the folders of this machine.
std::string RootOf(const std::string& model) {
  const std::filesystem::path path(model);
  if (!path.is_absolute()) return model;
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

server::ApiServerOptions OptionsOf(const ServeFlags& flags) {
  server::ApiServerOptions options = flags.api;
  if (flags.ssl) ReadSslVariables(&options.http.tls);
  options.http.port = static_cast<uint16_t>(flags.server_port);
  options.http.max_body_bytes = static_cast<size_t>(flags.max_body_bytes);
  options.http.max_body_memory = static_cast<size_t>(flags.max_body_memory);
  options.model_name = flags.model_name.empty() ? ModelName(flags.model.options.model) : flags.model_name;
  options.model_typed = flags.model.options.model;
  options.model_root = RootOf(flags.model.options.model);
  options.version = INGOT_VERSION;
  options.text_threads = flags.model.options.text_threads;
  options.max_queue = flags.model.options.max_queue;
  options.docs = !flags.disable_docs;
  options.vllm_metrics = flags.metrics_compat == "vllm" || flags.metrics_compat == "both";
  options.lmdeploy_metrics = flags.metrics_compat == "lmdeploy" || flags.metrics_compat == "both";
  options.on_terminate = [] { kill(getpid(), SIGTERM); };
  return options;
}

#ifdef INGOT_GRPC
// The same address, certificate and limits as HTTP's.
std::shared_ptr<server::Transport> GrpcOf(const server::HttpOptions& http, int port) {
  return rpc::MakeTransport({.tls = http.tls,
                             .address = http.address,
                             .port = port,
                             .max_message_bytes = http.max_body_bytes,
                             .max_memory = server::BodyMemoryOf(http),
                             .max_streams = http.max_connections,
                             .max_buffered_bytes = http.max_buffered_bytes});
}
#endif

void WarnOfStrangers(const server::ApiServerOptions& options) {
  const std::string& address = options.http.address;
  const bool is_local = address == "localhost" || address.starts_with("127.") || address == "::1";
  if (is_local || AsksForKey(options.keys)) return;
  Log(LogLevel::kWarning, "{} is reachable from other machines, and this server asks for no key (--api-keys)", address);
}

void WarnOfNoAdmin(const server::ApiServerOptions& options) {
  if (!options.allow_terminate || !options.keys.admin_keys.empty() || !options.keys.admin_keys_file.empty()) return;
  Log(LogLevel::kWarning,
      "--allow-terminate-by-client is for holders of an admin key, and there is none (--admin-keys): no one can stop "
      "it");
}

void Reload(server::ApiServer& server) {
  const Status status = server.Reload();
  if (status.ok()) {
    Log(LogLevel::kInfo, "keys and certificate were read again");
  } else {
    Log(LogLevel::kWarning, "not read again: {}", status.message());
  }
}

void ReopenLog() {
  if (const Status status = ReopenLogFile(); !status.ok())
    Log(LogLevel::kWarning, "--log-file not opened again: {}", status.message());
}

// "/ingot", as a proxy shows the server: without a slash at its end.
Status CheckRootPath(std::string* path) {
  constexpr const char* kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/";
  const std::string given = *path;
  while (path->ends_with('/')) path->pop_back();
  if (path->empty() || (path->starts_with('/') && path->find("//") == std::string::npos &&
                        path->find_first_not_of(kLetters) == std::string::npos))
    return {};
  return InvalidArgument("--root-path '{}' is no path such as /ingot, of letters, digits and -._~/", given);
}

// While nothing is served yet, what stops ends the process at once. The model's threads keep all of the server's
// signals blocked, as the thread that loads has them.
Result<std::unique_ptr<llm::Llm>> LoadUnlessStopped(const ModelFlags& model) {
  std::optional<Result<std::unique_ptr<llm::Llm>>> loaded;
  std::thread loader([&] {
    const SignalStack signal_stack;
    loaded = LoadModel(model);
  });
  for (const int number : {SIGINT, SIGTERM, SIGQUIT}) signal(number, [](int caught) { _exit(128 + caught); });
  const sigset_t stopping = StoppingSignals();
  pthread_sigmask(SIG_UNBLOCK, &stopping, nullptr);
  loader.join();
  pthread_sigmask(SIG_BLOCK, &stopping, nullptr);
  for (const int number : {SIGINT, SIGTERM, SIGQUIT}) signal(number, SIG_DFL);
  return *std::move(loaded);
}

Status Serve(const ServeFlags& flags) {
  const auto begin = std::chrono::steady_clock::now();
  INGOT_RETURN_IF_ERROR(CheckFlags(flags));
  const sigset_t signals = BlockSignals();
  SetLogJson(flags.log_format == "json");
  if (!flags.log_file.empty()) {
    if (const Status status = SetLogFile(flags.log_file); !status.ok()) return status.Annotate("--log-file");
  }
  server::ApiServerOptions options = OptionsOf(flags);
  INGOT_RETURN_IF_ERROR(CheckRootPath(&options.root_path));
  INGOT_RETURN_IF_ERROR(CheckTls(flags, options.http.tls));
  INGOT_RETURN_IF_ERROR(CheckFiles(options));
  if (flags.grpc_port >= 0) {
#ifdef INGOT_GRPC
    options.transport = GrpcOf(options.http, flags.grpc_port);
#else
    return Unsupported("--grpc-port {}: this build has no gRPC; build it with libgrpc++-dev and protobuf-compiler",
                       flags.grpc_port);
#endif
  }
  RaiseDescriptorLimit(options.http.max_connections);
  std::unique_ptr<llm::Llm> llm;                                                  // outlives the server
  INGOT_ASSIGN_OR_RETURN(const auto server, server::ApiServer::Listen(options));  // before what takes long
  const std::string url = UrlOf(options.http, server->port());
  Log(LogLevel::kInfo, "listening at {}; /health tells when the model is loaded", url);
  ModelFlags model = flags.model;
  if (model.options.flight_recorder.empty()) model.options.flight_recorder = DefaultFlightRecorder();
  const bool logs_ledger = GetLogLevel() <= LogLevel::kInfo;
  INGOT_ASSIGN_OR_RETURN(llm, LoadUnlessStopped(model));
  SetDefaultLogLevel(LogLevel::kInfo);  // a line a request
  Log(LogLevel::kInfo, "a stall or a crash will be reported in {}", model.options.flight_recorder);
  if (!logs_ledger) Tell(llm->MemoryLedger());
  const std::chrono::duration<double> startup = std::chrono::steady_clock::now() - begin;
  INGOT_RETURN_IF_ERROR(server->Serve(*llm, startup.count()));
  WarnOfStrangers(options);
  WarnOfNoAdmin(options);
  Tell(DescribeCompute(flags.model, *llm));
  TellHowToTry(url, options, llm->chat_template() != nullptr);

  const int number = WaitForStop(signals, [&] { Reload(*server); }, ReopenLog);
  Log(LogLevel::kInfo, "{}: finishing what runs, at most {} s; once more stops at once",
      number == SIGINT ? "interrupted" : "terminated", flags.drain_timeout);
  for (const int stops : {SIGINT, SIGTERM, SIGQUIT}) signal(stops, SIG_DFL);
  for (const int not_needed : {SIGHUP, SIGUSR1}) signal(not_needed, SIG_IGN);
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  server->Stop(flags.drain_timeout);
  return {};
}

}  // namespace

// Who may come, and how many.
void AddAccessFlags(Flags& api, ServeFlags* flags) {
  server::ApiServerOptions& options = flags->api;
  api.Add("--server-name", &options.http.address, "address to listen on; 0.0.0.0: every interface");
  api.Add("--server-port", &flags->server_port, "port to listen on; 0: any free one", {0, 65535});
  api.Add("--grpc-port", &flags->grpc_port, "serve gRPC at this port, too; 0: any free one; -1: not", {-1, 65535});
  api.Add("--api-keys", &options.keys.keys, "keys that clients must send one of; may be repeated");
  api.Add("--api-keys-file", &options.keys.keys_file,
          "a file of keys, one a line; SIGHUP reads it again, and the certificate");
  api.Add("--admin-keys", &options.keys.admin_keys, "keys that may also do what administrators do");
  api.Add("--admin-keys-file", &options.keys.admin_keys_file, "a file of admin keys");
  api.Add("--ssl-certfile", &options.http.tls.cert_file, "serve https: the certificate with its chain (PEM)");
  api.Add("--ssl-keyfile", &options.http.tls.key_file, "its key (PEM)");
  api.Add("--ssl-keyfile-password", &options.http.tls.key_password, "what the key is encrypted with");
  api.Add("--ssl-ca-certs", &options.http.tls.client_ca_file,
          "take only clients with a certificate that one of these authorities signed (PEM)");
  api.Add("--ssl", &flags->ssl, "serve https with the files that SSL_CERTFILE and SSL_KEYFILE name");
  api.Add("--allow-origins", &options.allow_origins, "web pages of other origins that may call; *: all");
  api.Add("--allow-methods", &options.allow_methods, "methods that such pages may use");
  api.Add("--allow-headers", &options.allow_headers, "headers that such pages may send");
  api.Add("--allow-credentials", &options.allow_credentials, "let such pages send cookies and credentials");
  api.Add("--max-connections", &options.http.max_connections, "connections at once; more get 503", {1, 1 << 20});
  api.Add("--idle-timeout", &options.http.idle_timeout_seconds,
          "seconds after which a connection without a request is closed", {1, 86400});
  api.Add("--root-path", &options.root_path,
          "path under which a proxy shows the server, /ingot, whether it passes it on or takes it off");
  api.AddBytes("--max-body-size", &flags->max_body_bytes, "largest request [16MiB]");
  api.AddBytes("--max-body-memory", &flags->max_body_memory,
               "all requests that are being read; more get 503. At least --max-body-size [1GiB]");
  api.Add("--allow-terminate-by-client", &options.allow_terminate,
          "POST /terminate stops the server, with an admin key");
}

void AddAnswerLimits(Flags& api, ServeFlags* flags) {
  server::ApiServerOptions& options = flags->api;
  api.Add("--max-queue", &flags->model.options.max_queue, "requests that wait for a slot; more get 429");
  api.Add("--max-output-len", &options.max_output_len,
          "longest answer a request may ask for; 0: what the context leaves", {0, 1 << 30});
  api.Add("--text-threads", &flags->model.options.text_threads,
          "threads for templates and tokenizing, and as many that turn ids into text");
  api.Add("--sse-keep-alive", &options.answers.ping_seconds, "seconds between pings of a silent stream; 0: none",
          {0, 3600});
  api.Add("--always-include-usage", &options.answers.always_include_usage, "report the usage in every stream");
  api.Add("--tp", &flags->tp, "devices to split a layer over");
  api.Add("--drain-timeout", &flags->drain_timeout, "seconds that running requests get when the server is stopped",
          {0, 86400});
}

void DeclareServe(Flags& root) {
  Flags& serve = root.Command("serve", "Serve a model");
  Flags& api = serve.Command("api_server", "An OpenAI-compatible REST server");
  serve.Example("ingot serve smollm2    # short for: ingot serve api_server smollm2");
  DeclareServeTriton(serve);
  const auto flags = std::make_shared<ServeFlags>();
  AddModelFlags(api, &flags->model);
  api.Add("--model-name", &flags->model_name, "the model's name in requests; default: MODEL without its folders");
  AddAccessFlags(api, flags.get());
  AddAnswerLimits(api, flags.get());
  server::ApiServerOptions& options = flags->api;
  api.Add("--session-db", &options.sessions.db, "a file that keeps sessions across restarts");
  api.Add("--max-sessions", &options.sessions.max_sessions, "sessions that are kept; more are refused", {1, 1 << 24});
  api.Add("--session-ttl", &options.sessions.ttl_seconds,
          "seconds after which an unused session is forgotten; 0: never", {0, 0x1p32});
  api.AddChoice("--metrics-compat", &flags->metrics_compat, {"", "vllm", "lmdeploy", "both"},
                "names of others beside our own at /metrics");
  api.AddChoice("--log-format", &flags->log_format, {"text", "json"},
                "how log lines are written; there is one a request, unless --log-level is above info");
  api.Add("--log-file", &flags->log_file, "a file for log lines instead of stderr; SIGUSR1 opens it again");
  api.Add(
      "--flight-recorder", &flags->model.options.flight_recorder,
      "file for what the engine did last, written at a stall or a crash [ingot-flight-PID.txt with temporary files]");
  api.Add("--disable-docs", &flags->disable_docs, "no /openapi.json and no pages");
  api.Add("--disable-fastapi-docs", &flags->disable_docs, "the same, as LMDeploy and vLLM call it");
  api.Example("ingot serve api_server smollm2");
  api.Example("ingot serve api_server InternLM/internlm-chat-7b --model-name internlm-chat-7b --server-port 8080");
  api.OnRun([flags] { return Serve(*flags); });
  DeclareServeGradio(serve);
}

}  // namespace ingot::cli
