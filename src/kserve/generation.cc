#include "kserve/generation.h"

#include <algorithm>

#include "base/json_writer.h"
#include "chat/chat_template.h"
#include "llm/params.h"
#include "tokenizer/tokenizer.h"

namespace ingot::kserve {
namespace {

using answers::Fields;

// Of a turn that is none: only its last event comes.
class EndedHandle : public llm::Handle {
 public:
  void Cancel() override {}
  void Fail(Status) override {}
  void Wait() override {}
  int64_t prompt_tokens() const override { return 0; }
};

constexpr float kNeverDrawn = -100;  // a logit bias; the API's lowest

std::vector<std::vector<int32_t>> WordIds(const Fields& fields, const char* name) {
  std::vector<std::vector<int32_t>> words;
  const boost::json::value* list = fields.Find(name);
  if (list == nullptr) return words;
  for (const boost::json::value& word : list->get_array()) words.push_back(answers::ToIds(word.get_array()));
  return words;
}

// The parameters that the row names, over the model's defaults.
Status ReadInputs(const Fields& fields, const llm::Llm& llm, llm::Request* request) {
  request->sampling = llm.default_sampling();
  const auto read = [&](const char* name, const char* param) -> Status {
    const boost::json::value* value = fields.Find(name);
    return value == nullptr ? Status() : SetParam(*llm::FindParam(param), JsonView(*value, name), request).Of(name);
  };
  for (const Input& input : AllInputs()) {
    if (input.param != nullptr) INGOT_RETURN_IF_ERROR(read(input.name, input.param));
  }
  for (const char* name : kParamsWithoutInput) INGOT_RETURN_IF_ERROR(read(name, name));
  if (const auto end_id = fields.Int("end_id"); end_id && *end_id >= 0)
    request->stop_token_ids.push_back(static_cast<int32_t>(*end_id));
  for (const std::vector<int32_t>& word : WordIds(fields, "stop_words_list")) {
    if (word.size() == 1) {
      request->stop_token_ids.push_back(word[0]);
    } else {
      request->stop.push_back(llm.tokenizer().Decode(word, /*skip_special_tokens=*/false));
    }
  }
  for (const std::vector<int32_t>& word : WordIds(fields, "bad_words_list")) {
    if (word.size() == 1) {
      request->logit_bias.push_back({word[0], kNeverDrawn});
    } else {
      request->bad_words.push_back(llm.tokenizer().Decode(word, /*skip_special_tokens=*/false));
    }
  }
  return {};
}

bool WantsLogProbs(const Fields& fields, const std::vector<std::string>& outputs) {
  const auto is_wanted = [&](const char* name) { return std::ranges::find(outputs, name) != outputs.end(); };
  return fields.Bool("return_log_probs", false) || fields.Bool("is_return_log_probs", false) ||
         is_wanted("cum_log_probs") || is_wanted("output_log_probs");
}

Status CheckWanted(const std::vector<std::string>& wanted) {
  for (const std::string& name : wanted) {
    if (std::ranges::any_of(AllOutputs(), [&](const Output& output) { return name == output.name; })) continue;
    std::vector<const char*> names;
    for (const Output& output : AllOutputs()) names.push_back(output.name);
    return Status(InvalidArgument("there is no output '{}'; the outputs are {}", name.substr(0, 64),
                                  fmt::join(names, ", ")))
        .Of(name);
  }
  return {};
}

// Drops what follows the session's first `step` tokens.
Status RewindTo(llm::Sessions& sessions, const llm::SessionKey& key, int64_t step) {
  const auto info = sessions.Find(key);
  if (info && step > info->tokens) {
    return Status(InvalidArgument("step is {}, outside 0…{}, the tokens of session {}", step, info->tokens, key.id))
        .Of("step");
  }
  const auto rewound = sessions.Rewind(key, step, [] {});
  return rewound ? Status() : rewound.error().Of("CORRID");
}

std::string TensorList(bool of_inputs) {
  const auto one = [](const char* name, DataType type, const std::vector<int64_t>& dims) {
    return JsonObject()
        .Add("name", name)
        .Add("datatype", NameOf(type))
        .AddJson("shape", JsonList(MetadataShape(dims)))
        .Text();
  };
  std::vector<std::string> list;
  if (of_inputs) {
    for (const Input& input : AllInputs()) {
      if (!input.is_alias) list.push_back(one(input.name, input.type(), input.dims()));
    }
  } else {
    for (const Output& output : AllOutputs()) list.push_back(one(output.name, output.type, output.dims()));
  }
  return JsonList(list, [](const std::string& text) { return text; });
}

}  // namespace

Generator::Generator(const answers::ServedModel& model, llm::Sessions* sessions)
    : model_(model), sessions_(sessions), schema_(GenerateSchema(model.limits)) {}

// A turn of a session, or a command to it. START drops what the session was; without it there must be one.
Result<answers::Question> Generator::TurnOf(const Fields& fields, llm::Request request, llm::SessionKey key) const {
  if (sessions_ == nullptr) return Unsupported("CORRID: there are no sessions here");
  const bool start = fields.Bool("START", false), end = fields.Bool("END", false), stop = fields.Bool("STOP", false);
  const std::string text = fields.Text("text_input").value_or("");
  const bool is_empty = text.empty() && request.token_ids.empty();
  const int64_t step = fields.Int("step").value_or(-1);
  request.default_max_tokens = DefaultTokens(model_.limits, 0);
  if (!request.token_ids.empty()) {
    request.prompt.reset();
  } else if (model_.llm.chat_template() != nullptr) {
    request.messages = {{{"role", "user"}, {"content", text}}};
    request.prompt.reset();
  }
  answers::Question question{.requests = {std::move(request)}, .prompt_field = "text_input"};
  llm::Sessions& sessions = *sessions_;
  question.submit = [&sessions, key, start, end, stop, is_empty, step](
                        const llm::Request& one, llm::EventFn on_event) -> Result<std::shared_ptr<llm::Handle>> {
    const auto done = [on_event] { on_event({.finish = llm::FinishReason::kStop}); };
    if (stop) {
      sessions.Cancel(key, done);
      return std::make_shared<EndedHandle>();
    }
    const bool is_there = sessions.Find(key).has_value();
    if (!start && !is_there) {
      return Error(Status(NotFound("there is no session {}; the first turn of one has START", key.id)).Of("CORRID"));
    }
    if (is_empty && end) {
      INGOT_RETURN_IF_ERROR(sessions.Remove(key, [done](const llm::SessionInfo&) { done(); }).Of("CORRID"));
      return std::make_shared<EndedHandle>();
    }
    if (start && is_there) INGOT_RETURN_IF_ERROR(sessions.Remove(key, [](const llm::SessionInfo&) {}).Of("CORRID"));
    if (!start && step >= 0) INGOT_RETURN_IF_ERROR(RewindTo(sessions, key, step));
    INGOT_ASSIGN_OR_RETURN(const llm::TurnHandle turn,
                           sessions.Turn(key, {.request = one, .keep = !end}, std::move(on_event)));
    return turn.handle;
  };
  return question;
}

Status Generator::AddRow(const boost::json::object& row, const std::string& owner, Generation* generation,
                         Outputs::Plan* plan) const {
  const boost::json::value value(row);
  if (const auto error = Check(schema_, JsonView(value, ""))) return error->status.Of(error->param);
  const Fields fields(value);
  llm::Request request;
  INGOT_RETURN_IF_ERROR(ReadInputs(fields, model_.llm, &request));
  request.prompt = fields.Text("text_input");
  request.token_ids = fields.Ids("input_ids");
  request.default_max_tokens = DefaultTokens(model_.limits, answers::kGenerateTokens);
  plan->log_probs = WantsLogProbs(fields, plan->wanted) || plan->log_probs;
  if (plan->log_probs) request.logprobs = 0;
  plan->n = request.n;
  generation->stream = fields.Bool("stream", false);
  const int64_t session = fields.Int("CORRID").value_or(0);
  if (session > 0) {
    INGOT_ASSIGN_OR_RETURN(generation->question, TurnOf(fields, std::move(request), {owner, session}));
    return {};
  }
  for (const char* name : {"START", "END", "STOP"}) {
    if (fields.Bool(name, false))
      return Status(InvalidArgument("{} is of a session, and CORRID names none", name)).Of(name);
  }
  if (const int64_t step = fields.Int("step").value_or(0); step > 0)
    return Status(InvalidArgument("step is {}, of a session, and CORRID names none", step)).Of("step");
  if (!fields.Bool("exclude_input_in_output", false)) {
    plan->echoed_ids.push_back(request.token_ids);
    plan->echoed_texts.push_back(request.prompt
                                     ? *request.prompt
                                     : model_.llm.tokenizer().Decode(request.token_ids, /*skip_special_tokens=*/false));
  }
  generation->question.prompt_field = request.prompt ? "text_input" : "input_ids";
  generation->question.requests.push_back(std::move(request));
  return {};
}

Result<Generation> Generator::FromTensors(const InferRequest& request, const std::string& owner) const {
  INGOT_RETURN_IF_ERROR(CheckWanted(request.outputs));
  INGOT_ASSIGN_OR_RETURN(const Rows rows, RowsOf(request));
  Generation generation;
  Outputs::Plan plan{.id = request.id,
                     .model_name = model_.name,
                     .wanted = request.outputs,
                     .has_batch_dimension = rows.has_batch_dimension};
  for (size_t i = 0; i < rows.rows.size(); ++i) {
    if (rows.rows.size() > 1 && rows.rows[i].contains("CORRID") && rows.rows[i].at("CORRID") != 0) {
      return Error(Status(InvalidArgument("CORRID: a turn of a session is one row, {} are given", rows.rows.size()))
                       .Of("CORRID"));
    }
    const int64_t n = plan.n;
    const Status status = AddRow(rows.rows[i], owner, &generation, &plan);
    if (!status.ok()) return Error(rows.rows.size() > 1 ? status.Annotate(fmt::format("row {}", i)) : status);
    if (i > 0 && plan.n != n) {
      return Error(
          Status(InvalidArgument("input 'num_return_sequences': is {} and {}; rows have one number", n, plan.n))
              .Of("num_return_sequences"));
    }
  }
  if (plan.echoed_texts.size() != rows.rows.size()) plan.echoed_texts.clear();
  generation.outputs = std::make_shared<Outputs>(std::move(plan));
  return generation;
}

Result<Generation> Generator::FromBody(std::string_view body, const std::string& owner) const {
  INGOT_ASSIGN_OR_RETURN(boost::json::value parsed, ParseJson(body, "body", answers::kMaxBodyParts));
  if (!parsed.is_object()) return InvalidArgument("the body is no JSON object");
  boost::json::object row = std::move(parsed.get_object());
  Outputs::Plan plan{.model_name = model_.name};
  if (const auto* id = row.if_contains("id"); id != nullptr && id->is_string()) plan.id = std::string(id->get_string());
  boost::json::object more;
  if (boost::json::value* parameters = row.if_contains("parameters")) {
    if (!parameters->is_object() && !parameters->is_null())
      return Error(Status(InvalidArgument("parameters is no object")).Of("parameters"));
    if (parameters->is_object()) more = std::move(parameters->get_object());
  }
  row.erase("parameters");
  INGOT_RETURN_IF_ERROR(MergeParameters(more, &row));
  // Empty words, too, ask for nothing.
  for (const char* name : {"stop_words", "bad_words"}) {
    boost::json::value* words = row.if_contains(name);
    if (words == nullptr) continue;
    if (words->is_string()) *words = boost::json::array{*words};
    if (words->is_array()) *words = WithoutEmptyTexts(words->get_array());
  }
  if (row.contains("text_input") == row.contains("input_ids"))
    return InvalidArgument("the prompt is text_input, or input_ids: one of them");
  const bool has_stream = row.contains("stream");
  Generation generation;
  INGOT_RETURN_IF_ERROR(AddRow(row, owner, &generation, &plan));
  if (!has_stream) generation.stream = true;
  generation.outputs = std::make_shared<Outputs>(std::move(plan));
  return generation;
}

std::vector<int64_t> MetadataShape(std::vector<int64_t> dims) {
  dims.insert(dims.begin(), -1);
  return dims;
}

std::string ModelMetadataJson(const std::string& model_name) {
  return JsonObject()
      .Add("name", model_name)
      .AddJson("versions", JsonList(std::vector<std::string>{kModelVersion}))
      .Add("platform", kPlatform)
      .AddJson("inputs", TensorList(/*of_inputs=*/true))
      .AddJson("outputs", TensorList(/*of_inputs=*/false))
      .Text();
}

std::string ServerMetadataJson(const std::string& version) {
  return JsonObject()
      .Add("name", kServerName)
      .Add("version", version)
      .AddJson("extensions", JsonList(kExtensions))
      .Text();
}

}  // namespace ingot::kserve
