#include "engine/flight_report.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <filesystem>

#include "base/check.h"
#include "base/mutex.h"

namespace ingot::engine {
namespace {

struct FatalSignal {
  int number;
  const char* name;
};
constexpr std::array kFatalSignals = {FatalSignal{SIGABRT, "SIGABRT"}, FatalSignal{SIGSEGV, "SIGSEGV"},
                                      FatalSignal{SIGBUS, "SIGBUS"},   FatalSignal{SIGFPE, "SIGFPE"},
                                      FatalSignal{SIGILL, "SIGILL"},   FatalSignal{SIGTRAP, "SIGTRAP"},
                                      FatalSignal{SIGSYS, "SIGSYS"}};

// Reports of the engines that live now; those beyond are not reported on signals.
std::array<std::atomic<const FlightReport*>, 16> g_reports{};
Mutex g_mutex;
int g_installed INGOT_GUARDED_BY(g_mutex) = 0;  // reports that want the handlers
struct sigaction g_previous[kFatalSignals.size()];

const char* NameOf(int signal) {
  for (const FatalSignal& fatal : kFatalSignals) {
    if (fatal.number == signal) return fatal.name;
  }
  return "a signal";
}

}  // namespace

FlightReport::FlightReport(std::string path, const FlightRecorder& recorder)
    : path_(std::move(path)), recorder_(recorder) {
  for (auto& place : g_reports) {
    const FlightReport* none = nullptr;
    if (place.compare_exchange_strong(none, this)) break;
  }
  const MutexLock lock(g_mutex);
  if (g_installed++ > 0) return;
  struct sigaction action = {};
  action.sa_handler = &FlightReport::OnFatalSignal;
  action.sa_flags = SA_ONSTACK;
  for (size_t i = 0; i < kFatalSignals.size(); ++i) sigaction(kFatalSignals[i].number, &action, &g_previous[i]);
}

FlightReport::~FlightReport() {
  for (auto& place : g_reports) {
    const FlightReport* self = this;
    if (place.compare_exchange_strong(self, nullptr)) break;
  }
  const MutexLock lock(g_mutex);
  if (--g_installed > 0) return;
  for (size_t i = 0; i < kFatalSignals.size(); ++i) sigaction(kFatalSignals[i].number, &g_previous[i], nullptr);
}

Result<std::unique_ptr<FlightReport>> FlightReport::Create(const std::string& path, const FlightRecorder& recorder) {
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  const std::string folder = absolute.parent_path().string();
  if (error || std::filesystem::is_directory(absolute, error)) {
    return InvalidArgument("flight recorder {}: not a file's name", path);
  }
  if (access(folder.c_str(), W_OK | X_OK) != 0) {
    return InvalidArgument("flight recorder {}: no file can be made in {}", path, folder);
  }
  return std::unique_ptr<FlightReport>(new FlightReport(absolute.string(), recorder));
}

bool FlightReport::Write(std::string_view reason) const {
  // Never writes to another user's file through a link in a shared folder.
  const int fd = open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  {
    SignalSafeWriter out(fd);
    out << "ingot flight recorder: " << reason << ", process " << getpid() << "\n";
    if (*FailedCheck() != '\0') out << "check failed: " << FailedCheck() << "\n";
    recorder_.Write(out);
  }
  return close(fd) == 0;
}

void FlightReport::OnFatalSignal(int signal) {
  const char* name = NameOf(signal);
  for (const auto& place : g_reports) {
    const FlightReport* report = place.load();
    if (report == nullptr || !report->Write(name)) continue;
    SignalSafeWriter(STDERR_FILENO) << name << ": what the engine did last is in " << report->path_ << "\n";
  }
  // As if we had not been here: the signal is blocked until this returns, and comes again then.
  for (size_t i = 0; i < kFatalSignals.size(); ++i) {
    if (kFatalSignals[i].number == signal) sigaction(signal, &g_previous[i], nullptr);
  }
  raise(signal);
}

}  // namespace ingot::engine
