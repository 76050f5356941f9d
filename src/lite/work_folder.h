// Where a run keeps what it has finished: OUTPUT.partial, beside the output, which appears only when it is complete.
#pragma once

#include <boost/json/object.hpp>
#include <string>

#include "base/status.h"

namespace ingot::lite {

class WorkFolder {
 public:
  // fingerprint: what must be the same for a killed run to be continued. Another's work is kInvalidArgument, unless
  // `force`, which begins anew. kIo: the folder cannot be written.
  static Result<WorkFolder> Open(const std::string& output, const boost::json::object& fingerprint, bool force);

  // A part's place; parts of Hugging Face's form are folders, of GGUF files.
  std::string PartPath(int layer, bool is_gguf) const;  // layer: -1 for what lies outside of layers
  bool HasPart(int layer, bool is_gguf) const;
  // What is to be remembered of a layer.
  Status WriteNote(int layer, const boost::json::object& note) const;
  Result<boost::json::object> ReadNote(int layer) const;

  std::string result_path(bool is_gguf) const { return path_ + (is_gguf ? "/result.gguf" : "/result"); }
  // The result takes the output's place; the rest goes.
  Status Finish(bool is_gguf);
  // After an error: nothing stays, unless a layer was finished, which a new run can use; the error then says so.
  Status Abandon(bool is_gguf, const Status& error);
  const std::string& path() const { return path_; }

 private:
  WorkFolder(std::string output, std::string path) : output_(std::move(output)), path_(std::move(path)) {}
  std::string output_, path_;
};

}  // namespace ingot::lite
