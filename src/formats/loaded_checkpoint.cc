#include "formats/loaded_checkpoint.h"

#include <boost/unordered/unordered_flat_set.hpp>
#include <set>

#include "base/log.h"
#include "formats/quantized.h"

namespace ingot::formats {

Result<std::shared_ptr<const Checkpoint>> LoadedCheckpoint::Make(CheckpointParts parts) {
  const std::shared_ptr<LoadedCheckpoint> checkpoint(new LoadedCheckpoint(std::move(parts)));
  INGOT_RETURN_IF_ERROR(checkpoint->Index());
  return checkpoint;
}

Status LoadedCheckpoint::Index() {
  for (const MappedFile& file : parts_.files) file_names_.push_back(file.path());
  boost::unordered_flat_set<const std::byte*> counted;  // torch files may name one storage several times
  std::set<std::string> unsupported;
  size_t unsupported_tensors = 0;
  for (size_t i = 0; i < parts_.tensors.size(); ++i) {
    const TensorEntry& tensor = parts_.tensors[i];
    const auto [at, inserted] = index_.emplace(tensor.name, i);
    if (!inserted) {
      return Corrupt("{}: tensor {} is there twice, in {} and {}", parts_.path, tensor.name,
                     file_names_[static_cast<size_t>(parts_.tensors[at->second].file)],
                     file_names_[static_cast<size_t>(tensor.file)]);
    }
    if (!tensor.bytes.empty() && counted.insert(tensor.bytes.data()).second) {
      weight_bytes_ += StoredBytes(tensor);
    }
    if (tensor.unsupported.empty()) continue;
    ++unsupported_tensors;
    unsupported.insert(tensor.unsupported);
  }
  if (unsupported_tensors > 0) {
    Log(LogLevel::kWarning, "{}: tensors that cannot be read: {} ({})", parts_.path, unsupported_tensors,
        fmt::join(unsupported, ", "));
  }
  return {};
}

const TensorEntry* LoadedCheckpoint::Find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &parts_.tensors[found->second];
}

std::vector<const TensorEntry*> LoadedCheckpoint::tensors() const {
  std::vector<const TensorEntry*> all;
  all.reserve(parts_.tensors.size());
  for (const TensorEntry& tensor : parts_.tensors) all.push_back(&tensor);
  return all;
}

std::vector<int64_t> LoadedCheckpoint::file_times() const {
  std::vector<int64_t> times;
  for (const MappedFile& file : parts_.files) times.push_back(file.modified_ns());
  return times;
}

void LoadedCheckpoint::DropPages(const TensorEntry& tensor) const {
  if (tensor.bytes.empty()) return;
  const MappedFile& file = parts_.files[static_cast<size_t>(tensor.file)];
  file.DropPages(static_cast<size_t>(tensor.bytes.data() - file.bytes().data()), tensor.bytes.size());
}

}  // namespace ingot::formats
