// A checkpoint that lies in no file: what makes its tensors itself derives from it.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "formats/checkpoint.h"

namespace ingot::formats {

// Thread safety: as Checkpoint, once it is made.
class CheckpointInMemory : public Checkpoint {
 public:
  explicit CheckpointInMemory(std::string path, CheckpointKind kind = CheckpointKind::kHuggingFace)
      : path_(std::move(path)), kind_(kind), files_{path_} {}

  CheckpointKind kind() const override { return kind_; }
  const std::string& path() const override { return path_; }
  const boost::json::object& config() const override { return config_; }
  const boost::json::object& generation_config() const override { return generation_config_; }
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  const std::string& chat_template() const override { return chat_template_; }
  const std::vector<std::string>& files() const override { return files_; }
  int64_t weight_bytes() const override { return 0; }
  const TensorEntry* Find(const std::string& name) const override {
    const auto found = entries_.find(name);
    return found == entries_.end() ? nullptr : &found->second;
  }
  std::vector<const TensorEntry*> tensors() const override {
    std::vector<const TensorEntry*> all;
    for (const auto& [name, entry] : entries_) all.push_back(&entry);
    return all;
  }
  void DropPages(const TensorEntry&) const override {}

 protected:
  std::map<std::string, TensorEntry> entries_;  // by name
  boost::json::object config_;

 private:
  const std::string path_;
  const CheckpointKind kind_;
  const boost::json::object generation_config_;
  const Vocabulary vocabulary_;
  const std::string chat_template_;
  const std::vector<std::string> files_;
};

}  // namespace ingot::formats
