#include "batch_file.h"

#include <sys/file.h>
#include <unistd.h>

#include <boost/json/serialize.hpp>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>

#include "base/json_writer.h"
#include "base/text_file.h"

namespace ingot::cli {
namespace {

constexpr size_t kMaxLine = size_t{64} << 20;
constexpr const char* kRequest = "the request";          // in errors
constexpr std::string_view kLineId = "batch_req_line_";  // of requests without a custom_id

BatchRequest Refused(BatchRequest request, const char* code, std::string message) {
  request.error_code = code;
  request.error = fmt::format("line {}: {}", request.line, message);
  return request;
}

// What is wrong with the members of a request; "": nothing.
std::string ReadMembers(const JsonView& view, BatchRequest* request) {
  const auto custom_id = view.String("custom_id");
  if (!custom_id) return custom_id.error().message();
  request->custom_id = *custom_id;
  if (custom_id->empty()) return "custom_id is empty";
  const auto method = view.String("method", "POST"), url = view.String("url");
  if (!method || *method != "POST") return "method must be POST";
  if (!url) return url.error().message();
  request->url = *url;
  const auto body = view.Get("body");
  if (!body) return body.error().message();
  if (!body->value().is_object()) return "body must be an object";
  if (const auto stream = body->Bool("stream", false); stream && *stream) return "body.stream: answers come whole here";
  request->body = boost::json::serialize(body->value());
  return "";
}

// Whether a line is a result of ours; then what it answers is added.
bool AddFinished(std::string_view text, FinishedRequests* finished) {
  const auto json = ParseJson(text, "result");
  if (!json) return false;
  const JsonView view(*json, "");
  const auto* object = json->if_object();
  if (object == nullptr || !object->contains("custom_id") || !object->contains("response") ||
      !object->contains("error"))
    return false;
  ++finished->count;
  const auto response = view.Find("response");
  if (!response || response->Int("status_code", 0).value_or(0) != 200) ++finished->failed;
  if (const auto custom_id = view.Find("custom_id")) {
    const auto id = custom_id->AsString();
    if (id) finished->custom_ids.Add(*id, finished->count);
    return id.has_value();
  }
  const std::string id = view.String("id", "").value_or("");
  int64_t line = 0;
  if (!id.starts_with(kLineId)) return false;
  std::from_chars(id.data() + kLineId.size(), id.data() + id.size(), line);
  finished->lines.insert(line);
  return true;
}

}  // namespace

std::optional<int64_t> TextTable::Add(std::string_view text, int64_t number) {
  const auto [at, is_new] = numbers_.emplace(Hash128(text), number);
  return is_new ? std::nullopt : std::optional(at->second);
}

Result<LineSource> LineSource::Open(const std::string& path) {
  LineSource source;
  source.name_ = path == "-" ? "standard input" : path;
  source.file_.reset(path == "-" ? stdin : std::fopen(path.c_str(), "rb"));
  if (!source.file_) return NotFound("{}: {}", path, std::strerror(errno));
  std::error_code error;
  source.is_file_ = path != "-" && std::filesystem::is_regular_file(path, error);
  if (path != "-" && std::filesystem::is_directory(path, error)) return InvalidArgument("{} is a directory", path);
  return source;
}

Result<std::optional<std::string>> LineSource::Next() {
  std::string line;
  ++number_;
  for (int c = 0; (c = getc_unlocked(file_.get())) != '\n';) {
    if (c == EOF) {
      if (std::ferror(file_.get()) != 0) return Io("{}: {}", name_, std::strerror(errno));
      if (line.empty()) return std::optional<std::string>();
      break;
    }
    if (line.size() == kMaxLine) return InvalidArgument("{}:{}: the line exceeds {} bytes", name_, number_, kMaxLine);
    line += static_cast<char>(c);
  }
  end_ += std::ssize(line) + 1;
  if (line.ends_with('\r')) line.pop_back();
  if (number_ == 1) {
    INGOT_ASSIGN_OR_RETURN(line, CleanText(std::move(line), name_));
  }
  return std::optional(std::move(line));
}

BatchRequest ParseBatchRequest(std::string_view text, int64_t line) {
  BatchRequest request{.line = line};
  const auto json = ParseJson(text, kRequest);
  if (!json) return Refused(std::move(request), "invalid_json_line", json.error().message());
  const std::string problem = ReadMembers(JsonView(*json, kRequest), &request);
  if (!problem.empty()) return Refused(std::move(request), "invalid_request", problem);
  return request;
}

Result<FinishedRequests> ReadFinished(const std::string& path) {
  FinishedRequests finished;
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return finished;
  if (!std::filesystem::is_regular_file(path, error)) return finished;  // a pipe: nothing to resume from
  INGOT_ASSIGN_OR_RETURN(LineSource source, LineSource::Open(path));
  const auto size = static_cast<int64_t>(std::filesystem::file_size(path, error));
  int64_t whole = 0;  // bytes of whole lines
  for (;;) {
    INGOT_ASSIGN_OR_RETURN(const auto line, source.Next());
    if (!line) break;
    if (source.end() > size) break;  // no line break: incomplete
    if (!AddFinished(*line, &finished)) {
      return InvalidArgument("{}:{} is no result of a batch; give another file with -o, or remove this one", path,
                             source.number());
    }
    whole = source.end();
  }
  if (whole == size) return finished;
  if (whole == 0 && finished.count == 0) {
    // Nothing says that this file is ours but a beginning like that of our lines.
    INGOT_ASSIGN_OR_RETURN(LineSource again, LineSource::Open(path));
    INGOT_ASSIGN_OR_RETURN(const auto line, again.Next());
    constexpr std::string_view kBegin = R"({"id":"batch_req_)";
    const std::string_view text = line ? std::string_view(*line) : std::string_view();
    if (!text.starts_with(kBegin) && !kBegin.starts_with(text))
      return InvalidArgument("{} holds no results of a batch; give another file with -o, or remove this one", path);
  }
  std::filesystem::resize_file(path, static_cast<uintmax_t>(whole), error);
  if (error) return Io("{}: cannot cut off its last, incomplete line: {}", path, error.message());
  return finished;
}

Result<ResultFile> ResultFile::Open(const std::string& path) {
  ResultFile out;
  out.name_ = path == "-" ? "standard output" : path;
  out.file_.reset(path == "-" ? stdout : std::fopen(path.c_str(), "ab"));
  if (!out.file_) return Io("{}: {}", path, std::strerror(errno));
  if (path != "-" && flock(fileno(out.file_.get()), LOCK_EX | LOCK_NB) != 0)
    return Conflict("{}: another program is writing results there", path);
  return out;
}

Status ResultFile::Write(const std::string& line) {
  if (std::fwrite(line.data(), 1, line.size(), file_.get()) != line.size() || std::fflush(file_.get()) != 0)
    return Io("cannot write {}: {}", name_, std::strerror(errno));
  return {};
}

std::string ResultLine(const BatchRequest& request, int status, const std::string& request_id,
                       const std::string& body) {
  const auto response =
      JsonObject().Add("status_code", status).Add("request_id", request_id).AddJson("body", body).Text();
  return JsonObject()
             .Add("id", "batch_req_" + request_id)
             .Add("custom_id", request.custom_id.value_or(""))
             .AddJson("response", response)
             .Add("error", nullptr)
             .Text() +
         "\n";
}

std::string ErrorLine(const BatchRequest& request) {
  return JsonObject()
             .Add("id", fmt::format("{}{}", kLineId, request.line))
             .Add("custom_id", request.custom_id)
             .Add("response", nullptr)
             .AddJson("error", JsonObject().Add("code", request.error_code).Add("message", request.error).Text())
             .Text() +
         "\n";
}

}  // namespace ingot::cli
