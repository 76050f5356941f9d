#include "formats/writers/safetensors_writer.h"

#include <algorithm>
#include <set>

#include "base/json.h"
#include "base/mapped_file.h"
#include "formats/writers/output_file.h"

namespace ingot::formats {
namespace {

// The name of a plain encoding in a safetensors header; nullptr for block formats. BOOL and the rest are spelt as ours.
const char* SafetensorsDtype(Encoding encoding) {
  return InfoOf(encoding).block_size == 1 ? InfoOf(encoding).name : nullptr;
}

struct Piece {
  size_t shard;
  int64_t bytes;
};

std::string ShardName(size_t shard, size_t shards) {
  if (shards == 1) return "model.safetensors";
  return fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shards);
}

// The header of one shard: its length and the JSON, padded with blanks to 8 bytes so that the data are aligned.
std::string Header(const std::vector<OutputTensor>& tensors, const std::vector<Piece>& pieces, size_t shard) {
  std::string json = R"({"__metadata__":{"format":"pt"})";
  int64_t offset = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (pieces[i].shard != shard) continue;
    json += ',';
    AppendJsonString(json, tensors[i].name);
    json +=
        fmt::format(R"(:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", SafetensorsDtype(tensors[i].encoding),
                    fmt::join(tensors[i].shape, ","), offset, offset + pieces[i].bytes);
    offset += pieces[i].bytes;
  }
  json += '}';
  json.append((8 - json.size() % 8) % 8, ' ');
  std::string header(8, '\0');
  for (size_t i = 0; i < 8; ++i) header[i] = static_cast<char>(json.size() >> 8 * i & 0xff);
  return header + json;
}

}  // namespace

struct SafetensorsWriter::Impl {
  std::string directory;
  std::vector<OutputTensor> tensors;
  std::vector<Piece> pieces;  // of each tensor
  size_t shards = 1;
  std::vector<std::unique_ptr<OutputFile>> files;  // those begun
  size_t next = 0;                                 // the tensor that Write continues
  int64_t written = 0;                             // bytes of it

  // Opens the shard of tensor `next` unless it is open, and steps over tensors that are complete.
  Status Advance() {
    while (next < tensors.size()) {
      while (files.size() <= pieces[next].shard) INGOT_RETURN_IF_ERROR(BeginShard());
      if (written < pieces[next].bytes) return {};
      ++next;
      written = 0;
    }
    return {};
  }
  Status BeginShard() {
    const size_t shard = files.size();
    INGOT_ASSIGN_OR_RETURN(auto file, OutputFile::Create(directory + "/" + ShardName(shard, shards)));
    files.push_back(std::move(file));
    return files.back()->Write(Header(tensors, pieces, shard));
  }
  Status WriteIndex() const;
};

Status SafetensorsWriter::Impl::WriteIndex() const {
  int64_t total = 0;
  std::string map;
  for (size_t i = 0; i < tensors.size(); ++i) {
    total += pieces[i].bytes;
    map += i == 0 ? "\n    " : ",\n    ";
    AppendJsonString(map, tensors[i].name);
    map += fmt::format(": \"{}\"", ShardName(pieces[i].shard, shards));
  }
  const std::string index =
      fmt::format("{{\n  \"metadata\": {{\"total_size\": {}}},\n  \"weight_map\": {{{}\n  }}\n}}\n", total, map);
  return WriteFile(directory + "/model.safetensors.index.json", index);
}

SafetensorsWriter::SafetensorsWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SafetensorsWriter::~SafetensorsWriter() = default;

Result<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::Create(const std::string& directory,
                                                                     std::vector<OutputTensor> tensors,
                                                                     int64_t max_shard_bytes) {
  auto impl = std::make_unique<Impl>();
  std::set<std::string> names;
  int64_t shard_bytes = 0;
  for (const OutputTensor& tensor : tensors) {
    if (SafetensorsDtype(tensor.encoding) == nullptr) {
      return InvalidArgument("tensor {}: safetensors has no {}", tensor.name, InfoOf(tensor.encoding).name);
    }
    if (tensor.name == "__metadata__" || !names.insert(tensor.name).second) {
      return InvalidArgument("tensor {}: the name is taken", tensor.name);
    }
    INGOT_ASSIGN_OR_RETURN(const int64_t bytes, BytesOf(tensor));
    if (shard_bytes > 0 && bytes > max_shard_bytes - shard_bytes) {
      ++impl->shards;
      shard_bytes = 0;
    }
    shard_bytes += bytes;
    impl->pieces.push_back({impl->shards - 1, bytes});
  }
  impl->directory = directory;
  impl->tensors = std::move(tensors);
  INGOT_RETURN_IF_ERROR(impl->BeginShard());
  INGOT_RETURN_IF_ERROR(impl->Advance());
  return std::unique_ptr<SafetensorsWriter>(new SafetensorsWriter(std::move(impl)));
}

Status SafetensorsWriter::Write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (impl_->next == impl_->tensors.size()) return InvalidArgument("{} bytes past the last tensor", bytes.size());
    const auto left = static_cast<size_t>(impl_->pieces[impl_->next].bytes - impl_->written);
    const auto piece = bytes.first(std::min(left, bytes.size()));
    INGOT_RETURN_IF_ERROR(impl_->files.back()->Write(piece));
    impl_->written += static_cast<int64_t>(piece.size());
    bytes = bytes.subspan(piece.size());
    INGOT_RETURN_IF_ERROR(impl_->Advance());
  }
  return {};
}

Status SafetensorsWriter::Finish() {
  if (impl_->next < impl_->tensors.size()) {
    return InvalidArgument("tensor {} got {} of {} bytes", impl_->tensors[impl_->next].name, impl_->written,
                           impl_->pieces[impl_->next].bytes);
  }
  for (const auto& file : impl_->files) INGOT_RETURN_IF_ERROR(file->Commit());
  if (impl_->shards > 1) return impl_->WriteIndex();
  return {};
}

}  // namespace ingot::formats
