// What is checked, and put together, before a quantizer begins: errors of input end here, before anything is written.
#pragma once

#include <string>
#include <vector>

#include "lite/quantize.h"

namespace ingot::lite {

// kInvalidArgument: a checkpoint that is quantized by AWQ, GPTQ or compressed-tensors, and what to do instead. (GGUF's
// block formats are dequantized.)
Status RefuseQuantized(const formats::Checkpoint& checkpoint);

// The largest of the usual groups, 128, 64 and 32, that divides every matrix's inputs; 0: none does.
int64_t LargestGroup(const convert::Source& source);

// kInvalidArgument, naming a matrix: one that the output cannot hold, and the largest group that would do.
Status CheckMatrices(const convert::Source& source, const QuantizeOptions& options);

// About the bytes that a run has yet to write in addition to what WorkFolder has.
int64_t RoomNeeded(const convert::Source& source, const QuantizeOptions& options);

// kInvalidArgument: an output that is the source, or that is there and not empty; kResourceExhausted: a disk with less
// room than the output and its parts take.
Status CheckOutput(const formats::Checkpoint& checkpoint, const convert::Source& source,
                   const QuantizeOptions& options);

// Evenly spaced windows of the text's tokens; the first token of each is BOS where the model adds one.
// None for 0 samples. kInvalidArgument when the text has too few tokens for windows that do not overlap.
Result<std::vector<std::vector<int32_t>>> CalibrationWindows(const convert::Source& source,
                                                             const CalibrationOptions& options);

OutputForm MakeForm(const formats::Checkpoint& checkpoint, const convert::Source& source,
                    const QuantizeOptions& options);

// kUnsupported: the form has no way to say something that the model computes. What it says otherwise is noted.
Status CheckForm(const formats::Checkpoint& checkpoint, const convert::Source& source, const OutputForm& form,
                 std::vector<std::string>* notices);

}  // namespace ingot::lite
