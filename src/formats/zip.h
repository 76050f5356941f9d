// The directory of a zip archive whose entries are stored, not compressed, as torch.save writes it.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>

#include "base/status.h"

namespace ingot::formats {

// Name → data of every entry; the names are checked to be unique, the data to lie apart within `bytes`. Zip64 is read;
// compressed and encrypted entries, and archives of several volumes, are refused by name.
Result<std::map<std::string, std::span<const std::byte>, std::less<>>> ReadZip(std::span<const std::byte> bytes,
                                                                               const std::string& file);

}  // namespace ingot::formats
