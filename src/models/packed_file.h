// Packed weights in a file, which later loads map instead of packing: the weights cache.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/thread_pool.h"
#include "ops/backend.h"

namespace ingot::models {

// One matrix, in the order in which a model's weights are packed.
struct PackedMatrix {
  std::span<const std::byte> data;
  uint64_t head_hash;  // HeadHash of what it was packed from
};

// Of the first rows of a matrix, packed. It differs for other weights, another order of rows and another layout.
Result<uint64_t> HeadHash(ops::Backend& backend, const WeightSourcePtr& source);

// What lies in a file of packed weights, the file's content checked: kCorrupt says what is wrong with it. `key`: 32
// characters, which the file must have been written with.
Result<std::vector<PackedMatrix>> ParsePackedFile(std::span<const std::byte> content, std::string_view key,
                                                  ThreadPool& pool);

// Thread safety: one thread at a time.
class PackedFile {
 public:
  // kNotFound: there is none.
  static Result<PackedFile> Open(const std::string& path, std::string_view key, ThreadPool& pool);

  // The matrices one after another; kCorrupt where the next one is not of these bytes, or of this hash.
  Result<Buffer> Next(int64_t bytes, uint64_t head_hash);
  // Where the matrices lie; outlives their buffers.
  const std::shared_ptr<const MappedFile>& file() const { return file_; }

 private:
  PackedFile(std::shared_ptr<const MappedFile> file, std::vector<PackedMatrix> matrices)
      : file_(std::move(file)), matrices_(std::move(matrices)) {}
  std::shared_ptr<const MappedFile> file_;
  std::vector<PackedMatrix> matrices_;
  size_t next_ = 0;
};

// Makes the folder, too, where there is none.
Status WritePackedFile(const std::string& path, std::string_view key, const std::vector<PackedMatrix>& matrices,
                       ThreadPool& pool);

}  // namespace ingot::models
