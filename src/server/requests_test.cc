// What the routes take: the schemas, and what becomes of a body that fits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <thread>

#include "llm/test_llm.h"
#include "server/api_server.h"
#include "server/openapi.h"
#include "server/test_client.h"

namespace ingot::server {
namespace {

using ::testing::HasSubstr;

class RequestsTest : public ::testing::Test {
 protected:
  using Requests = tl::expected<std::vector<llm::Request>, FieldError>;
  Requests Read(answers::Reader read, const Schema& schema, const std::string& body) {
    auto json = answers::ParseBody(body, schema);
    if (!json) return tl::unexpected(json.error());
    auto prepared = read(Fields(*json), model_, {});
    if (!prepared) return tl::unexpected(FieldError{prepared.error().field(), prepared.error()});
    for (const llm::Request& request : prepared->question.requests) {
      if (request.token_ids.size() > 1000) continue;
      const auto tokens = fake_.llm->Tokenize(request);  // looks at what no schema can say
      if (!tokens) return tl::unexpected(FieldError{tokens.error().field(), tokens.error()});
    }
    return prepared->question.requests;
  }
  tl::expected<llm::Request, FieldError> Chat(const std::string& body) {
    auto requests = Read(answers::ReadChat, schemas_.chat_request, body);
    if (!requests) return tl::unexpected(requests.error());
    return requests->front();
  }
  Requests Completion(const std::string& body) {
    return Read(answers::ReadCompletion, schemas_.completion_request, body);
  }
  const llm::FakeLlm fake_ = llm::MakeFakeLlm();
  const answers::ModelLimits limits_{"m", fake_.llm->session_len(), llm::ByteTokenizer::kVocab, 0};
  const ApiSchemas schemas_{limits_};
  const ServedModel model_{*fake_.llm, "m", 0, limits_};
};

std::string WithMessages(const std::string& fields) {
  return R"({"messages":[{"role":"user","content":"hi"}])" + (fields.empty() ? "" : "," + fields) + "}";
}

TEST_F(RequestsTest, TakeEveryField) {
  const auto request = Chat(WithMessages(
      R"("model":"m","temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.1,"repetition_penalty":1.1,"presence_penalty":-1,
      "frequency_penalty":2,"seed":-3,"max_tokens":5,"max_completion_tokens":6,"n":2,"stop":["a","bc"],"stop_token_ids":[7],
      "logprobs":true,"top_logprobs":3,"ignore_eos":true,"min_tokens":1,"stream":true,"stream_options":{"include_usage":true},
      "user":"u","unknown":{},"chat_template_kwargs":{"enable_thinking":false},"tools":[],"logit_bias":{"7":-2.5},
      "response_format":{"type":"text"},"tool_choice":null,"bad_words":["x"],"priority":3,"timeout":2.5,"cache_salt":"s")"));
  ASSERT_TRUE(request) << request.error().status.message();
  EXPECT_EQ(request->sampling.temperature, 0.5);
  EXPECT_EQ(request->sampling.top_k, 40);
  EXPECT_EQ(request->sampling.seed, -3);
  EXPECT_EQ(request->logit_bias, (std::vector<sampling::LogitBias>{{7, -2.5}}));
  EXPECT_EQ(request->max_tokens, 6);
  EXPECT_EQ(request->n, 2);
  EXPECT_EQ(request->stop, (std::vector<std::string>{"a", "bc"}));
  EXPECT_EQ(request->stop_token_ids, std::vector<int32_t>{7});
  EXPECT_EQ(request->logprobs, 3);
  EXPECT_EQ(request->bad_words, std::vector<std::string>{"x"});
  EXPECT_EQ(request->priority, 3);
  EXPECT_EQ(request->deadline_seconds, 2.5);
  EXPECT_EQ(request->cache_salt, "s");
  EXPECT_TRUE(request->ignore_eos);
  EXPECT_FALSE(request->template_kwargs.at("enable_thinking").as_bool());
}

TEST_F(RequestsTest, KeepDefaultsForWhatIsAbsentOrNull) {
  const auto request = Chat(WithMessages(R"("temperature":null,"max_tokens":null,"stop":null,"stream":null)"));
  ASSERT_TRUE(request) << request.error().status.message();
  EXPECT_EQ(request->sampling.temperature, fake_.llm->default_sampling().temperature);
  EXPECT_FALSE(request->max_tokens);
}

TEST_F(RequestsTest, TakeContentPartsAndTheDeveloperRole) {
  const auto request = Chat(
      R"({"messages":[{"role":"developer","content":[{"type":"text","text":"x"}]},{"role":"user","content":null}]})");
  ASSERT_TRUE(request) << request.error().status.message();
  EXPECT_EQ(request->messages[0].at("role"), "system");
  EXPECT_EQ(request->messages[1].at("content"), "");
}

TEST_F(RequestsTest, PromptsComeInFourForms) {
  EXPECT_EQ((*Completion(R"({"prompt":"ab"})"))[0].prompt, "ab");
  EXPECT_EQ(Completion(R"({"prompt":["ab","c"]})")->size(), 2u);
  EXPECT_EQ((*Completion(R"({"prompt":[1,2]})"))[0].token_ids, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ((*Completion(R"({"prompt":[[1],[2,3]]})"))[1].token_ids, (std::vector<int32_t>{2, 3}));
  for (const char* bad : {R"({"prompt":[]})", R"({"prompt":[1,"a"]})", R"({"prompt":""})", R"({"prompt":[[]]})",
                          R"({"prompt":[260]})", R"({"prompt":[-1]})", R"({"prompt":{}})", "{}"}) {
    const auto refused = Completion(bad);
    ASSERT_FALSE(refused) << bad;
    EXPECT_THAT(refused.error().param, ::testing::StartsWith("prompt"));
  }
  EXPECT_FALSE(Completion(R"({"prompt":["a","b","c","d","e"],"n":128})"));
  const auto echoed = Completion(R"({"prompt":"ab","echo":true,"logprobs":2})");
  EXPECT_EQ((*echoed)[0].prompt_logprobs, 2);
}

TEST_F(RequestsTest, CallsOfToolsThatTheTemplateWouldNotShowAreRefused) {
  const auto with = [&](const std::string& calls) {
    return Chat(R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":)" + calls + "}]}");
  };
  const auto refused = with(R"([{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}])");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().param, "messages[1].tool_calls");
  EXPECT_EQ(refused.error().status.code(), Code::kUnsupported);
  EXPECT_EQ((*with("[]")).messages[1].at("content"), "");
  EXPECT_EQ(with("null").error().param, "messages[1].content");
}

struct Bad {
  const char* fields;
  const char* param;
  const char* message;
};
class BadRequestsTest : public RequestsTest, public ::testing::WithParamInterface<Bad> {};
TEST_P(BadRequestsTest, NameTheField) {
  const auto request = Chat(WithMessages(GetParam().fields));
  ASSERT_FALSE(request);
  EXPECT_EQ(request.error().param, GetParam().param);
  EXPECT_THAT(request.error().status.message(), HasSubstr(GetParam().message));
}
INSTANTIATE_TEST_SUITE_P(
    All, BadRequestsTest,
    ::testing::Values(Bad{R"("messages":[])", "messages", "1…"},
                      Bad{R"("messages":[{"role":"king","content":"x"}])", "messages[0].role", "king"},
                      Bad{R"("messages":[{"role":"user"}])", "messages[0].content", "missing"},
                      Bad{R"("messages":[{"role":"user","content":[{"type":"image_url"}]}])",
                          "messages[0].content[0].type", "text"},
                      Bad{R"("temperature":3)", "temperature", "0…2"},
                      Bad{R"("temperature":"1")", "temperature", "a number"},
                      Bad{R"("temperature":1e999)", "temperature", "is not a finite number, outside 0…2"},
                      Bad{R"("max_tokens":-1e999)", "max_tokens", "is not a finite number, outside 1…"},
                      Bad{R"("top_p":-0.1)", "top_p", "0…1"}, Bad{R"("n":0)", "n", "1…128"},
                      Bad{R"("max_tokens":0)", "max_tokens", "1…"}, Bad{R"("max_tokens":1.5)", "max_tokens", "whole"},
                      Bad{R"("stop":[""])", "stop[0]", "1…1024"}, Bad{R"("stop":5)", "stop", "string"},
                      Bad{R"("top_logprobs":2)", "top_logprobs", "logprobs"},
                      Bad{R"("logprobs":true,"top_logprobs":21)", "top_logprobs", "0…20"},
                      Bad{R"("tools":[{"type":"function"}])", "tools", "not supported"},
                      Bad{R"("tool_choice":"required")", "tool_choice", "not supported"},
                      Bad{R"("response_format":{"type":"json_object"})", "response_format.type", "text"},
                      Bad{R"("audio":{"voice":"x"})", "audio", "not supported"},
                      Bad{R"("logit_bias":{"260":1})", "logit_bias", "0…259"},
                      Bad{R"("logit_bias":{"1":101})", "logit_bias.1", "100"},
                      Bad{R"("min_tokens":9,"max_tokens":3)", "min_tokens", "above"},
                      Bad{R"("stream":"yes")", "stream", "true or false"}));

TEST_F(RequestsTest, BodiesOfTooManyPartsAreRefused) {
  const auto body = [](size_t parts) {  // the object and two keys, a list and the rest
    std::string text = R"({"prompt":[1],"x":[1)";
    for (size_t i = 5; i < parts; ++i) text += ",[]";
    return text + "]}";
  };
  EXPECT_TRUE(Completion(body(answers::kMaxBodyParts)));
  const auto refused = Completion(body(answers::kMaxBodyParts + 1));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "invalid_json");
  EXPECT_THAT(refused.error().status.message(), HasSubstr("more than 1048576 keys"));
  std::string ids = R"({"prompt":[1)";
  for (size_t i = 1; i < answers::kMaxText; ++i) ids += ",1";
  EXPECT_EQ((*Completion(ids + "]}"))[0].token_ids.size(), answers::kMaxText);
}

TEST_F(RequestsTest, BodiesThatAreNoObjectsAreRefused) {
  for (const char* body : {"", "{", "[]", "1", "\"x\"", "{\"messages\":\"\xff\"}"}) EXPECT_FALSE(Chat(body)) << body;
}

// Every route by way of the router: none without a key but those that say so.
TEST_F(RequestsTest, RoutesAskForTheirKeys) {
  ApiServerOptions options{.http = {.port = 0}, .model_name = "m", .version = "1"};
  options.keys = {.keys = {"secret"}, .admin_keys = {"root"}};
  options.allow_terminate = true;
  const auto server = ApiServer::Start(*fake_.llm, options);
  ASSERT_TRUE(server.has_value()) << server.error().ToString();
  const auto status = [&](const Router::Route& route, const std::string& headers) {
    TestClient client((*server)->port());
    std::string path = route.path;
    if (const size_t open = path.find('{'); open != std::string::npos)
      path.replace(open, path.find('}') - open + 1, "m");
    client.Send(route.method + " " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n" + headers + "\r\n");
    return client.ReadUntil("\r\n").substr(9, 3);
  };
  int open = 0;
  for (const Router::Route& route : (*server)->router().routes()) {
    SCOPED_TRACE(route.method + " " + route.path);
    if (route.info.access == Access::kOpen) {
      ++open;
      EXPECT_EQ(status(route, ""), "200");
      continue;
    }
    EXPECT_EQ(status(route, ""), "401");
    EXPECT_EQ(status(route, "Authorization: Bearer wrong\r\n"), "401");
    EXPECT_EQ(status(route, "Authorization: Bearer secretx\r\n"), "401");
    if (route.info.access == Access::kAdmin) {
      EXPECT_EQ(status(route, "Authorization: Bearer secret\r\n"), "403");
      EXPECT_NE(status(route, "Authorization: Bearer root\r\n"), "403");
      continue;
    }
    EXPECT_NE(status(route, "Authorization: Bearer secret\r\n"), "401");
    EXPECT_NE(status(route, "X-Api-Key: secret\r\n"), "401");
    const std::string basic = "Authorization: Basic YW55Ym9keTpzZWNyZXQ=\r\n";
    EXPECT_NE(status(route, basic), "401");
    // A browser sends the password it knows for any page, but another site's may only read (and is not shown what).
    EXPECT_NE(status(route, basic + "Origin: http://x\r\n"), "401");
    EXPECT_NE(status(route, basic + "Sec-Fetch-Site: same-origin\r\nOrigin: http://proxy\r\n"), "401");
    for (const char* other : {"Origin: http://evil\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"}) {
      EXPECT_EQ(status(route, basic + other) == "401", route.method != "GET") << other;
    }
  }
  EXPECT_EQ(open, 7);  // health, as Ingot, llama-server, vLLM and KServe name it
}

// Before the engine's queue there is one for the threads that render and tokenize.
TEST_F(RequestsTest, NoMoreWaitToBeReadThanMayWait) {
  ApiServerOptions options{.http = {.port = 0}, .model_name = "m", .version = "1"};
  options.text_threads = 0;  // nobody takes them
  options.max_queue = 2;
  const auto server = ApiServer::Start(*fake_.llm, options);
  ASSERT_TRUE(server.has_value()) << server.error().ToString();
  const std::string body = WithMessages("");
  const auto post = [&](TestClient& client, const std::string& path) {
    client.Send(fmt::format("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{}", path, body.size(), body));
  };
  TestClient first((*server)->port()), second((*server)->port()), third((*server)->port());
  post(first, "/v1/chat/completions");
  post(second, "/v1/chat/interactive");
  EXPECT_THAT(first.ReadUntil("\r\n", 300), "");
  EXPECT_THAT(second.ReadUntil("\r\n", 300), "");
  for (const char* path : {"/v1/chat/completions", "/tokenize", "/v1/chat/interactive"}) {
    post(third, path);
    const std::string answer = third.ReadResponse();
    EXPECT_THAT(answer, ::testing::StartsWith("HTTP/1.1 429"));
    EXPECT_THAT(answer, HasSubstr("Retry-After: 1\r\n"));
    EXPECT_THAT(answer, HasSubstr("x-ratelimit-limit-requests: 2\r\n"));
    EXPECT_THAT(answer, HasSubstr("\"code\":\"queue_full\""));
  }
  first.Close();
  second.Close();
}

std::string AnswerTo(const ApiServer& server, const std::string& request) {
  TestClient client(server.port());
  client.Send(request + " HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
  return client.ReadResponse();
}

TEST_F(RequestsTest, OnlyHealthIsAnsweredBeforeThereIsAModelAndWhileDraining) {
  using ::testing::AllOf;
  using ::testing::StartsWith;
  const auto server = ApiServer::Listen({.http = {.port = 0}, .model_name = "m", .version = "1"});
  ASSERT_TRUE(server.has_value()) << server.error().ToString();
  const auto refuses_all = [&](const std::string& state, const std::string& retry_after) {
    SCOPED_TRACE(state);
    EXPECT_THAT(AnswerTo(**server, "GET /health/live"), AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("healthy")));
    for (const char* path : {"/health", "/health/ready"}) {
      EXPECT_THAT(AnswerTo(**server, std::string("GET ") + path),
                  AllOf(StartsWith("HTTP/1.1 503"), HasSubstr("Retry-After: " + retry_after),
                        HasSubstr("\"status\":\"" + state + "\"")));
    }
    for (const char* request : {"GET /v1/models", "POST /v1/chat/completions", "GET /", "GET /none"}) {
      EXPECT_THAT(AnswerTo(**server, request),
                  AllOf(StartsWith("HTTP/1.1 503"), HasSubstr("Retry-After: " + retry_after), HasSubstr("\"error\":{"),
                        HasSubstr("\"code\":\"" + state + "\"")))
          << request;
    }
  };
  refuses_all("initializing", "5\r\n");
  EXPECT_THAT(AnswerTo(**server, "GET /metrics"), StartsWith("HTTP/1.1 503"));
  ASSERT_TRUE((*server)->Serve(*fake_.llm, 1.5).ok());
  for (const char* path : {"/health", "/health/live", "/health/ready", "/v1/models"}) {
    EXPECT_THAT(AnswerTo(**server, std::string("GET ") + path), StartsWith("HTTP/1.1 200")) << path;
  }
  EXPECT_THAT(AnswerTo(**server, "GET /metrics"), HasSubstr("1.5"));

  // Something runs, so that there is something to wait for.
  std::promise<void> go_on;
  fake_.model->on_forward = [&, held = go_on.get_future().share()](const ops::StepBatch&) { held.wait(); };
  TestClient busy((*server)->port());
  const std::string body = R"({"prompt":"ab","max_tokens":1})";
  busy.Send(fmt::format("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{}", body.size(), body));
  while (fake_.llm->stats().running == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  std::thread stopper([&] { (*server)->Stop(3600); });
  while (AnswerTo(**server, "GET /health").find("draining") == std::string::npos) {
  }
  refuses_all("draining", "60\r\n");  // no more than that, whatever is left
  EXPECT_THAT(AnswerTo(**server, "GET /metrics"), HasSubstr("ingot_num_requests_running{model_name=\"m\"} 1"));
  go_on.set_value();
  EXPECT_THAT(busy.ReadResponse(), StartsWith("HTTP/1.1 200"));
  stopper.join();
  EXPECT_FALSE(TestClient((*server)->port()).connected());
}

std::string WithBody(const std::string& path, const std::string& body, const std::string& headers = "") {
  return fmt::format("POST {} HTTP/1.1\r\nHost: x\r\n{}Content-Length: {}\r\n\r\n{}", path, headers, body.size(), body);
}

TEST_F(RequestsTest, OnlyAdministratorsPassOthers) {
  using ::testing::AllOf;
  using ::testing::StartsWith;
  for (const bool asks : {true, false}) {
    ApiServerOptions options{.http = {.port = 0}, .model_name = "m", .version = "1"};
    if (asks) options.keys = {.keys = {"secret"}, .admin_keys = {"root"}};
    const auto server = ApiServer::Start(*fake_.llm, options);
    ASSERT_TRUE(server.has_value());
    const auto ask = [&](const char* key, const char* path, int priority) {
      TestClient client((*server)->port());
      client.Send(WithBody(path, fmt::format(R"({{"prompt":"a","max_tokens":1,"priority":{}}})", priority),
                           fmt::format("X-Api-Key: {}\r\n", key)));
      return client.ReadResponse();
    };
    for (const char* path : {"/v1/completions", "/generate", "/v1/chat/interactive"}) {
      EXPECT_THAT(ask("secret", path, 1), StartsWith("HTTP/1.1 200"));
      EXPECT_THAT(ask("root", path, -1000), StartsWith("HTTP/1.1 200"));
      const std::string passing = ask("secret", path, -1);
      EXPECT_THAT(passing, StartsWith(asks ? "HTTP/1.1 400" : "HTTP/1.1 200"));
      if (asks) EXPECT_THAT(passing, AllOf(HasSubstr(R"("param":"priority")"), HasSubstr("--admin-keys")));
    }
  }
}

// Parsing takes long, and the I/O thread has none: with no text thread nothing that has a body goes on.
TEST_F(RequestsTest, BodiesAreReadByTextThreadsAlone) {
  ApiServerOptions options{.http = {.port = 0}, .model_name = "m", .version = "1"};
  options.text_threads = 0;
  options.max_queue = 1;
  const auto server = ApiServer::Start(*fake_.llm, options);
  ASSERT_TRUE(server.has_value());
  const auto is_refused = [](TestClient& client) { return client.ReadUntil("\r\n", 100).starts_with("HTTP/1.1 429"); };
  TestClient one((*server)->port()), two((*server)->port());
  for (TestClient* client : {&one, &two}) client->Send(WithBody("/tokenize", R"({"prompt":"a"})"));
  while (!is_refused(one) && !is_refused(two)) {  // then the other one waits
  }
  int tried = 0;
  for (const Router::Route& route : (*server)->router().routes()) {
    if (route.info.request == nullptr) continue;
    ++tried;
    std::string path = route.path;
    if (const size_t open = path.find('{'); open != std::string::npos)
      path.replace(open, path.find('}') - open + 1, "1");
    TestClient client((*server)->port());
    client.Send(WithBody(path, "{}"));
    EXPECT_THAT(client.ReadUntil("\r\n"), ::testing::StartsWith("HTTP/1.1 429")) << path;
  }
  EXPECT_GE(tried, 8);
}

TEST_F(RequestsTest, HealthTellsOfAnEngineThatMakesNoProgress) {
  ApiServerOptions options{.http = {.port = 0}, .model_name = "m", .version = "1"};
  options.stalled_seconds = 0.2;
  const auto server = ApiServer::Start(*fake_.llm, options);
  ASSERT_TRUE(server.has_value());
  std::promise<void> go_on;
  fake_.model->on_forward = [&, held = go_on.get_future().share()](const ops::StepBatch&) { held.wait(); };
  TestClient busy((*server)->port());
  const std::string body = R"({"prompt":"ab","max_tokens":1})";
  busy.Send(fmt::format("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{}", body.size(), body));
  while (AnswerTo(**server, "GET /health").find("no progress for") == std::string::npos) {
  }
  EXPECT_THAT(AnswerTo(**server, "GET /health"), ::testing::StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(AnswerTo(**server, "GET /health/live"), ::testing::StartsWith("HTTP/1.1 200"));
  go_on.set_value();
  EXPECT_THAT(busy.ReadResponse(), ::testing::StartsWith("HTTP/1.1 200"));
  // It has made progress once the step is over, which may be after its answer has come.
  while (!AnswerTo(**server, "GET /health").starts_with("HTTP/1.1 200")) {
  }
}

TEST_F(RequestsTest, TheDocumentHasEveryRouteAndOnlyThose) {
  const auto server = ApiServer::Start(*fake_.llm, {.http = {.port = 0}, .model_name = "m", .version = "1"});
  ASSERT_TRUE(server.has_value());
  const Router& router = (*server)->router();
  const auto document = ParseJson(OpenApiDocument(router, {"t", "1", "d", false}), "document");
  ASSERT_TRUE(document.has_value()) << document.error().ToString();
  size_t operations = 0, routes = 0;
  for (const auto& path : document->at("paths").get_object()) operations += path.value().get_object().size();
  for (const Router::Route& route : router.routes()) {
    if (route.info.hidden) continue;
    ++routes;
    std::string method = route.method;
    for (char& c : method) c = static_cast<char>(std::tolower(c));
    EXPECT_TRUE(document->at("paths").at(route.path).get_object().contains(method)) << route.path;
  }
  EXPECT_EQ(operations, routes);
  EXPECT_GE(routes, 14u);
}

}  // namespace
}  // namespace ingot::server
