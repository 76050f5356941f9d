// The file that says what the engine did before it stalled, or before the process died.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "engine/flight_recorder.h"

namespace ingot::engine {

// Writes a recorder's steps to a file when asked to, and while it lives, when a fatal signal comes (a failed
// INGOT_CHECK is one: SIGABRT). Those who handled the signal before do so afterwards.
// Thread safety: Write from any thread.
class FlightReport {
 public:
  // `path`: where the file will be; its folder must be there. The recorder outlives the report.
  static Result<std::unique_ptr<FlightReport>> Create(const std::string& path, const FlightRecorder& recorder);
  ~FlightReport();
  FlightReport(const FlightReport&) = delete;
  FlightReport& operator=(const FlightReport&) = delete;

  // In the place of what the file had; false where it cannot be written.
  bool Write(std::string_view reason) const;
  const std::string& path() const { return path_; }

 private:
  FlightReport(std::string path, const FlightRecorder& recorder);
  static void OnFatalSignal(int signal);

  std::string path_;
  const FlightRecorder& recorder_;
};

}  // namespace ingot::engine
