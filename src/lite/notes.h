// What a run writes down for the run that may have to continue it.
#pragma once

#include <boost/json/object.hpp>
#include <vector>

#include "lite/quantize.h"

namespace ingot::lite {

// All that the bytes of the result depend on: the source's files, the options, the texts, the instruction set.
boost::json::object Fingerprint(const formats::Checkpoint& checkpoint, const QuantizeOptions& options);

// What is said of a layer's matrices.
boost::json::object ToNote(const LayerReport& report);
void AddFromNote(const boost::json::object& note, LayerReport* report);

}  // namespace ingot::lite
