#include "lite/work_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <boost/json/serialize.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/json.h"
#include "base/mapped_file.h"

namespace ingot::lite {
namespace {

namespace fs = std::filesystem;

Error CannotWrite(const std::string& path, const std::error_code& error) {
  return Io("{}: cannot write: {}", path, error.message());
}

}  // namespace

Result<FolderLock> FolderLock::Take(const std::string& folder) {
  FolderLock lock(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (lock.fd_ < 0) return Io("{}: cannot open: {}", folder, std::strerror(errno));
  if (flock(lock.fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return InvalidArgument("another run is at work in {}; wait for it, or name another output", folder);
  return lock;
}

FolderLock::~FolderLock() {
  if (fd_ >= 0) close(fd_);
}

Result<WorkFolder> WorkFolder::Open(const std::string& output, const boost::json::object& fingerprint, bool force) {
  std::error_code error;
  fs::create_directories(PathFor(output), error);
  if (error) return CannotWrite(PathFor(output), error);
  INGOT_ASSIGN_OR_RETURN(FolderLock lock, FolderLock::Take(PathFor(output)));
  WorkFolder folder(output, std::move(lock));
  // A kill between the two steps of Finish.
  if (!fs::exists(output, error)) fs::rename(folder.replaced_path(), output, error);
  const std::string note = folder.path_ + "/work.json", wanted = boost::json::serialize(fingerprint);
  const auto found = ReadFile(note);
  if (found && *found == wanted) return folder;
  if (!force && !folder.IsNew()) {
    return InvalidArgument(
        "{} holds the unfinished work of another command, or of another version of its files; remove it, or use "
        "--force to start over",
        folder.path_);
  }
  for (const auto& entry : fs::directory_iterator(folder.path_, error)) fs::remove_all(entry.path(), error);
  if (error) return CannotWrite(folder.path_, error);
  if (Status status = WriteFile(note, wanted); !status.ok()) {
    fs::remove_all(folder.path_, error);
    return Error(status);
  }
  return folder;
}

bool WorkFolder::IsNew() const {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path_, error)) {
    if (!entry.path().filename().string().starts_with("work.json.")) return false;  // the note, half written
  }
  return true;
}

std::string WorkFolder::PartPath(int layer, bool is_gguf) const {
  return path_ + "/" + (layer < 0 ? std::string("rest") : fmt::format("layer-{:05}", layer)) + (is_gguf ? ".gguf" : "");
}

bool WorkFolder::HasPart(int layer, bool is_gguf) const {
  std::error_code error;
  return fs::exists(PartPath(layer, is_gguf), error);
}

Status WorkFolder::WriteNote(int layer, const boost::json::object& note) const {
  return WriteFile(PartPath(layer, false) + ".json", boost::json::serialize(note));
}

Result<boost::json::object> WorkFolder::ReadNote(int layer) const {
  const std::string path = PartPath(layer, false) + ".json";
  INGOT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  INGOT_ASSIGN_OR_RETURN(const boost::json::value value, ParseJson(text, path));
  if (!value.is_object()) return Corrupt("{} is no object; remove {} and start over", path, path_);
  return value.get_object();
}

Status WorkFolder::Finish(bool is_gguf) {
  std::error_code error, ignored;
  const bool replaces = fs::is_directory(output_, error);
  if (replaces) {
    fs::remove_all(replaced_path(), error);
    fs::rename(output_, replaced_path(), error);  // what --force replaces makes way only now
    if (error) return CannotWrite(output_, error);
  }
  fs::rename(result_path(is_gguf), output_, error);
  if (error) {
    if (replaces) fs::rename(replaced_path(), output_, ignored);
    return CannotWrite(output_, error);
  }
  fs::remove_all(path_, error);
  return {};
}

Status WorkFolder::Abandon(bool is_gguf, const Status& error) {
  std::error_code ignored;
  fs::remove_all(result_path(is_gguf), ignored);
  if (HasPart(0, is_gguf)) {
    return {error.code(), fmt::format("{} ({} keeps the layers that are finished: the same command resumes from there)",
                                      error.message(), path_)};
  }
  fs::remove_all(path_, ignored);
  return error;
}

}  // namespace ingot::lite
