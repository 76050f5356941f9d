#include "server/native/tokens.h"

#include "base/json.h"
#include "server/answers/messages.h"
#include "server/openai/wire.h"
#include "tokenizer/tokenizer.h"

namespace ingot::server {
namespace {

void RespondError(Exchange& exchange, const Status& status, const char* param) { Refuse(exchange, {param, status}); }

}  // namespace

void Encode(const ServerContext& context, const Schema& schema, const std::shared_ptr<Exchange>& exchange) {
  const auto body = ReadBody(*exchange, schema);
  if (!body) return;
  const ServedModel* model = ModelOf(context, *exchange, *body);
  if (model == nullptr) return;
  const Fields fields(*body);
  const boost::json::value& input = *fields.Find("input");
  std::string ids, lengths;
  for (const std::string& text : ToTexts(input)) {
    llm::Request request{.add_special_tokens = fields.Bool("add_bos", true)};
    if (fields.Bool("do_preprocess", false)) {
      request.messages = {{{"role", "user"}, {"content", text}}};
    } else {
      request.prompt = text;
    }
    const auto tokens = model->llm.Tokenize(request);
    if (!tokens) return RespondError(*exchange, tokens.error(), "input");
    if (!ids.empty()) ids += ',', lengths += ',';
    AppendIds(ids, *tokens);
    lengths += std::to_string(tokens->size());
  }
  const bool is_list = input.is_array();
  exchange->Respond({.body = fmt::format(R"({{"input_ids":{},"length":{}}})", is_list ? "[" + ids + "]" : ids,
                                         is_list ? "[" + lengths + "]" : lengths)});
}

void Tokenize(const ServerContext& context, const Schema& schema, const std::shared_ptr<Exchange>& exchange) {
  const auto body = ReadBody(*exchange, schema);
  if (!body) return;
  const ServedModel* model = ModelOf(context, *exchange, *body);
  if (model == nullptr) return;
  const Fields fields(*body);
  llm::Request request{.prompt = fields.Text("prompt"), .add_special_tokens = fields.Bool("add_special_tokens", true)};
  if (auto error = ReadTemplateOptions(fields, &request)) return Refuse(*exchange, *error);
  if (const auto* messages = fields.Find("messages")) {
    if (auto error = ReadMessages(*messages, "messages", model->llm, &request)) return Refuse(*exchange, *error);
  }
  const auto tokens = model->llm.Tokenize(request);
  if (!tokens) return RespondError(*exchange, tokens.error(), fields.Has("prompt") ? "prompt" : "messages");
  std::string out =
      fmt::format(R"({{"count":{},"max_model_len":{},"tokens":)", tokens->size(), model->llm.session_len());
  AppendIds(out, *tokens);
  out += R"(,"token_strs":)";
  if (fields.Bool("return_token_strs", false)) {
    for (size_t i = 0; i < tokens->size(); ++i) {
      out += i == 0 ? '[' : ',';
      AppendJsonString(out, model->llm.tokenizer().IdToToken((*tokens)[i]));
    }
    out += tokens->empty() ? "[]" : "]";
  } else {
    out += "null";
  }
  exchange->Respond({.body = out + "}"});
}

void Detokenize(const ServerContext& context, const Schema& schema, const std::shared_ptr<Exchange>& exchange) {
  const auto body = ReadBody(*exchange, schema);
  if (!body) return;
  const ServedModel* model = ModelOf(context, *exchange, *body);
  if (model == nullptr) return;
  const Fields fields(*body);
  std::string out = R"({"prompt":)";
  AppendJsonString(out, model->llm.tokenizer().Decode(fields.Ids("tokens"), /*skip_special_tokens=*/false));
  exchange->Respond({.body = out + "}"});
}

}  // namespace ingot::server
