#include "formats/damage_samples.h"

#include <fmt/format.h>

#include <cstring>

#include "base/mapped_file.h"
#include "formats/gguf_types.h"

namespace ingot::formats {
namespace {

// Writes a file and notes where its numbers stand.
class Builder {
 public:
  template <typename T>
  void Number(T value) {
    sample_.fields.push_back({sample_.bytes.size(), sizeof(T)});
    sample_.bytes.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  void Type(GgufType type) { Number(static_cast<uint32_t>(type)); }
  void Raw(std::string_view text) { sample_.bytes += text; }
  void String(std::string_view text) {
    Number<uint64_t>(text.size());
    Raw(text);
  }
  void Key(std::string_view key, GgufType type) {
    String(key);
    Type(type);
  }
  void ArrayOf(GgufType type, uint64_t count) {
    Type(type);
    Number(count);
  }
  void Pad(size_t alignment) {
    while (sample_.bytes.size() % alignment != 0) sample_.bytes += '\0';
  }
  size_t size() const { return sample_.bytes.size(); }
  Sample Take(size_t header_bytes) {
    sample_.header_bytes = header_bytes;
    return std::move(sample_);
  }

 private:
  Sample sample_{};
};

void GgufScalars(Builder* out) {
  out->Key("general.architecture", GgufType::kString);
  out->String("llama");
  out->Key("general.alignment", GgufType::kU32);
  out->Number<uint32_t>(32);
  out->Key("a.u8", GgufType::kU8);
  out->Number<uint8_t>(1);
  out->Key("a.bool", GgufType::kBool);
  out->Number<uint8_t>(1);
  out->Key("a.i16", GgufType::kI16);
  out->Number<int16_t>(-3);
  out->Key("a.f64", GgufType::kF64);
  out->Number<double>(1.5);
  out->Key("a.u64", GgufType::kU64);
  out->Number<uint64_t>(77);
  out->Key("split.count", GgufType::kU16);
  out->Number<uint16_t>(1);
}

void GgufArrays(Builder* out) {
  out->Key("a.nested", GgufType::kArray);
  out->ArrayOf(GgufType::kArray, 2);
  for (int i = 0; i < 2; ++i) {
    out->ArrayOf(GgufType::kI32, 2);
    out->Number<int32_t>(i);
    out->Number<int32_t>(-i);
  }
  out->Key("tokenizer.ggml.model", GgufType::kString);
  out->String("gpt2");
  out->Key("tokenizer.ggml.tokens", GgufType::kArray);
  out->ArrayOf(GgufType::kString, 3);
  for (const char* token : {"a", "bc", ""}) out->String(token);
  out->Key("tokenizer.ggml.scores", GgufType::kArray);
  out->ArrayOf(GgufType::kF32, 3);
  for (int i = 0; i < 3; ++i) out->Number<float>(static_cast<float>(i));
  out->Key("tokenizer.ggml.eos_token_id", GgufType::kU32);
  out->Number<uint32_t>(2);
}

struct TorchEntry {
  size_t header, data, bytes;
};

uint32_t Load32(const std::string& bytes, size_t at) {
  uint32_t value;
  std::memcpy(&value, bytes.data() + at, sizeof(value));
  return value;
}
uint16_t Load16(const std::string& bytes, size_t at) { return static_cast<uint16_t>(Load32(bytes, at) & 0xffff); }

void AddFields(size_t at, std::initializer_list<Field> fields, Sample* sample) {
  for (const Field& field : fields) {
    if (at + field.offset + field.bytes <= sample->bytes.size()) {
      sample->fields.push_back({at + field.offset, field.bytes});
    }
  }
}

}  // namespace

Sample GgufSample() {
  Builder out;
  out.Raw("GGUF");
  out.Number<uint32_t>(3);
  out.Number<uint64_t>(9);      // tensors
  out.Number<uint64_t>(8 + 5);  // metadata
  GgufScalars(&out);
  GgufArrays(&out);
  struct {
    const char* name;
    std::vector<uint64_t> dims;
    uint32_t type;
    uint64_t offset, bytes;
  } const tensors[] = {{"token_embd.weight", {32, 4}, 8, 0, 136},
                       {"blk.0.ffn.weight", {256, 2}, 12, 160, 288},
                       {"experts", {3, 2, 2}, 0, 448, 48},
                       {"norm", {5}, 1, 512, 10},
                       {"iq1_m", {256, 1}, 29, 544, 56},
                       {"iq2_xxs", {256, 2}, 16, 608, 132},
                       {"iq3_s", {256, 1}, 21, 768, 110},
                       {"mxfp4", {32, 3}, 39, 896, 51},
                       {"nvfp4", {64, 1}, 40, 960, 36}};
  for (const auto& tensor : tensors) {
    out.String(tensor.name);
    out.Number<uint32_t>(static_cast<uint32_t>(tensor.dims.size()));
    for (const uint64_t dim : tensor.dims) out.Number(dim);
    out.Number(tensor.type);
    out.Number(tensor.offset);
  }
  out.Pad(32);
  const size_t data = out.size();
  for (const auto& tensor : tensors) {
    out.Raw(std::string(tensor.offset - (out.size() - data) + tensor.bytes, '\x2c'));
  }
  return out.Take(data);
}

Sample SafetensorsSample() {
  Builder out;
  std::string json =
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[3,4],"data_offsets":[0,48]},)"
      R"("b.weight":{"dtype":"BF16","shape":[2,2,2],"data_offsets":[48,64]},)"
      R"("empty":{"dtype":"I64","shape":[0,7],"data_offsets":[64,64]},"flag":{"dtype":"BOOL","shape":[],"data_offsets":[64,65]}})";
  json.append((8 - json.size() % 8) % 8, ' ');
  out.Number<uint64_t>(json.size());
  out.Raw(json);
  const size_t data = out.size();
  out.Raw(std::string(65, '\x3f'));
  return out.Take(data);
}

Sample TorchSample(const std::string& path) {
  Sample sample{.bytes = ReadFile(path).value(), .fields = {}, .header_bytes = 0};
  for (size_t at = 0; at + 4 <= sample.bytes.size(); ++at) {
    const uint32_t signature = Load32(sample.bytes, at);
    if (signature == 0x04034b50) {
      AddFields(at, {{0, 4}, {6, 2}, {8, 2}, {18, 4}, {22, 4}, {26, 2}, {28, 2}}, &sample);
      // The pickle is the first entry.
      if (sample.header_bytes == 0) {
        sample.header_bytes =
            at + 30 + Load16(sample.bytes, at + 26) + Load16(sample.bytes, at + 28) + Load32(sample.bytes, at + 22);
      }
    } else if (signature == 0x02014b50) {
      AddFields(at, {{8, 2}, {10, 2}, {20, 4}, {24, 4}, {28, 2}, {30, 2}, {32, 2}, {42, 4}}, &sample);
    } else if (signature == 0x06064b50) {
      AddFields(at, {{0, 4}, {32, 8}, {40, 8}, {48, 8}}, &sample);
    } else if (signature == 0x07064b50) {
      AddFields(at, {{0, 4}, {8, 8}}, &sample);
    } else if (signature == 0x06054b50) {
      AddFields(at, {{0, 4}, {4, 2}, {8, 2}, {10, 2}, {12, 4}, {16, 4}, {20, 2}}, &sample);
    }
  }
  // torch leaves the sizes of the local header to a descriptor behind the data; then the pickle ends before the next
  // one.
  if (sample.header_bytes < 200) sample.header_bytes = sample.bytes.find("PK", 200);
  return sample;
}

Sample HfConfigSample() {
  Builder out;
  out.Raw(R"({"model_type":"gemma3","hidden_size":64,"rope_theta":1e4,"eos_token_id":[1,106],"tie":true,)"
          R"("text_config":{"model_type":"gemma3_text","bos_token_id":2,"layer_types":["full",null]}})");
  out.Raw(std::string_view("\0", 1));
  out.Raw(R"({"eos_token_id":107,"temperature":0.7})");
  out.Raw(std::string_view("\0", 1));
  out.Raw(
      R"({"add_bos_token":false,"chat_template":[{"name":"default","template":"{{ x }}"},{"name":"t","template":"y"}]})");
  const size_t size = out.size();
  return out.Take(size);
}

Sample ShardIndexSample() {
  Builder out;
  out.Raw(R"({"metadata":{"total_size":72},"weight_map":{"embed.weight":"model-00001-of-00002.safetensors",)"
          R"("norm.weight":"model-00002-of-00002.safetensors"}})");
  const size_t size = out.size();
  return out.Take(size);
}

}  // namespace ingot::formats
