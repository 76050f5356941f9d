// Where a run keeps what it has finished: OUTPUT.partial, next to the output, which appears only when it is complete.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <utility>

#include "base/status.h"

namespace ingot::lite {

// The system's lock on a folder, while this lives and its process does.
class FolderLock {
 public:
  // kInvalidArgument while another process, or another lock of this one, has it. (A file system without locks lets all
  // have it.)
  static Result<FolderLock> Take(const std::string& folder);
  FolderLock(FolderLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FolderLock& operator=(FolderLock&&) = delete;
  ~FolderLock();

 private:
  explicit FolderLock(int fd) : fd_(fd) {}
  int fd_;
};

class WorkFolder {
 public:
  // fingerprint: what must be the same for a killed run to be continued. Another's work is kInvalidArgument, unless
  // `force`, which starts over. kInvalidArgument too while another run has the folder open. kIo: it cannot be written.
  static Result<WorkFolder> Open(const std::string& output, const boost::json::object& fingerprint, bool force);

  static std::string PathFor(const std::string& output) { return output + ".partial"; }

  // A part's place; parts of Hugging Face's form are folders, of GGUF files.
  std::string PartPath(int layer, bool is_gguf) const;  // layer: -1 for what is outside of layers
  bool HasPart(int layer, bool is_gguf) const;
  // What is to be remembered of a layer.
  Status WriteNote(int layer, const boost::json::object& note) const;
  Result<boost::json::object> ReadNote(int layer) const;

  std::string result_path(bool is_gguf) const { return path_ + (is_gguf ? "/result.gguf" : "/result"); }
  // The result takes the output's place; the rest goes. After an error what was there is there again.
  Status Finish(bool is_gguf);
  // After an error: nothing stays, unless a layer was finished, which a new run can use; the error then says so.
  Status Abandon(bool is_gguf, const Status& error);
  const std::string& path() const { return path_; }

 private:
  WorkFolder(std::string output, FolderLock lock)
      : output_(std::move(output)), path_(PathFor(output_)), lock_(std::move(lock)) {}
  bool IsNew() const;  // nothing is in it but what a run killed at its very beginning leaves
  std::string replaced_path() const { return path_ + "/replaced"; }  // where the old output waits for the new one

  std::string output_, path_;
  FolderLock lock_;
};

}  // namespace ingot::lite
