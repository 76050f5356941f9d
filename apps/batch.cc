// ingot batch in.jsonl -o out.jsonl MODEL
#include <algorithm>
#include <deque>
#include <map>
#include <mutex>
#include <random>

#include "answers/routes.h"
#include "base/mutex.h"
#include "base/task_pool.h"
#include "batch_file.h"
#include "build_info.h"
#include "common.h"
#include "models/model.h"
#include "tokenizer/tokenizer.h"

namespace ingot::cli {
namespace {

using Clock = std::chrono::steady_clock;

// A line may ask for 512 answers, and none is to be refused for the number of others: with so many lines at once the
// queue never fills.
constexpr int kMaxQueue = 1 << 20;
constexpr int kMaxConcurrency = kMaxQueue / 512;

struct BatchFlags {
  ModelFlags model;
  std::string input, output = "-", model_name;
  int64_t max_output_len = 0;
  int concurrency = 0, text_threads = 2;
};

// What has come of the requests.
struct BatchCounts {
  int64_t answered = 0, skipped = 0;
  std::map<std::string, int64_t> failures;  // by status or error code

  int64_t failed() const {
    int64_t sum = 0;
    for (const auto& [what, count] : failures) sum += count;
    return sum;
  }
};

// A line of stderr that is written over, or, where that is no terminal, one every ten seconds.
class BatchProgress {
 public:
  explicit BatchProgress(std::optional<int64_t> total) : total_(total) {}

  void Update(const BatchCounts& counts, int64_t tokens) {
    const double period = StderrIsTerminal() ? 0.5 : 10, now = Seconds();
    if (now - last_ < period) return;
    last_ = now;
    Show(Line(counts, tokens, now));
  }
  void Clear() {
    if (std::exchange(drawn_, false)) Say("\r\033[K");
  }
  double Seconds() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

 private:
  std::string Line(const BatchCounts& counts, int64_t tokens, double now) const {
    const int64_t done = counts.answered + counts.failed();
    const double rate = static_cast<double>(done) / now;
    std::string text = total_ ? fmt::format("{} of {}", done, *total_) : fmt::format("{}", done);
    text += fmt::format("  {} failed  {:.2f} requests/s  {:.1f} tok/s", counts.failed(), rate,
                        static_cast<double>(tokens) / now);
    if (total_ && done > 0) text += fmt::format("  {:.0f} s left", static_cast<double>(*total_ - done) / rate);
    return text;
  }
  void Show(const std::string& text) {
    drawn_ = StderrIsTerminal();
    Say("{}{}{}", drawn_ ? "\r" : "", text, drawn_ ? "\033[K" : "\n");
  }

  const std::optional<int64_t> total_;
  const Clock::time_point begin_ = Clock::now();
  double last_ = 0;
  bool drawn_ = false;
};

// The routes that a line may name.
constexpr std::string_view kChat = "/v1/chat/completions", kCompletions = "/v1/completions";

// An answer as a line has it.
struct BatchAnswer {
  BatchRequest request;
  std::string request_id;
  int status;
  std::string body;
};

// What becomes of one request. It cannot be asked for again where it was cancelled, so that is an error, too.
class BatchListener : public answers::Listener {
 public:
  using AnsweredFn = std::function<void(int status, std::string body)>;
  BatchListener(std::unique_ptr<answers::Format> format, std::string request_id, AnsweredFn on_answered)
      : format_(std::move(format)), request_id_(std::move(request_id)), on_answered_(std::move(on_answered)) {}
  bool wants_whole() const override { return true; }
  void Piece(const answers::Choice&, const llm::Event&) override {}
  void Ended(const std::vector<answers::Choice>& choices, const llm::Usage& usage) override {
    for (const answers::Choice& one : choices) {
      if (one.choice.finish == llm::FinishReason::kCancelled) return Failed({Code::kCancelled, "cancelled"});
    }
    on_answered_(200, format_->Whole(choices, usage));
  }
  void Failed(const Status& status) override { Refuse(answers::ToWireError(status, request_id_)); }
  void Refuse(const answers::WireError& error) { on_answered_(error.status, ErrorBody(error)); }

 private:
  const std::unique_ptr<answers::Format> format_;
  const std::string request_id_;
  const AnsweredFn on_answered_;
};

// Sends the requests of the input, so many at once, and writes what comes. One thread; answers come to it over a queue.
class BatchRun {
 public:
  struct Files {
    LineSource& input;
    ResultFile& output;
    const FinishedRequests& finished;
  };
  BatchRun(const Files& files, const BatchFlags& flags, llm::Llm& llm)
      : input_(files.input),
        output_(files.output),
        finished_(files.finished),
        flags_(flags),
        llm_(llm),
        random_(std::random_device{}()),
        schemas_(LimitsOf(flags, llm)),
        text_pool_(flags.text_threads) {
    models_.Add({llm, NameOf(flags), std::time(nullptr), LimitsOf(flags, llm), "",
                 answers::SystemFingerprint(llm, INGOT_VERSION), flags.model.options.model});
  }

  // `total`: requests that are left, where it is known.
  Status Run(std::optional<int64_t> total) {
    const int concurrency = flags_.concurrency > 0 ? flags_.concurrency : 2 * llm_.options().max_batch_size;
    BatchProgress progress(total);
    const InterruptGuard interrupt;
    Status status;
    while (status.ok() && !interrupt.interrupted()) {
      status = Fill(concurrency);
      if (status.ok()) status = WriteAnswers();
      if (at_end_ && in_flight_ == 0) break;
      progress.Update(counts_, llm_.stats().generated_tokens);
    }
    CancelAll();
    while (in_flight_ > 0) {
      const Status written = WriteAnswers();
      if (status.ok()) status = written;
    }
    progress.Clear();
    Tell(llm_.stats().generated_tokens, progress.Seconds());
    INGOT_RETURN_IF_ERROR(std::move(status));
    if (interrupt.interrupted()) return Cancelled("interrupted; the same command resumes where this one stopped");
    return {};
  }

  const BatchCounts& counts() const { return counts_; }

 private:
  static std::string NameOf(const BatchFlags& flags) {
    return flags.model_name.empty() ? ModelName(flags.model.options.model) : flags.model_name;
  }
  static answers::ModelLimits LimitsOf(const BatchFlags& flags, const llm::Llm& llm) {
    return {.model_name = NameOf(flags),
            .session_len = llm.session_len(),
            .vocab_size = llm.model().spec().vocab_size,
            .max_output_len = flags.max_output_len};
  }

  Status Fill(int concurrency) {
    while (!at_end_ && in_flight_ < concurrency) {
      INGOT_ASSIGN_OR_RETURN(const auto line, input_.Next());
      if (!line) {
        at_end_ = true;
      } else if (line->find_first_not_of(" \t\r") != std::string::npos) {
        INGOT_RETURN_IF_ERROR(Take(ParseBatchRequest(*line, input_.number())));
      }
    }
    return {};
  }

  Status Take(BatchRequest request) {
    if (request.custom_id ? finished_.custom_ids.Contains(*request.custom_id)
                          : finished_.lines.contains(request.line)) {
      ++counts_.skipped;
      return {};
    }
    if (const auto before = request.custom_id ? seen_.Add(*request.custom_id, request.line) : std::nullopt) {
      request.error_code = "duplicate_custom_id";
      request.error =
          fmt::format("line {}: custom_id '{}' is on line {} already", request.line, *request.custom_id, *before);
    }
    if (!request.error_code.empty()) {
      ++counts_.failures[request.error_code];
      return output_.Write(ErrorLine(request));
    }
    ++in_flight_;
    const std::string id = fmt::format("{:016x}{:016x}", random_(), random_());
    text_pool_.Post([this, id, request = std::move(request)]() mutable { Ask(std::move(request), id); });
    return {};
  }

  // On a text thread.
  void Ask(BatchRequest request, const std::string& id) {
    const std::string url = request.url, body = std::exchange(request.body, "");
    const auto on_answered = [this, id, request = std::move(request)](int status, std::string text) {
      const MutexLock lock(mutex_);
      running_.erase(id);
      answers_.push_back({request, id, status, std::move(text)});
      came_.NotifyOne();
    };
    auto prepared = Prepare(url, body, id);
    if (!prepared) return BatchListener(nullptr, id, on_answered).Refuse(prepared.error());
    const auto answer = std::make_shared<answers::Answer>(
        std::make_shared<BatchListener>(std::move(prepared->format), id, on_answered));
    {
      const MutexLock lock(mutex_);
      running_[id] = answer;
      if (is_cancelled_) answer->Cancel();
    }
    answer->Begin(llm_, std::move(prepared->question));
  }

  tl::expected<answers::Prepared, answers::WireError> Prepare(const std::string& url, const std::string& text,
                                                              const std::string& id) const {
    const auto route = std::ranges::find(answers::kRoutes, url, &answers::Route::path);
    if (route == std::end(answers::kRoutes) || (url != kChat && url != kCompletions))
      return tl::unexpected(answers::ToWireError(NoSuchRoute(url), id));
    const auto body = answers::ParseBody(text, schemas_.*route->request);
    if (!body) return tl::unexpected(answers::ToWireError(body.error(), id));
    const answers::Fields fields(*body);
    const std::string name = fields.Text("model").value_or("");
    const answers::ServedModel* model = models_.Find(name);
    if (model == nullptr) return tl::unexpected(models_.Unknown(name));
    auto prepared = route->read(fields, *model, {.request_id = id});
    if (!prepared) return tl::unexpected(answers::ToWireError(prepared.error(), id));
    return *std::move(prepared);
  }

  static Status NoSuchRoute(const std::string& url) {
    for (const answers::UnsupportedRoute& route : answers::kUnsupportedRoutes) {
      if (url == route.path) return Unsupported("{}", route.what);
    }
    return NotFound("there is no {}; there are {} and {}", url, kChat, kCompletions);
  }

  void CancelAll() {
    std::map<std::string, std::weak_ptr<answers::Answer>> running;
    {
      const MutexLock lock(mutex_);
      is_cancelled_ = true;
      running = running_;
    }
    for (const auto& [id, weak] : running) {
      if (const auto answer = weak.lock()) answer->Cancel();
    }
  }

  // Waits a moment for answers, and writes those that came.
  Status WriteAnswers() {
    std::deque<BatchAnswer> answers;
    {
      const MutexLock lock(mutex_);
      if (answers_.empty()) came_.WaitUntil(mutex_, std::chrono::steady_clock::now() + std::chrono::milliseconds(50));
      answers.swap(answers_);
    }
    Status status;
    for (const BatchAnswer& answer : answers) {
      --in_flight_;
      constexpr int kCancelled = 499;
      if (answer.status == kCancelled || !status.ok()) continue;  // asked for again by the next run
      ++(answer.status == 200 ? counts_.answered : counts_.failures[std::to_string(answer.status)]);
      status = output_.Write(ResultLine(answer.request, answer.status, answer.request_id, answer.body));
    }
    return status;
  }

  void Tell(int64_t tokens, double seconds) const {
    std::string failures;
    for (const auto& [what, count] : counts_.failures)
      failures += fmt::format("{}{}: {}", failures.empty() ? " (" : ", ", what, count);
    if (!failures.empty()) failures += ')';
    Say("{} answered, {} failed{}, {} done before; {:.1f} s, {:.2f} requests/s, {:.1f} tok/s\n", counts_.answered,
        counts_.failed(), failures, counts_.skipped, seconds, static_cast<double>(counts_.answered) / seconds,
        static_cast<double>(tokens) / seconds);
    if (counts_.failures.contains("404") && counts_.answered == 0) {
      Say("--model-name NAME says by what name the requests call the model\n");
    }
  }

  LineSource& input_;
  ResultFile& output_;
  const FinishedRequests& finished_;
  const BatchFlags& flags_;
  llm::Llm& llm_;
  std::mt19937_64 random_;
  const answers::ApiSchemas schemas_;
  answers::ServedModels models_;
  TextTable seen_;
  BatchCounts counts_;
  bool at_end_ = false;
  int in_flight_ = 0;
  Mutex mutex_;
  CondVar came_;
  std::deque<BatchAnswer> answers_ INGOT_GUARDED_BY(mutex_);
  std::map<std::string, std::weak_ptr<answers::Answer>> running_ INGOT_GUARDED_BY(mutex_);  // by id
  bool is_cancelled_ INGOT_GUARDED_BY(mutex_) = false;
  TaskPool text_pool_;  // renders templates and tokenizes; last: its tasks use the rest
};

// Reads a file before anything else: how many requests are left, and that no custom_id is there twice. nullopt where
// the input can be read only once.
Result<std::optional<int64_t>> CountRequests(const std::string& path, const FinishedRequests& finished) {
  INGOT_ASSIGN_OR_RETURN(LineSource source, LineSource::Open(path));
  if (!source.is_file()) return std::optional<int64_t>();
  TextTable seen;
  int64_t left = 0;
  for (;;) {
    INGOT_ASSIGN_OR_RETURN(const auto line, source.Next());
    if (!line) return std::optional(left);
    if (line->find_first_not_of(" \t\r") == std::string::npos) continue;
    const BatchRequest request = ParseBatchRequest(*line, source.number());
    if (!request.custom_id) {
      left += finished.lines.contains(request.line) ? 0 : 1;
      continue;
    }
    if (const auto before = seen.Add(*request.custom_id, request.line)) {
      return InvalidArgument("{}:{}: custom_id '{}' is on line {} already; nothing was sent", path, request.line,
                             *request.custom_id, *before);
    }
    left += finished.custom_ids.Contains(*request.custom_id) ? 0 : 1;
  }
}

Error Failed(int64_t count, const std::string& output) {
  if (output == "-") return Unavailable("of the requests, {} failed; their lines say why", count);
  const std::string from = ShellQuoted(output), to = ShellQuoted(output + ".answered");
  return Unavailable(
      "of the requests, {} failed; their lines in {} say why. To ask these again, take their lines out, and run the "
      "same command:\n  grep -F '\"status_code\":200,' {} >{}; mv {} {}",
      count, output, from, to, to, from);
}

Status Batch(const BatchFlags& flags) {
  INGOT_ASSIGN_OR_RETURN(LineSource input, LineSource::Open(flags.input));
  INGOT_ASSIGN_OR_RETURN(ResultFile output, ResultFile::Open(flags.output));
  FinishedRequests finished;
  if (flags.output != "-") {
    INGOT_ASSIGN_OR_RETURN(finished, ReadFinished(flags.output));
  }
  std::optional<int64_t> left;
  if (input.is_file()) {
    INGOT_ASSIGN_OR_RETURN(left, CountRequests(flags.input, finished));
  }
  int64_t failed = finished.failed;
  if (left != 0) {
    ModelFlags model = flags.model;
    model.options.max_queue = kMaxQueue;
    INGOT_ASSIGN_OR_RETURN(const auto llm, LoadModel(model));
    BatchRun run({input, output, finished}, flags, *llm);
    INGOT_RETURN_IF_ERROR(run.Run(left));
    failed += run.counts().failed();
  } else {
    Say("nothing is left to do; results from before: {}, of which {} failed\n", finished.count, finished.failed);
  }
  if (failed > 0) return Failed(failed, flags.output);
  return {};
}

}  // namespace

void DeclareBatch(Flags& root) {
  Flags& command = root.Command("batch", "Answer a file of requests, in OpenAI's batch format");
  const auto flags = std::make_shared<BatchFlags>();
  command.Positional("INPUT", &flags->input, "requests, one a line: custom_id, method, url, body; - is standard input");
  AddModelFlags(command, &flags->model);
  command.Add("-o,--output", &flags->output,
              "where results go, one a line; -: standard output. An existing file is continued");
  command.Add("--model-name", &flags->model_name, "the model's name in requests; default: MODEL as it was typed");
  command.Add("--concurrency", &flags->concurrency, "requests at once; 0: twice --max-batch-size",
              {0, kMaxConcurrency});
  command.Add("--max-output-len", &flags->max_output_len,
              "longest answer a request may ask for; 0: what the context leaves", {0, 1 << 30});
  command.Add("--text-threads", &flags->text_threads, "threads for templates and tokenizing", {1, 64});
  command.Example("ingot batch requests.jsonl -o results.jsonl smollm2");
  command.Example("ingot batch - Qwen/Qwen2.5-0.5B-Instruct --model-name qwen < requests.jsonl > results.jsonl");
  command.OnRun([flags] { return Batch(*flags); });
}

}  // namespace ingot::cli
