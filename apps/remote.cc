#include "remote.h"

#include "base/env.h"
#include "base/json.h"

namespace ingot::cli {
namespace {

void AppendField(std::string& out, const char* name, std::optional<double> value) {
  if (!value) return;
  out += fmt::format(",\"{}\":", name);
  AppendJsonNumber(out, *value);
}

void AppendField(std::string& out, const char* name, std::optional<int64_t> value) {
  if (value) out += fmt::format(",\"{}\":{}", name, *value);
}

void AppendField(std::string& out, const char* name, const std::vector<std::string>& texts) {
  if (texts.empty()) return;
  out += fmt::format(",\"{}\":[", name);
  for (size_t i = 0; i < texts.size(); ++i) {
    if (i > 0) out += ',';
    AppendJsonString(out, texts[i]);
  }
  out += ']';
}

// "ID=VALUE" each, as they were typed.
void AppendBias(std::string& out, const std::vector<std::string>& biases) {
  if (biases.empty()) return;
  out += R"(,"logit_bias":{)";
  for (size_t i = 0; i < biases.size(); ++i) {
    const size_t sign = std::min(biases[i].find('='), biases[i].size());
    if (i > 0) out += ',';
    AppendJsonString(out, biases[i].substr(0, sign));
    out += ':';
    AppendJsonNumber(out, std::strtod(biases[i].c_str() + std::min(sign + 1, biases[i].size()), nullptr));
  }
  out += '}';
}

}  // namespace

void AddServerFlags(Flags& flags, ServerFlags* server) {
  flags.Add("--api-key", &server->api_key, "the key that the server asks for; default: OPENAI_API_KEY");
  flags.Add("--header", &server->headers, "'Name: value' to send with every request; may be repeated");
  flags.Add("--cacert", &server->ca_file, "a PEM file of certificates to trust beside the system's");
  flags.Add("--insecure", &server->insecure, "take any certificate of the server's");
  flags.Add("--timeout", &server->timeout, "seconds without a byte after which a request is given up");
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
               fmt::format("the server does not tell its models ({}); name one with --model-name", error.message())));
  }
  if (names->empty()) return NotFound("the server lists no model; name one with --model-name");
  if (names->size() > 1) {
    fmt::print(stderr, "the server has {}; --model-name chooses, the first is taken\n", fmt::join(*names, ", "));
  }
  return names->front();
}

std::string SamplingJson(const SamplingFlags& sampling) {
  std::string out;
  AppendField(out, "temperature", sampling.temperature);
  AppendField(out, "top_k", sampling.top_k);
  AppendField(out, "top_p", sampling.top_p);
  AppendField(out, "min_p", sampling.min_p);
  AppendField(out, "repetition_penalty", sampling.repetition_penalty);
  AppendField(out, "presence_penalty", sampling.presence_penalty);
  AppendField(out, "frequency_penalty", sampling.frequency_penalty);
  AppendField(out, "seed", sampling.seed);
  AppendField(out, "max_tokens", sampling.max_tokens);
  if (sampling.min_tokens != 0) AppendField(out, "min_tokens", std::optional(sampling.min_tokens));
  AppendField(out, "stop", sampling.stop);
  AppendField(out, "bad_words", sampling.bad_words);
  AppendBias(out, sampling.logit_bias);
  if (sampling.ignore_eos) out += R"(,"ignore_eos":true)";
  if (sampling.keep_special_tokens) out += R"(,"skip_special_tokens":false)";
  return out;
}

}  // namespace ingot::cli
