// Where lines of the log go: stderr, or a file. What cannot be written is lost, counted, and never delays or ends
// anything.
#pragma once

#include <string>

#include "base/status.h"

namespace ingot {

// Lines are appended to this file instead of stderr.
Status SetLogFile(const std::string& path);
// Opens it again by its name, which after a rotation is a new file. On an error the old one stays. Without a log file
// nothing happens.
Status ReopenLogFile();

}  // namespace ingot
