// ingot serve triton MODEL
#include "serve_triton.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/env.h"
#include "base/json_writer.h"
#include "base/text_file.h"
#include "common.h"
#include "triton/model_config.h"

namespace ingot::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMark = "# Written by `ingot serve triton`.";
constexpr size_t kMaxConfigBytes = size_t{1} << 20;

struct TritonFlags {
  std::string model, model_name, repository, tritonserver, backend_directory, address = "127.0.0.1";
  int http_port = 8000, grpc_port = 8001, metrics_port = 8002;
  bool whole_answers = false, no_start = false;
  // Parameters of the backend: what is empty is not written.
  std::string session_len, quant_policy, max_batch_size, cache_max_entry_count, max_queue, max_output_len, session_db,
      num_threads, chat_template;
};

std::vector<triton::RepositoryParameter> ParametersOf(const TritonFlags& flags, const std::string& model) {
  std::vector<triton::RepositoryParameter> parameters = {{"model", model}};
  const std::pair<const char*, const std::string*> given[] = {
      {"session_len", &flags.session_len},       {"quant_policy", &flags.quant_policy},
      {"max_batch_size", &flags.max_batch_size}, {"cache_max_entry_count", &flags.cache_max_entry_count},
      {"max_queue", &flags.max_queue},           {"max_output_len", &flags.max_output_len},
      {"session_db", &flags.session_db},         {"num_threads", &flags.num_threads},
      {"chat_template", &flags.chat_template}};
  for (const auto& [name, value] : given) {
    if (!value->empty()) parameters.push_back({name, *value});
  }
  return parameters;
}

// With the checks of the backend, before the server finds what is wrong.
Status CheckParameters(const std::vector<triton::RepositoryParameter>& parameters) {
  JsonObject json;
  for (const auto& [name, value] : parameters) json.AddJson(name, JsonObject().Add("string_value", value).Text());
  const auto config = triton::ReadModelConfig(JsonObject().AddJson("parameters", json.Text()).Text(), "");
  return config ? Status() : config.error();
}

Status WriteRepository(const fs::path& folder, const std::string& text) {
  std::error_code error;
  const fs::path file = folder / "config.pbtxt";
  if (fs::exists(file, error)) {
    INGOT_ASSIGN_OR_RETURN(const std::string old, ReadTextFile(file.string(), kMaxConfigBytes));
    if (!old.starts_with(kMark))
      return Conflict("{} is there, and not of `ingot serve triton`; name another --model-repository", file.string());
  }
  fs::create_directories(folder / "1", error);
  if (error) return Io("cannot make {}: {}", (folder / "1").string(), error.message());
  std::ofstream out(file);
  out << text;
  out.close();
  if (!out) return Io("cannot write {}", file.string());
  return {};
}

fs::path OwnFolder() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error).parent_path();
}

// The folder that holds ingot/libtriton_ingot.so: of the build, or of an installation.
Result<std::string> FindBackends(const std::string& named) {
  std::vector<fs::path> places;
  if (!named.empty()) {
    places = {named};
  } else {
    places = {OwnFolder() / "../lib/triton", OwnFolder() / ".." / INGOT_LIBDIR / "triton"};
  }
  for (const fs::path& place : places) {
    std::error_code error;
    if (fs::exists(place / "ingot/libtriton_ingot.so", error)) return fs::canonical(place, error).string();
  }
  return NotFound("there is no ingot/libtriton_ingot.so in {}; name its folder with --backend-directory",
                  places.front().lexically_normal().string());
}

// The one of nvidia-pytriton in the Python environment whose bin folder this is.
std::optional<std::string> PytritonBeside(const fs::path& bin) {
  std::error_code error;
  for (fs::directory_iterator it(bin / "../lib", error), end; !error && it != end; it.increment(error)) {
    const fs::path server = it->path() / "site-packages/pytriton/tritonserver/bin/tritonserver";
    std::error_code ignored;
    if (fs::exists(server, ignored)) return server.lexically_normal().string();
  }
  return std::nullopt;
}

Result<std::string> FindTritonserver(const std::string& named) {
  if (!named.empty()) {
    if (access(named.c_str(), X_OK) == 0) return named;
    return NotFound("--tritonserver {}: {}", named, std::strerror(errno));
  }
  std::vector<fs::path> folders;
  std::string_view path = std::getenv("PATH") != nullptr ? std::getenv("PATH") : "";
  if (const auto venv = GetEnv("VIRTUAL_ENV")) folders.push_back(fs::path(*venv) / "bin");
  while (!path.empty()) {
    const size_t end = std::min(path.find(':'), path.size());
    folders.emplace_back(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  folders.emplace_back("/opt/tritonserver/bin");
  if (const auto home = GetEnv("HOME")) folders.push_back(fs::path(*home) / ".local/bin");
  for (const fs::path& folder : folders) {
    if (access((folder / "tritonserver").c_str(), X_OK) == 0) return (folder / "tritonserver").string();
    if (const auto beside = PytritonBeside(folder)) return *beside;
  }
  return NotFound(
      "there is no tritonserver here. `pip install nvidia-pytriton` has one, and so have NVIDIA's containers "
      "(nvcr.io/nvidia/tritonserver); then run this again, or name it with --tritonserver");
}

Status StartServer(const TritonFlags& flags, const std::string& server, const std::string& backends) {
  std::vector<std::string> words = {server,
                                    "--model-repository=" + flags.repository,
                                    "--backend-directory=" + backends,
                                    "--http-address=" + flags.address,
                                    "--grpc-address=" + flags.address,
                                    "--metrics-address=" + flags.address,
                                    fmt::format("--http-port={}", flags.http_port),
                                    fmt::format("--grpc-port={}", flags.grpc_port),
                                    fmt::format("--metrics-port={}", flags.metrics_port)};
  Say("starting {}\n", server);
  execv(server.c_str(), ArgvOf(words).data());
  return Io("cannot start {}: {}", server, std::strerror(errno));
}

Status ServeTriton(const TritonFlags& flags) {
  INGOT_ASSIGN_OR_RETURN(const std::string found, FindModel(flags.model));
  std::error_code error;
  const std::string model = fs::absolute(found, error).lexically_normal().string();
  const std::string name = flags.model_name.empty() ? fs::path(flags.model).stem().string() : flags.model_name;
  const auto parameters = ParametersOf(flags, model);
  INGOT_RETURN_IF_ERROR(CheckParameters(parameters));
  const fs::path folder = fs::path(flags.repository) / name;
  INGOT_RETURN_IF_ERROR(WriteRepository(folder, triton::ConfigText(name, parameters, !flags.whole_answers)));
  Say("wrote {}\n", (folder / "config.pbtxt").string());
  if (flags.no_start) return {};
  INGOT_ASSIGN_OR_RETURN(const std::string backends, FindBackends(flags.backend_directory));
  INGOT_ASSIGN_OR_RETURN(const std::string server, FindTritonserver(flags.tritonserver));
  Say("try it, once the server says that it has started:\n\n"
      "  curl http://127.0.0.1:{}/v2/models/{}/generate -d '{{\"text_input\": \"The capital of France is\", "
      "\"max_tokens\": 16}}'\n\n",
      flags.http_port, name);
  return StartServer(flags, server, backends);
}

}  // namespace

void DeclareServeTriton(Flags& serve) {
  Flags& command = serve.Command("triton", "Triton Inference Server, with Ingot as its backend");
  const auto flags = std::make_shared<TritonFlags>();
  command.Positional("MODEL", &flags->model, "a Hugging Face folder, a GGUF file, or an alias (smollm2)");
  command.Add("--model-repository", &flags->repository, "Triton's model repository; it is made where there is none");
  command.Add("--model-name", &flags->model_name, "the model's name in the repository; default: MODEL's last part");
  command.Add("--tritonserver", &flags->tritonserver, "the server to start; default: one that is found");
  command.Add("--backend-directory", &flags->backend_directory, "the folder with ingot/libtriton_ingot.so");
  command.Add("--server-name", &flags->address, "address to listen on; 0.0.0.0: every interface");
  command.Add("--http-port", &flags->http_port, "port of HTTP", {1, 65535});
  command.Add("--grpc-port", &flags->grpc_port, "port of gRPC", {1, 65535});
  command.Add("--metrics-port", &flags->metrics_port, "port of Triton's metrics", {1, 65535});
  command.Add("--whole-answers", &flags->whole_answers,
              "answer each request once, so that /infer and ModelInfer work, but not in pieces");
  command.Add("--no-start", &flags->no_start, "write the repository and start no server");
  command.Add("--session-len", &flags->session_len, "tokens of prompt and answer");
  command.Add("--quant-policy", &flags->quant_policy, "bits of the KV cache: 0 (16), 8 or 4");
  command.Add("--max-batch-size", &flags->max_batch_size, "requests that run at once");
  command.Add("--cache-max-entry-count", &flags->cache_max_entry_count, "share of free memory for the KV cache");
  command.Add("--max-queue", &flags->max_queue, "requests that wait for a slot");
  command.Add("--max-output-len", &flags->max_output_len, "longest answer a request may ask for");
  command.Add("--session-db", &flags->session_db, "a file that keeps sessions across restarts");
  command.Add("--threads", &flags->num_threads, "threads of the engine");
  command.Add("--chat-template", &flags->chat_template, "for turns of sessions: a built-in's name, or a Jinja file");
  command.Example("ingot serve triton smollm2 --model-repository models");
  command.OnRun([flags]() -> Status {
    if (flags->repository.empty())
      return InvalidArgument("--model-repository is missing: the folder of Triton's models");
    return ServeTriton(*flags);
  });
}

}  // namespace ingot::cli
