#include "kserve/inputs.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "llm/params.h"

namespace ingot::kserve {
namespace {

using answers::Array;
using answers::Boolean;
using answers::Integer;
using answers::Number;
using answers::Property;
using answers::Schema;
using answers::String;

constexpr size_t kMaxWords = 256, kMaxWordIds = 256;
constexpr size_t kMaxRows = 128;  // as many as a completion request has prompts

// Inputs that are no parameter of REST, or have another name there. The parameters of llm/params.h follow under their
// own names.
constexpr Input kOwnInputs[] = {{"text_input", Kind::kText},
                                {"input_ids", Kind::kInteger, true},
                                {"input_lengths", Kind::kInteger},
                                {"max_tokens", Kind::kInteger, false, "max_tokens"},
                                {"request_output_len", Kind::kInteger, false, "max_tokens", true},
                                {"stop_words", Kind::kText, true, "stop"},
                                {"stop_words_list", Kind::kInteger, false, nullptr, false, true},
                                {"bad_words_list", Kind::kInteger, false, nullptr, false, true},
                                {"start_id", Kind::kInteger},
                                {"end_id", Kind::kInteger},
                                {"pad_id", Kind::kInteger},
                                {"runtime_top_k", Kind::kInteger, false, "top_k", true},
                                {"runtime_top_p", Kind::kFloat, false, "top_p", true},
                                {"length_penalty", Kind::kFloat},
                                {"len_penalty", Kind::kFloat, false, nullptr, true},
                                {"beam_search_diversity_rate", Kind::kFloat},
                                {"beam_width", Kind::kInteger},
                                {"seed", Kind::kUnsigned, false, "seed"},
                                {"random_seed", Kind::kUnsigned, false, "seed", true},
                                {"num_return_sequences", Kind::kInteger, false, "n"},
                                {"stream", Kind::kBool},
                                {"exclude_input_in_output", Kind::kBool},
                                {"return_log_probs", Kind::kBool},
                                {"is_return_log_probs", Kind::kBool, false, nullptr, true},
                                {"session_len", Kind::kInteger},
                                {"step", Kind::kInteger},
                                {"CORRID", Kind::kUnsigned},
                                {"START", Kind::kBool},
                                {"END", Kind::kBool},
                                {"STOP", Kind::kBool}};

// The input that sets a parameter.
struct InputOf {
  const llm::Param& param;
  Input operator()(const bool*) const { return {param.name, Kind::kBool, false, param.name}; }
  Input operator()(const double*) const { return {param.name, Kind::kFloat, false, param.name}; }
  Input operator()(const int64_t*) const { return {param.name, Kind::kInteger, false, param.name}; }
  Input operator()(const int32_t*) const { return {param.name, Kind::kInteger, false, param.name}; }
  Input operator()(const std::string*) const { return {param.name, Kind::kText, false, param.name}; }
  template <typename T>
  Input operator()(const std::optional<T>*) const {
    return (*this)(static_cast<const T*>(nullptr));
  }
  template <typename T>
  Input operator()(const std::vector<T>*) const {
    Input input = (*this)(static_cast<const T*>(nullptr));
    input.is_list = true;
    return input;
  }
  // A map, which is not asked for: kParamsWithoutInput.
  Input operator()(const std::vector<sampling::LogitBias>*) const { return {param.name, Kind::kText}; }
};

std::vector<Input> MakeInputs() {
  std::vector<Input> inputs(std::begin(kOwnInputs), std::end(kOwnInputs));
  llm::Request request;
  for (const llm::Param& param : llm::AllParams()) {
    const std::string_view name = param.name;
    const auto sets_it = [&](const Input& input) {
      return !input.is_alias && input.param != nullptr && input.param == name;
    };
    const bool has_tensor = (param.uses & llm::kInBody) != 0 &&
                            std::ranges::find(kParamsWithoutInput, name) == std::end(kParamsWithoutInput);
    if (has_tensor && std::ranges::none_of(kOwnInputs, sets_it))
      inputs.push_back(std::visit(InputOf{param}, param.field(request)));
  }
  return inputs;
}

constexpr Output kOutputs[] = {{"text_output", DataType::kBytes},          {"finish_reason", DataType::kBytes},
                               {"sequence_index", DataType::kInt32},       {"sequence_length", DataType::kInt32},
                               {"output_ids", DataType::kInt32, true},     {"cum_log_probs", DataType::kFp32},
                               {"output_log_probs", DataType::kFp32, true}};

bool IsInteger(DataType type) {
  return type == DataType::kInt32 || type == DataType::kInt64 || type == DataType::kUint32 || type == DataType::kUint64;
}

// Clients differ in the width of numbers, and LMDeploy's flags were INT32.
bool Takes(Kind kind, DataType type) {
  switch (kind) {
    case Kind::kText:
      return type == DataType::kBytes;
    case Kind::kInteger:
    case Kind::kUnsigned:
      return IsInteger(type);
    case Kind::kFloat:
      return type == DataType::kFp32 || type == DataType::kFp64;
    case Kind::kBool:
      return type == DataType::kBool || IsInteger(type);
  }
  return false;
}

boost::json::value AsFlag(const boost::json::value& value) {
  if (value.is_int64()) return value.get_int64() != 0;
  if (value.is_uint64()) return value.get_uint64() != 0;
  return value;
}

const Tensor* FindTensor(const InferRequest& request, std::string_view name) {
  const auto found = std::ranges::find(request.inputs, name, &Tensor::name);
  return found == request.inputs.end() ? nullptr : &*found;
}

Status Unfit(const Tensor& tensor, const Input& input, const std::string& expected) {
  return Status(InvalidArgument("input '{}': expected {} of shape {}, given {}", tensor.name, NameOf(input.type()),
                                expected, Describe(tensor.type, tensor.shape)))
      .Of(tensor.name);
}

// The batch dimension, from the prompts: [rows, 1] or [rows] of text, [rows, tokens] or [tokens] of ids.
Result<int64_t> NumRows(const InferRequest& request, bool* has_batch_dimension) {
  const Tensor* text = FindTensor(request, "text_input");
  const Tensor* ids = FindTensor(request, "input_ids");
  if ((text != nullptr) == (ids != nullptr)) {
    return InvalidArgument(
        "{}: the prompt is the input text_input, or input_ids",
        text == nullptr ? "neither text_input nor input_ids is given" : "both text_input and input_ids are given");
  }
  const Tensor& prompt = text != nullptr ? *text : *ids;
  const Input& input = *FindInput(prompt.name);
  const std::vector<int64_t>& shape = prompt.shape;
  const bool fits = Takes(input.kind, prompt.type) && (text != nullptr ? shape.size() <= 2 : !shape.empty()) &&
                    shape.size() <= 2 && (text == nullptr || shape.size() < 2 || shape[1] == 1);
  if (!fits)
    return Error(Unfit(prompt, input, text != nullptr ? "[1], [rows] or [rows,1]" : "[tokens] or [rows,tokens]"));
  *has_batch_dimension = shape.size() == 2;
  const int64_t rows = shape.size() == 2 || (text != nullptr && !shape.empty()) ? shape[0] : 1;
  if (rows >= 1 && rows <= static_cast<int64_t>(kMaxRows)) return rows;
  return Error(Status(InvalidArgument("input '{}': {} rows are given; 1…{} are taken", prompt.name, rows, kMaxRows))
                   .Of(prompt.name));
}

// One value for all rows, or one for each.
Status AddScalar(const Tensor& tensor, const Input& input, std::vector<boost::json::object>* rows) {
  const auto count = static_cast<int64_t>(rows->size());
  INGOT_ASSIGN_OR_RETURN(boost::json::array values, Values(tensor));
  const std::vector<int64_t>& shape = tensor.shape;
  const bool fits = shape.size() <= 2 && (shape.size() < 2 || shape[1] == 1) &&
                    (std::ssize(values) == 1 || std::ssize(values) == count);
  if (!fits) return Unfit(tensor, input, count == 1 ? "[1] or [1,1]" : fmt::format("[1] or [{},1]", count));
  for (size_t row = 0; row < rows->size(); ++row) {
    const boost::json::value& value = values[values.size() == 1 ? 0 : row];
    (*rows)[row][tensor.name] = input.kind == Kind::kBool ? AsFlag(value) : value;
  }
  return {};
}

// [entries] for all rows, or [rows, entries].
Status AddList(const Tensor& tensor, const Input& input, std::vector<boost::json::object>* rows) {
  const auto count = static_cast<int64_t>(rows->size());
  INGOT_ASSIGN_OR_RETURN(const boost::json::array values, Values(tensor));
  const std::vector<int64_t>& shape = tensor.shape;
  const bool fits = shape.size() == 1 || (shape.size() == 2 && (shape[0] == 1 || shape[0] == count));
  if (!fits) return Unfit(tensor, input, fmt::format("[entries] or [{},entries]", count));
  const auto length = static_cast<size_t>(shape.back());
  for (size_t row = 0; row < rows->size(); ++row) {
    const size_t begin = shape.size() == 2 && shape[0] > 1 ? row * length : 0;
    boost::json::array part(values.begin() + static_cast<std::ptrdiff_t>(begin),
                            values.begin() + static_cast<std::ptrdiff_t>(begin + length));
    (*rows)[row][tensor.name] = input.kind == Kind::kText ? WithoutEmptyTexts(part) : part;
  }
  return {};
}

// The words of one row: `ids` [n], and `ends` [n], whose first value below 1 says that no more words follow.
Result<boost::json::array> WordsOf(std::span<const boost::json::value> ids, std::span<const boost::json::value> ends) {
  boost::json::array words;
  size_t begin = 0;
  for (const boost::json::value& value : ends) {
    INGOT_ASSIGN_OR_RETURN(const int64_t end, JsonView(value, "end").AsInt());
    if (end < 1) break;
    if (end <= static_cast<int64_t>(begin) || end > std::ssize(ids)) {
      return InvalidArgument("a word ends at {}, outside {}…{}: the second row has the ends of the words, ascending",
                             end, begin + 1, ids.size());
    }
    words.emplace_back(boost::json::array(ids.begin() + static_cast<std::ptrdiff_t>(begin), ids.begin() + end));
    begin = static_cast<size_t>(end);
  }
  return words;
}

// [2, n] for all rows, or [rows, 2, n].
Status AddWords(const Tensor& tensor, const Input& input, std::vector<boost::json::object>* rows) {
  const auto count = static_cast<int64_t>(rows->size());
  INGOT_ASSIGN_OR_RETURN(const boost::json::array values, Values(tensor));
  const std::vector<int64_t>& shape = tensor.shape;
  const bool fits = (shape.size() == 2 || (shape.size() == 3 && (shape[0] == 1 || shape[0] == count))) &&
                    shape[shape.size() - 2] == 2;
  if (!fits) return Unfit(tensor, input, fmt::format("[2,entries] or [{},2,entries]", count));
  const auto length = static_cast<size_t>(shape.back());
  for (size_t row = 0; row < rows->size(); ++row) {
    const std::span<const boost::json::value> all(values.data(), values.size());
    const auto both = all.subspan(shape.size() == 3 && shape[0] > 1 ? row * 2 * length : 0, 2 * length);
    INGOT_ASSIGN_OR_RETURN((*rows)[row][tensor.name], WordsOf(both.first(length), both.last(length)));
  }
  return {};
}

Status AddTensor(const Tensor& tensor, std::vector<boost::json::object>* rows) {
  const Input* input = FindInput(tensor.name);
  if (input == nullptr) {
    std::vector<const char*> names;
    for (const Input& known : AllInputs()) names.push_back(known.name);
    return Status(InvalidArgument("there is no input '{}'; the inputs are {}", tensor.name.substr(0, 64),
                                  fmt::join(names, ", ")))
        .Of(tensor.name);
  }
  if (rows->front().contains(tensor.name))
    return Status(InvalidArgument("input '{}' is given twice", tensor.name)).Of(tensor.name);
  if (!Takes(input->kind, tensor.type)) return Unfit(tensor, *input, input->is_list ? "[entries]" : "[1]");
  INGOT_RETURN_IF_ERROR(CheckData(tensor).Of(tensor.name));
  const auto add = input->is_words ? AddWords : input->is_list ? AddList : AddScalar;
  return add(tensor, *input, rows).Of(tensor.name);
}

// Ids of a batch have one length: input_lengths says how many count.
Status CutIds(boost::json::object* row) {
  boost::json::value* ids = row->if_contains("input_ids");
  const boost::json::value* length = row->if_contains("input_lengths");
  if (ids == nullptr || length == nullptr) return {};
  INGOT_ASSIGN_OR_RETURN(const int64_t count, JsonView(*length, "input_lengths").AsInt());
  if (count < 1 || count > std::ssize(ids->get_array())) {
    return Status(InvalidArgument("input 'input_lengths': {} is outside 1…{}, the ids of input_ids", count,
                                  ids->get_array().size()))
        .Of("input_lengths");
  }
  ids->get_array().resize(static_cast<size_t>(count));
  return {};
}

// As a parser gives numbers: unsigned only where they do not fit.
boost::json::value Signed(const boost::json::value& value) {
  if (value.is_uint64() && std::in_range<int64_t>(value.get_uint64())) return static_cast<int64_t>(value.get_uint64());
  return value;
}

// Parameters that change nothing in an answer.
bool IsTransportParameter(std::string_view name) {
  return name == "binary_data_output" || name == "headers" || name.starts_with("triton_") || name == "timeout" ||
         name == "generate";
}

}  // namespace

boost::json::array WithoutEmptyTexts(const boost::json::array& list) {
  boost::json::array kept;
  for (const boost::json::value& value : list) {
    if (!value.is_string() || !value.get_string().empty()) kept.push_back(value);
  }
  return kept;
}

DataType Input::type() const {
  switch (kind) {
    case Kind::kText:
      return DataType::kBytes;
    case Kind::kInteger:
      return DataType::kInt32;
    case Kind::kUnsigned:
      return DataType::kUint64;
    case Kind::kFloat:
      return DataType::kFp32;
    case Kind::kBool:
      return DataType::kBool;
  }
  return DataType::kBytes;
}

std::vector<int64_t> Input::dims() const {
  if (is_words) return {2, -1};
  return {is_list ? -1 : 1};
}
std::vector<int64_t> Output::dims() const { return {is_list ? -1 : 1}; }

std::span<const Input> AllInputs() {
  static const std::vector<Input> inputs = MakeInputs();
  return inputs;
}
std::span<const Output> AllOutputs() { return kOutputs; }

const Input* FindInput(std::string_view name) {
  const std::span<const Input> inputs = AllInputs();
  const auto found = std::ranges::find(inputs, name, [](const Input& input) { return std::string_view(input.name); });
  return found == inputs.end() ? nullptr : &*found;
}

answers::Schema GenerateSchema(const answers::ModelLimits& limits) {
  constexpr int64_t kHigh = std::numeric_limits<int64_t>::max();
  const int64_t max_tokens = limits.max_output_len > 0 ? limits.max_output_len : std::numeric_limits<int32_t>::max();
  const int64_t max_id = limits.vocab_size - 1;
  const auto words = [&] { return Array(Array(Integer(0, max_id), 1, kMaxWordIds), 0, kMaxWords); };
  std::vector<Property> own = {
      {"text_input", String(0, answers::kMaxText).Describe("the prompt; or give input_ids")},
      {"input_ids", Array(Integer(0, max_id), 1, answers::kMaxText).Describe("the prompt's ids")},
      {"end_id", Integer(-1, max_id).Describe("a token that ends the answer, in addition to the model's own")},
      {"pad_id", Integer(-1, kHigh).Describe("taken and ignored")},
      {"stop_words_list", words().Describe("words that end the answer, as ids")},
      {"bad_words_list", words().Describe("words that are not drawn, as ids")},
      {"start_id", Integer(-1, kHigh).Describe("taken and ignored")},
      {"length_penalty", Number(0, 1).Describe("taken and ignored: there is no beam search")},
      {"len_penalty", Number(0, 1).Describe("taken and ignored: there is no beam search")},
      {"beam_search_diversity_rate", Number(0, kHigh).Describe("taken and ignored: there is no beam search")},
      {"session_len", Integer(0, limits.session_len).Describe("taken and ignored: the server's holds")},
      {"step", Integer(-1, kHigh).Describe("tokens of the session that the turn continues from; -1: all of it")},
      {"beam_width", Integer(1, 1).OrUnsupported("there is no beam search")},
      {"stream", Boolean().Describe("in pieces, where the transport can")},
      {"exclude_input_in_output", Boolean().Default(false).Describe("leave the prompt out of text_output")},
      {"return_log_probs", Boolean().Default(false)},
      {"is_return_log_probs", Boolean().Default(false)},
      {"CORRID", Integer(0, kHigh).Describe("the session that the prompt is a turn of; 0: none")},
      {"START", Boolean().Default(false).Describe("the turn begins the session")},
      {"END", Boolean().Default(false).Describe("the session is forgotten after the turn")},
      {"STOP", Boolean().Default(false).Describe("no turn: stop the one that runs")}};
  for (const Input& input : AllInputs()) {
    if (input.param == nullptr) continue;
    const std::string_view param = input.param;
    Schema schema = param == "max_tokens" ? Integer(1, max_tokens).Describe("longest answer")
                                          : ParamProperty(*llm::FindParam(param), limits).schema;
    own.push_back({input.name, std::move(schema)});
  }
  for (const char* name : kParamsWithoutInput) own.push_back(ParamProperty(*llm::FindParam(name), limits));
  return answers::Object(answers::RefuseOthers(std::move(own)))
      .Named("TritonGenerateRequest")
      .Example(boost::json::object{{"text_input", "The capital of France is"}, {"max_tokens", 16}, {"temperature", 0}});
}

Result<Rows> RowsOf(const InferRequest& request) {
  Rows result;
  INGOT_ASSIGN_OR_RETURN(const int64_t rows, NumRows(request, &result.has_batch_dimension));
  result.rows.resize(static_cast<size_t>(rows));
  for (const Tensor& tensor : request.inputs) INGOT_RETURN_IF_ERROR(AddTensor(tensor, &result.rows));
  for (boost::json::object& row : result.rows) {
    INGOT_RETURN_IF_ERROR(CutIds(&row));
    row.erase("input_lengths");
    INGOT_RETURN_IF_ERROR(MergeParameters(request.parameters, &row));
  }
  return result;
}

Status MergeParameters(const boost::json::object& parameters, boost::json::object* object) {
  constexpr std::pair<std::string_view, const char*> kSequence[] = {
      {"sequence_id", "CORRID"}, {"sequence_start", "START"}, {"sequence_end", "END"}};
  for (const auto& parameter : parameters) {
    std::string_view name = parameter.key();
    for (const auto& [sent, ours] : kSequence) name = name == sent ? ours : name;
    const Input* input = FindInput(name);
    // Triton's clients count in microseconds.
    if (name == "timeout" && parameter.value().is_number()) {
      const double microseconds = parameter.value().to_number<double>();
      if (microseconds > 0 && !object->contains("timeout")) (*object)["timeout"] = microseconds * 1e-6;
    } else if (input != nullptr && !object->contains(name)) {
      (*object)[name] = Signed(parameter.value());
    } else if (input == nullptr && !IsTransportParameter(name)) {
      return Status(
                 InvalidArgument("parameter '{}' is not known; it may be the name of an input", parameter.key_c_str()))
          .Of(std::string(name));
    }
  }
  return {};
}

}  // namespace ingot::kserve
