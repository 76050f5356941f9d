// ingot batch in.jsonl -o out.jsonl MODEL
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <random>

#include "batch_file.h"
#include "common.h"
#include "server/local_api.h"

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
    if (std::exchange(drawn_, false)) fmt::print(stderr, "\r\033[K");
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
    fmt::print(stderr, "{}{}{}", drawn_ ? "\r" : "", text, drawn_ ? "\033[K" : "\n");
    std::fflush(stderr);
  }

  const std::optional<int64_t> total_;
  const Clock::time_point begin_ = Clock::now();
  double last_ = 0;
  bool drawn_ = false;
};

// Sends the requests of the input, so many at once, and writes what comes. One thread; answers come to it over a queue.
class BatchRun {
 public:
  BatchRun(LineSource& input, ResultFile& output, const FinishedRequests& finished, const BatchFlags& flags)
      : input_(input), output_(output), finished_(finished), flags_(flags), random_(std::random_device{}()) {}

  // `total`: requests that are left, where it is known.
  Status Run(llm::Llm& llm, std::optional<int64_t> total) {
    const int concurrency = flags_.concurrency > 0 ? flags_.concurrency : 2 * llm.options().max_batch_size;
    const std::string name = flags_.model_name.empty() ? flags_.model.options.model : flags_.model_name;
    const auto api = server::LocalApi::Make(llm, {name, flags_.max_output_len, flags_.text_threads});
    BatchProgress progress(total);
    const InterruptGuard interrupt;
    Status status;
    while (status.ok() && !interrupt.interrupted()) {
      status = Fill(*api, concurrency);
      if (status.ok()) status = WriteAnswers();
      if (at_end_ && in_flight_ == 0) break;
      progress.Update(counts_, llm.stats().generated_tokens);
    }
    api->CancelAll();
    while (in_flight_ > 0) {
      const Status written = WriteAnswers();
      if (status.ok()) status = written;
    }
    progress.Clear();
    Tell(llm.stats().generated_tokens, progress.Seconds());
    INGOT_RETURN_IF_ERROR(std::move(status));
    if (interrupt.interrupted()) return Cancelled("interrupted; the same command goes on where this one stopped");
    return {};
  }

  const BatchCounts& counts() const { return counts_; }

 private:
  struct Answer {
    BatchRequest request;
    std::string request_id;
    server::HttpResponse response;
  };

  Status Fill(server::LocalApi& api, int concurrency) {
    while (!at_end_ && in_flight_ < concurrency) {
      INGOT_ASSIGN_OR_RETURN(const auto line, input_.Next());
      if (!line) {
        at_end_ = true;
      } else if (line->find_first_not_of(" \t\r") != std::string::npos) {
        INGOT_RETURN_IF_ERROR(Take(api, ParseBatchRequest(*line, input_.number())));
      }
    }
    return {};
  }

  Status Take(server::LocalApi& api, BatchRequest request) {
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
    server::LocalRequest call{request.url, std::move(request.body), id};
    api.Post(std::move(call), [this, id, request = std::move(request)](server::HttpResponse response) {
      const std::lock_guard lock(mutex_);
      answers_.push_back({request, id, std::move(response)});
      came_.notify_one();
    });
    return {};
  }

  // Waits a moment for answers, and writes those that came.
  Status WriteAnswers() {
    std::deque<Answer> answers;
    {
      std::unique_lock lock(mutex_);
      came_.wait_for(lock, std::chrono::milliseconds(50), [this] { return !answers_.empty(); });
      answers.swap(answers_);
    }
    Status status;
    for (const Answer& answer : answers) {
      --in_flight_;
      constexpr int kCancelled = 499;
      if (answer.response.status == kCancelled || !status.ok()) continue;  // asked for again by the next run
      ++(answer.response.status == 200 ? counts_.answered : counts_.failures[std::to_string(answer.response.status)]);
      status =
          output_.Write(ResultLine(answer.request, answer.response.status, answer.request_id, answer.response.body));
    }
    return status;
  }

  void Tell(int64_t tokens, double seconds) const {
    std::string failures;
    for (const auto& [what, count] : counts_.failures)
      failures += fmt::format("{}{}: {}", failures.empty() ? " (" : ", ", what, count);
    if (!failures.empty()) failures += ')';
    fmt::print(stderr, "{} answered, {} failed{}, {} done before; {:.1f} s, {:.2f} requests/s, {:.1f} tok/s\n",
               counts_.answered, counts_.failed(), failures, counts_.skipped, seconds,
               static_cast<double>(counts_.answered) / seconds, static_cast<double>(tokens) / seconds);
    if (counts_.failures.contains("404") && counts_.answered == 0) {
      fmt::print(stderr, "--model-name NAME says by what name the requests call the model\n");
    }
  }

  LineSource& input_;
  ResultFile& output_;
  const FinishedRequests& finished_;
  const BatchFlags& flags_;
  std::mt19937_64 random_;
  TextTable seen_;
  BatchCounts counts_;
  bool at_end_ = false;
  int in_flight_ = 0;
  std::mutex mutex_;  // guards answers_
  std::condition_variable came_;
  std::deque<Answer> answers_;
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
  if (flags.concurrency < 0 || flags.concurrency > kMaxConcurrency)
    return InvalidArgument("--concurrency {} is outside 0…{}", flags.concurrency, kMaxConcurrency);
  if (flags.text_threads < 1 || flags.text_threads > 64)
    return InvalidArgument("--text-threads {} is outside 1…64", flags.text_threads);
  if (flags.max_output_len < 0) return InvalidArgument("--max-output-len {} is below 0", flags.max_output_len);
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
    BatchRun run(input, output, finished, flags);
    INGOT_RETURN_IF_ERROR(run.Run(*llm, left));
    failed += run.counts().failed();
  } else {
    fmt::print(stderr, "nothing is left to do; results from before: {}, of which {} failed\n", finished.count,
               finished.failed);
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
              "where results go, one a line; -: standard output. A file that is there is gone on with");
  command.Add("--model-name", &flags->model_name, "the model's name in requests; default: MODEL as it was typed");
  command.Add("--concurrency", &flags->concurrency, "requests at once; 0: twice --max-batch-size");
  command.Add("--max-output-len", &flags->max_output_len,
              "longest answer a request may ask for; 0: what the context leaves");
  command.Add("--text-threads", &flags->text_threads, "threads for templates and tokenizing");
  command.Example("ingot batch requests.jsonl -o results.jsonl smollm2");
  command.Example("ingot batch - Qwen/Qwen2.5-0.5B-Instruct --model-name qwen < requests.jsonl > results.jsonl");
  command.OnRun([flags] { return Batch(*flags); });
}

}  // namespace ingot::cli
