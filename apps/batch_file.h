// OpenAI's batch files: a request a line in, a result a line out.
#pragma once

#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/hash.h"
#include "base/status.h"

namespace ingot::cli {

// Texts, each with a number. Holds hashes of 128 bits, not the texts: 24 bytes a text.
class TextTable {
 public:
  // The number that `text` was added with before; nullopt: it is new, and added.
  std::optional<int64_t> Add(std::string_view text, int64_t number);
  bool Contains(std::string_view text) const { return numbers_.contains(Hash128(text)); }

 private:
  struct FirstHalf {
    size_t operator()(const std::array<uint64_t, 2>& hash) const { return hash[0]; }
  };
  boost::unordered_flat_map<std::array<uint64_t, 2>, int64_t, FirstHalf> numbers_;
};

// The lines of a file, or of standard input ("-"), one at a time.
class LineSource {
 public:
  static Result<LineSource> Open(const std::string& path);
  // Without its line break, and without the byte order mark of the file; nullopt at the end. kInvalidArgument above
  // 64 MiB.
  Result<std::optional<std::string>> Next();
  int64_t number() const { return number_; }  // of the last line, from 1
  int64_t end() const { return end_; }        // where it and its line break end, in bytes
  const std::string& name() const { return name_; }
  bool is_file() const { return is_file_; }  // can be read twice

 private:
  struct Closer {
    void operator()(std::FILE* file) const {
      if (file != stdin) std::fclose(file);
    }
  };
  std::unique_ptr<std::FILE, Closer> file_;
  std::string name_;
  bool is_file_ = false;
  int64_t number_ = 0, end_ = 0;
};

// One line of the input.
struct BatchRequest {
  int64_t line = 0;
  std::optional<std::string> custom_id;
  std::string url, body;
  std::string error_code, error;  // "": it can be sent
};
BatchRequest ParseBatchRequest(std::string_view text, int64_t line);

// What an earlier run has answered.
struct FinishedRequests {
  TextTable custom_ids;
  boost::unordered_flat_set<int64_t> lines;  // of requests that had no custom_id
  int64_t count = 0, failed = 0;
};
// Reads the results in `path`, if it is there, and cuts off a last line that is not whole. kInvalidArgument where it
// holds anything else: then nothing is touched.
Result<FinishedRequests> ReadFinished(const std::string& path);

// Results, each written whole. Only one program at a time writes a file.
class ResultFile {
 public:
  static Result<ResultFile> Open(const std::string& path);  // "-": standard output
  Status Write(const std::string& line);

 private:
  struct Closer {
    void operator()(std::FILE* file) const {
      if (file != stdout) std::fclose(file);
    }
  };
  std::unique_ptr<std::FILE, Closer> file_;
  std::string name_;
};

// {"id":…,"custom_id":…,"response":{"status_code":…,"request_id":…,"body":…},"error":null}
std::string ResultLine(const BatchRequest& request, int status, const std::string& request_id, const std::string& body);
// The same with "response":null and the request's error.
std::string ErrorLine(const BatchRequest& request);

}  // namespace ingot::cli
