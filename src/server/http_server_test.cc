#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <thread>

#include "server/http_server_fixture.h"
#include "server/test_client.h"

namespace ingot::server {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST_F(HttpServerTest, AnswersSeveralRequestsOnOneConnection) {
  TestClient client(server_->port());
  for (int i = 0; i < 3; ++i) {
    client.Send("GET /hello?x=1 HTTP/1.1\r\nHost: a\r\n\r\n");
    const std::string response = client.ReadResponse();
    EXPECT_THAT(response, StartsWith("HTTP/1.1 200 OK\r\n"));
    EXPECT_THAT(response, HasSubstr("\r\n\r\n\"hello\""));
    EXPECT_THAT(response, HasSubstr("X-Request-Id: "));
  }
}

TEST_F(HttpServerTest, AnswersPipelinedRequestsInOrder) {
  TestClient client(server_->port());
  client.Send("GET /items/a HTTP/1.1\r\nHost: a\r\n\r\nGET /items/b HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(client.ReadResponse(), HasSubstr("/items/a"));
  EXPECT_THAT(client.ReadResponse(), HasSubstr("/items/b"));
}

TEST_F(HttpServerTest, EmptyLinesBeforeARequestAreIgnored) {
  TestClient client(server_->port());
  for (const char* before : {"\r\n", "\r\n\r\n", "\n", ""}) {
    client.Send(std::string(before) + "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_THAT(client.ReadResponse(), StartsWith("HTTP/1.1 200 OK\r\n"));
  }
  client.Send("\r");
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  client.Send("\n");
  client.Send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(client.ReadResponse(), StartsWith("HTTP/1.1 200 OK\r\n"));
}

TEST_F(HttpServerTest, RoutesByMethodAndPath) {
  EXPECT_THAT(Ask("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 404"), HasSubstr("route_not_found")));
  EXPECT_THAT(Ask("POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 405"), HasSubstr("Allow: GET, HEAD\r\n")));
  EXPECT_THAT(Ask("OPTIONS /echo HTTP/1.1\r\nHost: a\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 204"), HasSubstr("Allow: POST")));
  EXPECT_THAT(Ask("GET /items/a%2Fb%20c HTTP/1.1\r\nHost: a\r\n\r\n"), HasSubstr("/items/a/b c"));
  EXPECT_THAT(Ask("GET /items/ HTTP/1.1\r\nHost: a\r\n\r\n"), StartsWith("HTTP/1.1 404"));
}

TEST_F(HttpServerTest, KeepsToTheLetterOfHttp) {
  EXPECT_THAT(Ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), StartsWith("HTTP/1.1 204"));
  EXPECT_THAT(Ask("OPTIONS /hello HTTP/1.1\r\nHost: a\r\n\r\n"), HasSubstr("Allow: GET, HEAD, OPTIONS\r\n"));
  EXPECT_THAT(Ask("GET /hello HTTP/1.1\r\n\r\n"), AllOf(StartsWith("HTTP/1.1 400"), HasSubstr("one Host field")));
  EXPECT_THAT(Ask("GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(Ask("GET /hello HTTP/1.0\r\n\r\n"), StartsWith("HTTP/1.0 200"));
  const auto with_fields = [this](int count) {
    std::string request = "GET /hello HTTP/1.1\r\nHost: a\r\n";
    for (int i = 1; i < count; ++i) request += fmt::format("X-{}: y\r\n", i);
    return Ask(request + "\r\n");
  };
  EXPECT_THAT(with_fields(100), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(with_fields(101), AllOf(StartsWith("HTTP/1.1 431"), HasSubstr("100 fields")));
}

TEST_F(HttpServerTest, AnswersHeadWithoutBody) {
  TestClient client(server_->port());
  client.Send("HEAD /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  bool closed = false;
  const std::string response = client.ReadAll(5000, &closed);
  EXPECT_TRUE(closed);
  EXPECT_THAT(response, HasSubstr("Content-Length: 7"));
  EXPECT_TRUE(response.ends_with("\r\n\r\n")) << response;
}

TEST_F(HttpServerTest, StreamsChunksAndKeepsTheConnection) {
  TestClient client(server_->port());
  for (int i = 0; i < 2; ++i) {
    client.Send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    const std::string response = client.ReadUntil("\r\n0\r\n\r\n");
    EXPECT_THAT(response, HasSubstr("Transfer-Encoding: chunked"));
    EXPECT_THAT(response, HasSubstr("data: 2\n\n"));
  }
}

TEST_F(HttpServerTest, StreamsToHttp10WithoutChunks) {
  TestClient client(server_->port());
  client.Send("GET /stream HTTP/1.0\r\n\r\n");
  bool closed = false;
  const std::string response = client.ReadAll(5000, &closed);
  EXPECT_TRUE(closed);
  EXPECT_TRUE(response.ends_with("\r\n\r\ndata: 0\n\ndata: 1\n\ndata: 2\n\n")) << response;
  EXPECT_THAT(TakeLogLines(), ElementsAre(AllOf(StartsWith("GET /stream 200 "), Not(EndsWith(" left")))));
  EXPECT_FALSE(closed_.WaitFor(0));
}

TEST_F(HttpServerTest, RefusesWhatIsTooLargeOrNoHttp) {
  EXPECT_THAT(Ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n"), StartsWith("HTTP/1.1 413"));
  EXPECT_THAT(Ask("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n" +
                  std::string(1024, 'x') + "\r\n0\r\n\r\n"),
              StartsWith("HTTP/1.1 413"));
  EXPECT_THAT(Ask("GET /hello HTTP/1.1\r\nX: " + std::string(3000, 'x') + "\r\n\r\n"), StartsWith("HTTP/1.1 431"));
  EXPECT_THAT(Ask("nonsense\r\n\r\n"), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(Ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde"), HasSubstr("\r\n\r\nabcde"));
}

TEST_F(HttpServerTest, TellsWhoSendsHalfARequest) {
  for (const char* half : {"GET /hello HTTP/1.1\r\nHo", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab",
                           "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"}) {
    TestClient client(server_->port());
    client.Send(half);
    bool closed = false;
    const std::string answer = client.ReadAll(4000, &closed);
    EXPECT_THAT(answer,
                AllOf(StartsWith("HTTP/1.1 408"), HasSubstr("request_timeout"), HasSubstr("Connection: close")));
    EXPECT_TRUE(closed);
  }
}

std::string Post(size_t length, const std::string& body = "") {
  return fmt::format("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{}", length, body);
}

TEST_F(HttpServerTest, BodiesHaveABoundTogether) {
  options_.body_timeout_seconds = 60;
  options_.max_body_memory = 0;  // as much as one may have: 1000
  Start();
  TestClient first(server_->port());
  first.Send(Post(1000, std::string(800, 'x')));
  WaitForBodyBytes(800);
  const std::string some(300, 'y');
  for (const std::string& request :
       {Post(300), Post(300, some),
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n12c\r\n" + some + "\r\n0\r\n\r\n"}) {
    TestClient second(server_->port());
    second.Send(request);
    bool closed = false;
    EXPECT_THAT(second.ReadAll(5000, &closed),
                AllOf(StartsWith("HTTP/1.1 503"), HasSubstr("Retry-After: "), HasSubstr("body_memory_full"),
                      HasSubstr("--max-body-memory"), HasSubstr("Connection: close")));
    EXPECT_TRUE(closed);
    WaitForBodyBytes(800);
  }
  EXPECT_THAT(Ask(Post(200, std::string(200, 'z'))), StartsWith("HTTP/1.1 200"));
  first.Send(std::string(200, 'x'));
  EXPECT_THAT(first.ReadResponse(), StartsWith("HTTP/1.1 200"));
  WaitForBodyBytes(0);
  EXPECT_THAT(Ask(Post(300, some)), HasSubstr(some));
}

TEST_F(HttpServerTest, GivesBackWhatABodyTook) {
  const std::string half = Post(600, std::string(500, 'x'));
  for (const bool leaves : {true, false}) {  // or gets 408
    TestClient client(server_->port());
    client.Send(half);
    if (leaves) {
      client.Close();
    } else {
      EXPECT_THAT(client.ReadResponse(), StartsWith("HTTP/1.1 408"));
    }
    WaitForBodyBytes(0);
  }
  Ask("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e0\r\n" + std::string(0x3e0, 'x') +
      "\r\n5\r\n");
  WaitForBodyBytes(0);
  TestClient client(server_->port());
  const std::string held = "GET /held HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde";
  client.Send(held);
  auto exchange = TakeHeld();
  EXPECT_EQ(server_->body_bytes(), 5);
  exchange->mutable_request().DropBody();
  EXPECT_EQ(server_->body_bytes(), 0);
  EXPECT_EQ(exchange->request().body, "");
  exchange->Respond({.body = "1"});
  client.ReadResponse();
  client.Send(held);
  exchange = TakeHeld();
  EXPECT_EQ(server_->body_bytes(), 5);
  server_->Stop(0);
  exchange.reset();
  EXPECT_EQ(server_->body_bytes(), 0);
}

TEST_F(HttpServerTest, TellsOfRequestsThatItCouldNotRead) {
  const auto logged = [this](const std::string& request) {
    const std::string answer = Ask(request);
    const std::vector<std::string> list = TakeLogLines();
    if (list.size() != 1) return answer;
    const size_t id = list[0].find(" id=");
    EXPECT_THAT(answer, HasSubstr("X-Request-Id: " + list[0].substr(id + 4) + "\r\n"));
    EXPECT_THAT(answer, HasSubstr(list[0].substr(list[0].find("code=") + 5, 4)));
    return list[0].substr(0, id);
  };
  EXPECT_EQ(logged("nonsense\r\n\r\n"), "  400 code=bad_http");
  EXPECT_EQ(logged("GET /hello?x=1 HTTP/1.1\r\nHo"), "GET /hello 408 code=request_timeout");
  EXPECT_EQ(logged(Post(5, "abc")), "POST /echo 408 code=request_timeout");
  EXPECT_EQ(logged(Post(1001)), "POST /echo 413 code=body_too_large");
  EXPECT_EQ(logged("GET /hello HTTP/1.1\r\nX: " + std::string(3000, 'x') + "\r\n\r\n"),
            "GET /hello 431 code=headers_too_large");
  EXPECT_EQ(logged("GET /none HTTP/1.1\r\nbad header\r\n\r\n"), "GET /none 400 code=bad_http");
  Ask("POST /echo HTTP/1.1\r\nX-Request-Id: mine\r\nContent-Length: 1001\r\n\r\n");
  EXPECT_THAT(TakeLogLines()[0], ::testing::EndsWith("id=mine"));
  options_.max_connections = 2;
  Start();
  TestClient one(server_->port()), two(server_->port());
  EXPECT_EQ(logged("GET /hello HTTP/1.1\r\n\r\n"), "  503 code=too_many_connections");
  const MutexLock lock(mutex_);
  EXPECT_TRUE(has_client_);
}

TEST_F(HttpServerTest, RefusesHeadWithoutABody) {
  TestClient client(server_->port());
  client.Send("HEAD /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n");
  bool closed = false;
  const std::string answer = client.ReadAll(5000, &closed);
  EXPECT_THAT(answer, AllOf(StartsWith("HTTP/1.1 413"), ::testing::EndsWith("\r\n\r\n")));
}

TEST_F(HttpServerTest, ItsThreadHasAStackForSignals) {
  router_.Add("GET", "/stack", [](auto exchange) {
    stack_t stack{};
    sigaltstack(nullptr, &stack);
    exchange->Respond({.body = (stack.ss_flags & SS_DISABLE) != 0 ? "none" : "one"});
  });
  Start();
  EXPECT_THAT(Ask("GET /stack HTTP/1.1\r\nHost: a\r\n\r\n"), HasSubstr("one"));
}

TEST_F(HttpServerTest, ClosesIdleConnectionsWithoutAWord) {
  options_.idle_timeout_seconds = 1;
  Start();
  TestClient idle(server_->port()), used(server_->port());
  used.Send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(used.ReadResponse(), StartsWith("HTTP/1.1 200"));
  for (TestClient* client : {&idle, &used}) {
    bool closed = false;
    EXPECT_EQ(client->ReadAll(4000, &closed), "");
    EXPECT_TRUE(closed);
  }
}

TEST_F(HttpServerTest, TimersOfOneRequestDoNotEndTheNext) {
  TestClient client(server_->port());
  for (int i = 0; i < 3; ++i) {
    client.Send("GET /hello HTTP/1.1\r\nHo");
    std::this_thread::sleep_for(std::chrono::milliseconds(600));  // more than one timeout in all
    client.Send("st: a\r\n\r\n");
    EXPECT_THAT(client.ReadResponse(), StartsWith("HTTP/1.1 200"));
  }
}

TEST_F(HttpServerTest, TellsWhenTheClientGoesAway) {
  TestClient client(server_->port());
  client.Send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto exchange = TakeHeld();
  EXPECT_FALSE(closed_.WaitFor(100));
  client.Close();
  EXPECT_TRUE(closed_.WaitFor(5000));
  EXPECT_THAT(TakeLogLines(), ElementsAre(AllOf(StartsWith("GET /held 499 "), EndsWith(" left"))));
  EXPECT_FALSE(exchange->Send("late"));
  Flag at_once;
  exchange->OnClose([&] { at_once.Set(); });
  EXPECT_TRUE(at_once.WaitFor(0));
}

TEST_F(HttpServerTest, DoesNotCallOnCloseAfterACompleteAnswer) {
  TestClient client(server_->port());
  client.Send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
  TakeHeld()->Respond({.body = "1"});
  EXPECT_THAT(client.ReadResponse(), HasSubstr("\r\n\r\n1"));
  client.Close();
  EXPECT_FALSE(closed_.WaitFor(300));
}

TEST_F(HttpServerTest, AnswersForADroppedExchange) {
  const std::string answer = Ask("GET /dropped HTTP/1.1\r\nX-Request-Id: abc-2\r\nHost: a\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 500"));
  EXPECT_THAT(answer, HasSubstr("under request abc-2"));
}

TEST_F(HttpServerTest, KeepsASaneRequestIdAndReplacesOthers) {
  EXPECT_THAT(Ask("GET /hello HTTP/1.1\r\nHost: a\r\nX-Request-Id: abc-1\r\n\r\n"),
              HasSubstr("X-Request-Id: abc-1\r\n"));
  EXPECT_THAT(Ask("GET /hello HTTP/1.1\r\nHost: a\r\nX-Request-Id: a b\r\n\r\n"), Not(HasSubstr("X-Request-Id: a b")));
}

TEST_F(HttpServerTest, TakesOtherRoutesWhileItRuns) {
  TestClient client(server_->port());
  client.Send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto exchange = TakeHeld();
  Router other;
  other.Add("GET", "/other", [](auto asked) { asked->Respond({.body = "2"}); });
  server_->SetRouter(std::move(other));
  exchange->Respond({.body = "1"});  // of a route that is gone
  EXPECT_THAT(client.ReadResponse(), HasSubstr("\r\n\r\n1"));
  client.Send("GET /other HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(client.ReadResponse(), HasSubstr("\r\n\r\n2"));
  client.Send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(client.ReadResponse(), StartsWith("HTTP/1.1 404"));
}

TEST_F(HttpServerTest, DrainsWhatRunsAndAnswersNewConnectionsMeanwhile) {
  TestClient client(server_->port());
  client.Send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto exchange = TakeHeld();
  std::thread stopper([this] { server_->Stop(5); });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // longer than it takes to begin
  EXPECT_THAT(Ask("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("Connection: close")));
  exchange->Respond({.body = "drained"});
  EXPECT_THAT(client.ReadResponse(), HasSubstr("drained"));
  stopper.join();
  EXPECT_EQ(server_->open_connections(), 0);
  EXPECT_FALSE(TestClient(server_->port()).connected());
}

TEST_F(HttpServerTest, HoldsManyConnections) {
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 300; ++i) {
    clients.push_back(std::make_unique<TestClient>(server_->port()));
    clients.back()->Send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
  }
  for (auto& client : clients) EXPECT_THAT(client->ReadUntil("\r\n0\r\n\r\n"), HasSubstr("data: 2"));
  EXPECT_EQ(server_->open_connections(), 300);
}

TEST(HttpServerStartTest, NamesWhatIsWrong) {
  HttpOptions options{.address = "no address", .port = 0};
  EXPECT_EQ(HttpServer::Listen(options, {}).error().code(), Code::kInvalidArgument);
  options.address = "127.0.0.1";
  const auto first = HttpServer::Listen(options, {});
  ASSERT_TRUE(first);
  options.port = (*first)->port();
  EXPECT_THAT(HttpServer::Listen(options, {}).error().message(), HasSubstr("--server-port"));
}

}  // namespace
}  // namespace ingot::server
