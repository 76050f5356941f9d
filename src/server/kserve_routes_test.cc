// KServe v2 over HTTP.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "llm/test_llm.h"
#include "server/api_server.h"
#include "server/test_client.h"

namespace ingot::server {
namespace {

using ::testing::HasSubstr;

class KserveRoutesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ApiServerOptions options;
    options.http.port = 0;
    options.model_name = "m";
    options.version = "1.2.3";
    options.keys.keys = {"secret"};
    server_ = *ApiServer::Start(*fake_.llm, options);
  }
  std::string Ask(const std::string& method, const std::string& path, const std::string& body = "",
                  const std::string& key = "secret") {
    TestClient client(server_->port());
    std::string request = method + " " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Api-Key: " + key +
                          "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    client.Send(request);
    bool closed = false;
    return client.ReadAll(5000, &closed);
  }
  const llm::FakeLlm fake_ = llm::MakeFakeLlm();
  std::unique_ptr<ApiServer> server_;
};

constexpr const char* kInputs = R"("inputs":[{"name":"text_input","datatype":"BYTES","shape":[1],"data":["a"]},)"
                                R"({"name":"max_tokens","datatype":"INT32","shape":[1],"data":[3]}])";

TEST_F(KserveRoutesTest, ServerAndModelTellWhatTheyAre) {
  EXPECT_THAT(Ask("GET", "/v2"), HasSubstr(R"("name":"ingot","version":"1.2.3")"));
  EXPECT_THAT(Ask("GET", "/v2/health/ready", "", ""), HasSubstr("200 OK"));
  EXPECT_THAT(Ask("GET", "/v2/health/live", "", ""), HasSubstr("200 OK"));
  EXPECT_THAT(Ask("GET", "/v2/models/m"), HasSubstr(R"({"name":"text_input","datatype":"BYTES","shape":[-1,1]})"));
  EXPECT_THAT(Ask("GET", "/v2/models/m/versions/1"), HasSubstr("text_output"));
  EXPECT_THAT(Ask("GET", "/v2/models/m/ready"), HasSubstr("200 OK"));
  EXPECT_THAT(Ask("GET", "/v2/models/other/ready"), HasSubstr(R"({"error":"model 'other' is not served here)"));
}

TEST_F(KserveRoutesTest, TensorsInTensorsOut) {
  const std::string answer = Ask("POST", "/v2/models/m/infer", std::string("{") + kInputs + "}");
  EXPECT_THAT(answer, HasSubstr(R"("outputs":[{"name":"text_output","datatype":"BYTES","shape":[1],"data":["a)"));
  const std::string binary = Ask("POST", "/v2/models/m/versions/1/infer",
                                 std::string("{") + kInputs + R"(,"parameters":{"binary_data_output":true}})");
  EXPECT_THAT(binary, HasSubstr("Inference-Header-Content-Length"));
  EXPECT_THAT(binary, HasSubstr("application/octet-stream"));
}

TEST_F(KserveRoutesTest, GenerateAnswersWholeOrInEvents) {
  EXPECT_THAT(Ask("POST", "/v2/models/m/generate", R"({"text_input":"a","max_tokens":3})"),
              HasSubstr(R"("text_output":"a)"));
  const std::string events =
      Ask("POST", "/v2/models/m/generate_stream", R"({"text_input":"a","max_tokens":3,"ignore_eos":true})");
  EXPECT_THAT(events, HasSubstr("text/event-stream"));
  EXPECT_THAT(events, HasSubstr(R"("finish_reason":"length")"));
  EXPECT_THAT(events, HasSubstr("data: {\"model_name\":\"m\""));
  const std::string one =
      Ask("POST", "/v2/models/m/generate_stream", R"({"text_input":"a","max_tokens":3,"stream":false})");
  EXPECT_THAT(one, HasSubstr("data: {\"model_name\":\"m\""));
}

TEST_F(KserveRoutesTest, ErrorsAreFlat) {
  EXPECT_THAT(Ask("POST", "/v2/models/m/infer", "{}", "wrong"),
              HasSubstr(R"({"error":"the API key is not known here"})"));
  EXPECT_THAT(Ask("POST", "/v2/models/m/infer", "{"), HasSubstr(R"({"error":"body)"));
  EXPECT_THAT(Ask("POST", "/v2/nothing"), HasSubstr(R"({"error":"no route POST /v2/nothing"})"));
  EXPECT_THAT(Ask("POST", "/v2/models/m/generate", R"({"text_input":"a","top_p":7})"), HasSubstr(R"({"error":"top_p)"));
}

}  // namespace
}  // namespace ingot::server
