#include "models/weights_cache.h"

#include <filesystem>

#include "base/hash.h"
#include "base/log.h"
#include "models/packed_file.h"

namespace ingot::models {
namespace {

// Raised when a checkpoint's tensors are bound to other matrices than before (roles.cc, bind.cc). What changes the
// layout of a matrix changes Backend::packing().
constexpr int kBindingVersion = 1;

// Of the checkpoint, wherever it lies, and of how its weights are held; "" where that cannot be told.
std::string KeyOf(const formats::Checkpoint& checkpoint, const ops::Backend& backend, ops::Compute compute) {
  const std::vector<int64_t> times = checkpoint.file_times();
  if (backend.packing().empty() || times.empty()) return "";
  Fingerprint print;
  print.Add(fmt::format("{} binding {} compute {}", backend.packing(), kBindingVersion, static_cast<int>(compute)));
  formats::AddTo(checkpoint, &print);
  for (const int64_t time : times) print.Add(fmt::format("{}", time));
  for (const formats::TensorEntry* tensor : checkpoint.tensors()) print.Add(fmt::format("{}", tensor->bytes.size()));
  return print.Text();
}

std::string PathOf(const std::string& folder, const std::string& key) {
  return (std::filesystem::path(folder) / (key + ".weights")).string();
}

}  // namespace

std::string PackedFilePath(const std::string& folder, const formats::Checkpoint& checkpoint,
                           const ops::Backend& backend, ops::Compute compute) {
  const std::string key = KeyOf(checkpoint, backend, compute);
  return key.empty() ? "" : PathOf(folder, key);
}

Status LoadWeights(ops::Backend& backend, const LoadOptions& options, const formats::Checkpoint& checkpoint,
                   const std::vector<RoleTensor>& tensors, BoundWeights* bound) {
  if (options.weights_cache.empty() || options.outline) return PackWeights({backend, options}, tensors, bound);
  const std::string key = KeyOf(checkpoint, backend, options.compute);
  if (key.empty()) {
    Log(LogLevel::kWarning, "--weights-cache is for models in files, on CPUs; not used");
    return PackWeights({backend, options}, tensors, bound);
  }
  ThreadPool& pool = *backend.host().pool;
  const std::string path = PathOf(options.weights_cache, key);
  Result<PackedFile> cached = PackedFile::Open(path, key, pool);
  Status status = cached ? PackWeights({backend, options, &*cached}, tensors, bound) : Status(cached.error());
  if (status.ok()) {
    bound->mapped = cached->file();
    return {};
  }
  if (status.code() != Code::kNotFound)
    Log(LogLevel::kWarning, "weights cache {}: {}; ignored, and written again", path, status.message());
  *bound = {};
  std::vector<PackedMatrix> packed;
  INGOT_RETURN_IF_ERROR(PackWeights({backend, options, nullptr, &packed}, tensors, bound));
  const Status written = WritePackedFile(path, key, packed, pool);
  if (!written.ok()) Log(LogLevel::kWarning, "weights cache: {}; the model runs without it", written.message());
  return {};
}

}  // namespace ingot::models
