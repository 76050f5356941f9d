// What commands that talk to a server share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli.h"
#include "client/openai_client.h"
#include "common.h"

namespace ingot::cli {

struct ServerFlags {
  std::string api_key;     // "": OPENAI_API_KEY
  std::string model_name;  // "": the first that the server lists
  std::vector<std::string> headers;
  std::string ca_file;
  bool insecure = false;
  double timeout = 600;
};
// --api-key, --header, --cacert, --insecure, --timeout.
void AddServerFlags(Flags& flags, ServerFlags* server);

Result<std::unique_ptr<client::HttpClient>> ConnectServer(const std::string& url, const ServerFlags& server);
// The error with what helps, in terms of the flags.
Status WithAdvice(const Status& status, const ServerFlags& server);
// --model-name, or what the server lists first.
Result<std::string> ChooseModel(client::HttpClient& http, const ServerFlags& server);

}  // namespace ingot::cli
