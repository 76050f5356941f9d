// Finished parts to one checkpoint.
#pragma once

#include "lite/parts.h"
#include "lite/work_folder.h"

namespace ingot::lite {

// Writes work.result_path(): a Hugging Face directory, or a GGUF file. Returns the bytes of its weights.
Result<int64_t> Assemble(const formats::Checkpoint& checkpoint, const convert::Source& source, const OutputForm& form,
                         const WorkFolder& work, ThreadPool& pool);

}  // namespace ingot::lite
