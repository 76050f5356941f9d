#include "remote.h"

#include "base/env.h"

namespace ingot::cli {
void AddServerFlags(Flags& flags, ServerFlags* server) {
  flags.Add("--api-key", &server->api_key, "the server's API key; default: OPENAI_API_KEY");
  flags.Add("--header", &server->headers, "'Name: value' to send with every request; may be repeated");
  flags.Add("--cacert", &server->ca_file, "a PEM file of certificates to trust in addition to the system's");
  flags.Add("--insecure", &server->insecure, "accept any certificate of the server");
  flags.Add("--timeout", &server->timeout, "seconds without data after which a request fails");
}

Result<std::unique_ptr<client::HttpClient>> ConnectServer(const std::string& url, const ServerFlags& server) {
  if (!(server.timeout > 0)) return InvalidArgument("--timeout {} is not above 0", server.timeout);
  client::OpenAiServer target{
      .base_url = url,
      .api_key = server.api_key.empty() ? GetEnv("OPENAI_API_KEY").value_or("") : server.api_key,
      .ca_file = server.ca_file,
      .insecure = server.insecure,
      .timeout_seconds = server.timeout};
  for (const std::string& header : server.headers) {
    const size_t colon = header.find(':');
    const bool is_whole = colon != std::string::npos && colon > 0 && header.find_first_of("\r\n") == std::string::npos;
    if (!is_whole) return InvalidArgument("--header '{}' is not 'Name: value'", header);
    const size_t value = std::min(header.find_first_not_of(' ', colon + 1), header.size());
    target.headers.emplace_back(header.substr(0, colon), header.substr(value));
  }
  return client::Connect(target);
}

Status WithAdvice(const Status& status, const ServerFlags& server) {
  const bool has_key = !server.api_key.empty() || GetEnv("OPENAI_API_KEY");
  std::string advice;
  if (status.field() == "url") advice = "is the server running at this address?";
  if (status.field() == "api_key")
    advice = has_key ? "the key of --api-key (or OPENAI_API_KEY) is not one that it takes"
                     : "give the server's key with --api-key or as OPENAI_API_KEY";
  if (status.field() == "ca_file")
    advice = "--cacert FILE trusts the authority that signed its certificate, --insecure any";
  return advice.empty() ? status : Status(status.code(), fmt::format("{}; {}", status.message(), advice));
}

Result<std::string> ChooseModel(client::HttpClient& http, const ServerFlags& server) {
  if (!server.model_name.empty()) return server.model_name;
  const auto names = client::ListModels(http);
  if (!names) {
    const Status& error = names.error();
    const bool answered = error.code() == Code::kNotFound || error.code() == Code::kInvalidArgument;
    if (!answered || !error.field().empty()) return Error(WithAdvice(error, server));
    return Error(
        Status(error.code(),
               fmt::format("the server does not list its models ({}); name one with --model-name", error.message())));
  }
  if (names->empty()) return NotFound("the server lists no model; name one with --model-name");
  if (names->size() > 1) {
    Say("the server has {}; --model-name chooses, the first is taken\n", fmt::join(*names, ", "));
  }
  return names->front();
}

}  // namespace ingot::cli
