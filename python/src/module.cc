// ingot._core: the engine for the Python package, which gives it its shape. All that waits or computes is without the
// GIL. Threads of the engine take it where PyTorch computes a model (torch_model.h), and nowhere else.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>
#include <unistd.h>

#include <utility>

#include "base/log.h"
#include "chat/chat_template.h"
#include "engine.h"
#include "event_queue.h"
#include "formats/alias.h"
#include "formats/checkpoint.h"
#include "load.h"
#include "tokenizer/tokenizer.h"
#include "torch_model.h"

namespace nb = nanobind;
using namespace nb::literals;  // NOLINT: "name"_a, as nanobind names arguments

namespace ingot::python {
namespace {

using WithoutGil = nb::call_guard<nb::gil_scoped_release>;

// A Status on its way into a Python exception.
struct StatusError : std::exception {
  explicit StatusError(Status s) : status(std::move(s)) {}
  const char* what() const noexcept override { return status.message().c_str(); }
  Status status;
};

void Check(const Status& status) {
  if (!status.ok()) throw StatusError(status);
}
template <typename T>
T Check(Result<T> result) {
  if (!result) throw StatusError(std::move(result).error());
  return *std::move(result);
}

// The class by the code, in ingot/errors.py.
void Translate(const std::exception_ptr& pointer, void*) {
  try {
    std::rethrow_exception(pointer);
  } catch (const StatusError& error) {
    const Status& status = error.status;
    const nb::object made =
        nb::module_::import_("ingot.errors").attr("make")(CodeName(status.code()), status.message(), status.field());
    PyErr_SetObject(made.type().ptr(), made.ptr());
  }
}

std::chrono::milliseconds Milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

// A running request, of which a forked child must not touch the locks.
struct PyHandle {
  std::shared_ptr<llm::Handle> handle;
  int pid = getpid();

  void Cancel() const {
    if (getpid() == pid) handle->Cancel();
  }
};

nb::list ToPython(const std::vector<int32_t>& ids) {
  nb::list list;
  for (const int32_t id : ids) list.append(id);
  return list;
}

// What LMDeploy's Response.logprobs has: of each token {id: logprob}, the chosen one's first.
nb::list LogprobsOf(const std::vector<llm::TokenInfo>& tokens) {
  nb::list list;
  for (const llm::TokenInfo& token : tokens) {
    nb::dict one;
    one[nb::int_(token.chosen.id)] = token.chosen.logprob;
    for (const llm::TokenLogprob& other : token.top) one[nb::int_(other.id)] = other.logprob;
    list.append(one);
  }
  return list;
}

// (tag, choice, text, token ids, logprobs, None or (finish, stop reason, error code, message, prompt tokens,
// completion tokens, cached tokens))
nb::tuple ToPython(const TaggedEvent& tagged) {
  const llm::Event& event = tagged.event;
  nb::object end = nb::none();
  if (event.finish) {
    const std::string code = event.error.ok() ? "" : CodeName(event.error.code());
    end = nb::make_tuple(FinishReasonName(*event.finish), event.stop_reason, code, event.error.message(),
                         event.usage.prompt_tokens, event.usage.completion_tokens, event.usage.cached_tokens);
  }
  return nb::make_tuple(tagged.tag, event.index, event.text, ToPython(event.token_ids), LogprobsOf(event.logprobs),
                        end);
}

nb::list Take(EventQueue& queue, double wait_seconds) {
  std::vector<TaggedEvent> events;
  {
    const nb::gil_scoped_release release;
    events = queue.Take(Milliseconds(wait_seconds));
  }
  nb::list list;
  for (const TaggedEvent& event : events) list.append(ToPython(event));
  return list;
}

Body BodyOf(bool chat) { return chat ? Body::kChat : Body::kCompletion; }

Prompt Prepare(const Engine& engine, bool chat, const std::string& body) {
  return Check(engine.Prepare(BodyOf(chat), body));
}

PyHandle Submit(const Engine& engine, const Prompt& prompt, const Destination& destination) {
  return {.handle = Check(engine.Submit(prompt, destination))};
}

struct PyTurn {
  PyHandle handle;
  int64_t history_tokens, input_tokens;
};
PyTurn Turn(const Engine& engine, int64_t session_id, std::pair<bool, std::string> body,
            const Destination& destination) {
  const TurnStart start = Check(engine.Turn(session_id, BodyOf(body.first), body.second, destination));
  return {
      .handle = {.handle = start.handle}, .history_tokens = start.history_tokens, .input_tokens = start.input_tokens};
}

using Matrix = nb::ndarray<nb::numpy, float, nb::ndim<2>, nb::c_contig>;

// NumPy owns the numbers from here on.
nb::object ToArray(std::unique_ptr<float[]> data, int64_t rows, int64_t columns) {
  if (data == nullptr) return nb::none();
  float* const numbers = data.release();
  const nb::capsule owner(numbers, [](void* p) noexcept { delete[] static_cast<float*>(p); });
  return nb::cast(Matrix(numbers, {static_cast<size_t>(rows), static_cast<size_t>(columns)}, owner));
}

nb::tuple Score(const Engine& engine, const std::vector<int32_t>& token_ids, const ScoreRange& range) {
  Scores scores;
  {
    const nb::gil_scoped_release release;
    scores = Check(engine.Score(token_ids, range));
  }
  return nb::make_tuple(ToArray(std::move(scores.logits), scores.rows, scores.vocab_size),
                        ToArray(std::move(scores.hidden), scores.rows, scores.hidden_size));
}

nb::dict StatsOf(const Engine& engine) {
  const llm::Stats stats = Check(engine.stats());
  nb::dict dict;
  dict["running"] = stats.running;
  dict["waiting"] = stats.waiting;
  dict["max_batch_size"] = stats.max_batch_size;
  dict["total_blocks"] = stats.total_blocks;
  dict["free_blocks"] = stats.free_blocks;
  dict["cached_blocks"] = stats.cached_blocks;
  dict["steps"] = stats.steps;
  dict["preemptions"] = stats.preemptions;
  dict["prefix_queries"] = stats.prefix_queries;
  dict["prefix_hits"] = stats.prefix_hits;
  return dict;
}

nb::list SessionsOf(const Engine& engine) {
  nb::list list;
  for (const llm::SessionInfo& session : Check(engine.ListSessions())) {
    list.append(nb::make_tuple(session.key.id, session.tokens, session.turns, session.running));
  }
  return list;
}

class PyTokenizer {
 public:
  explicit PyTokenizer(std::shared_ptr<const tokenizer::Tokenizer> tokenizer) : tokenizer_(std::move(tokenizer)) {}
  // Without the weights.
  static PyTokenizer Open(const std::string& model, const std::string& tokenizer_pre) {
    const std::string path = Check(formats::ResolveModel(formats::ResolveAlias(model)));
    const auto checkpoint = Check(formats::Checkpoint::Open(path, {.weights = false, .tokenizer_pre = tokenizer_pre}));
    return PyTokenizer(Check(tokenizer::Tokenizer::Create(checkpoint->vocabulary())));
  }
  const tokenizer::Tokenizer* operator->() const { return tokenizer_.get(); }
  void CheckId(int32_t id) const {
    if (id < 0 || id >= tokenizer_->vocab_size())
      Check(Status(InvalidArgument("token id {} is outside 0…{}", id, tokenizer_->vocab_size() - 1)));
  }

 private:
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer_;
};

void BindTokenizer(nb::module_& m) {
  nb::class_<PyTokenizer>(m, "Tokenizer")
      .def_static("open", &PyTokenizer::Open, "model"_a, "tokenizer_pre"_a, WithoutGil())
      .def(
          "encode",
          [](const PyTokenizer& self, const std::string& text, bool add_special_tokens, bool parse_special) {
            const tokenizer::EncodeOptions options{.add_special_tokens = add_special_tokens};
            return parse_special ? self->Encode(text, options) : self->Encode(MarkedText::Untrusted(text), options);
          },
          "text"_a, "add_special_tokens"_a, "parse_special"_a, WithoutGil())
      .def(
          "decode",
          [](const PyTokenizer& self, const std::vector<int32_t>& ids, bool skip_special_tokens) {
            for (const int32_t id : ids) self.CheckId(id);
            return self->Decode(ids, skip_special_tokens);
          },
          "ids"_a, "skip_special_tokens"_a, WithoutGil())
      .def(
          "token_to_id", [](const PyTokenizer& self, const std::string& token) { return self->TokenToId(token); },
          "token"_a)
      .def(
          "id_to_token",
          [](const PyTokenizer& self, int32_t id) {
            self.CheckId(id);
            return self->IdToToken(id);
          },
          "id"_a)
      .def_prop_ro("vocab_size", [](const PyTokenizer& self) { return self->vocab_size(); })
      .def_prop_ro("bos_id", [](const PyTokenizer& self) { return self->bos_id(); })
      .def_prop_ro("eos_ids", [](const PyTokenizer& self) { return self->eos_ids(); });
}

void BindRequests(nb::module_& m) {
  nb::class_<EventQueue>(m, "EventQueue")
      .def(nb::init<>())
      .def("take", Take, "wait_seconds"_a)
      .def("fileno", &EventQueue::fd);
  nb::class_<Destination>(m, "Destination")
      .def(
          "__init__",
          [](Destination* self, std::shared_ptr<EventQueue> queue, int64_t tag, bool stream) {
            new (self) Destination{.queue = std::move(queue), .tag = tag, .stream = stream};
          },
          "queue"_a, "tag"_a, "stream"_a);
  nb::class_<Prompt>(m, "Prompt").def_prop_ro("token_ids", [](const Prompt& self) { return ToPython(self.token_ids); });
  nb::class_<PyHandle>(m, "Handle").def("cancel", &PyHandle::Cancel, WithoutGil());
  nb::class_<PyTurn>(m, "Turn")
      .def_ro("handle", &PyTurn::handle)
      .def_ro("history_tokens", &PyTurn::history_tokens)
      .def_ro("input_tokens", &PyTurn::input_tokens);
}

// Its end waits for threads of the engine, which may be waiting for the GIL.
std::shared_ptr<Engine> EndingWithoutGil(std::shared_ptr<Engine> engine) {
  Engine* const raw = engine.get();
  return {raw, [engine = std::move(engine)](Engine*) mutable {
            const nb::gil_scoped_release release;
            engine.reset();
          }};
}

void BindEngine(nb::module_& m) {
  nb::class_<Loading>(m, "Loading")
      .def("__init__",
           [](Loading* self, const std::string& options) { new (self) Loading(Check(ReadLoadOptions(options))); })
      .def(
          "wait", [](const Loading& self, double seconds) { return self.Wait(Milliseconds(seconds)); }, "seconds"_a,
          WithoutGil())
      .def_prop_ro("progress", [](const Loading& self) { return std::pair(self.done(), self.total()); })
      .def("take", [](Loading& self) { return EndingWithoutGil(Check(self.Take())); }, WithoutGil());
  nb::class_<Engine>(m, "Engine")
      .def("prepare", Prepare, "chat"_a, "body"_a, WithoutGil())
      .def(
          "fields_of", [](const Engine& self, bool chat) { return Check(self.FieldsOf(BodyOf(chat))); }, "chat"_a)
      .def("submit", Submit, "prompt"_a, "destination"_a, WithoutGil())
      .def("turn", Turn, "session_id"_a, "body"_a, "destination"_a, WithoutGil())
      .def(
          "end_session", [](const Engine& self, int64_t id) { Check(self.EndSession(id)); }, "session_id"_a,
          WithoutGil())
      .def("sessions", SessionsOf)
      .def(
          "score",
          [](const Engine& self, const std::vector<int32_t>& ids, int64_t first, bool logits, bool hidden) {
            return Score(self, ids, {.first_position = first, .logits = logits, .hidden = hidden});
          },
          "token_ids"_a, "first_position"_a, "logits"_a, "hidden"_a)
      .def(
          "mean_cross_entropy",
          [](const Engine& self, const std::vector<int32_t>& ids) { return Check(self.MeanCrossEntropy(ids)); },
          "token_ids"_a, WithoutGil())
      .def("stats", StatsOf)
      .def("memory_ledger", [](const Engine& self) { return Check(self.MemoryLedger()); })
      .def("tokenizer", [](const Engine& self) { return PyTokenizer(Check(self.tokenizer())); })
      .def_prop_ro("session_len", [](const Engine& self) { return Check(self.session_len()); })
      .def_prop_ro("can_chat", [](const Engine& self) { return Check(self.can_chat()); })
      .def("close", &Engine::Close, WithoutGil());
}

}  // namespace
}  // namespace ingot::python

NB_MODULE(_core, m) {
  using namespace ingot::python;  // NOLINT: NB_MODULE is outside every namespace
  m.doc() = "The engine of the ingot package; what it offers is in ingot itself.";
  nb::register_exception_translator(Translate);
  BindTokenizer(m);
  BindRequests(m);
  BindEngine(m);
  m.def("wait_for_loads", &Loading::WaitForAll, WithoutGil());
  m.def("builtin_template", [](const std::string& name) { return ingot::chat::BuiltinTemplate(name); }, "name"_a);
  m.def("set_torch_loader", SetTorchLoader, "load"_a);
  m.def(
      "set_log_level",
      [](const std::string& name) {
        const auto level = ingot::ParseLogLevel(name);
        if (!level) throw StatusError(level.error());
        ingot::SetLogLevel(*level);
      },
      "name"_a);
  m.attr("version") = INGOT_VERSION;
}
