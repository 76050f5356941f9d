// The one implementation of Checkpoint: parts gathered by the readers of its kinds.
#pragma once

#include <boost/json/value.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "formats/checkpoint.h"

namespace ingot::formats {

struct CheckpointParts {
  CheckpointKind kind = CheckpointKind::kHuggingFace;
  std::string path;
  boost::json::value config = boost::json::object(), generation_config = boost::json::object();  // objects
  Vocabulary vocabulary;
  std::string chat_template;
  std::vector<MappedFile> files;
  std::vector<TensorEntry> tensors;  // their bytes lie in files[tensor.file]
};

// Immutable once made, hence thread-safe.
class LoadedCheckpoint final : public Checkpoint {
 public:
  // kCorrupt when two tensors have one name.
  static Result<std::shared_ptr<const Checkpoint>> Make(CheckpointParts parts);

  CheckpointKind kind() const override { return parts_.kind; }
  const std::string& path() const override { return parts_.path; }
  const boost::json::object& config() const override { return parts_.config.get_object(); }
  const boost::json::object& generation_config() const override { return parts_.generation_config.get_object(); }
  const Vocabulary& vocabulary() const override { return parts_.vocabulary; }
  const std::string& chat_template() const override { return parts_.chat_template; }
  const std::vector<std::string>& files() const override { return file_names_; }
  std::vector<int64_t> file_times() const override;
  int64_t weight_bytes() const override { return weight_bytes_; }
  const TensorEntry* Find(const std::string& name) const override;
  std::vector<const TensorEntry*> tensors() const override;
  void DropPages(const TensorEntry& tensor) const override;

 private:
  explicit LoadedCheckpoint(CheckpointParts parts) : parts_(std::move(parts)) {}
  Status Index();

  CheckpointParts parts_;
  std::vector<std::string> file_names_;
  boost::unordered_flat_map<std::string_view, size_t> index_;  // name → number in parts_.tensors
  int64_t weight_bytes_ = 0;
};

}  // namespace ingot::formats
