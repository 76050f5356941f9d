// From a request to token ids: chat template or plain text.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chat/chat_template.h"
#include "formats/checkpoint.h"
#include "llm/llm.h"
#include "tokenizer/tokenizer.h"

namespace ingot::llm {

// `--chat-template NAME|FILE`, else the checkpoint's own, else a built-in by architecture and name; nullopt: a base
// model.
Result<std::optional<chat::ChatTemplate>> ChooseTemplate(const formats::Checkpoint& checkpoint,
                                                         const LoadOptions& options);

struct SpecialTexts {
  std::string bos, eos;  // as templates see them; "" if there is none
};
SpecialTexts SpecialTextsOf(const formats::Checkpoint& checkpoint, const tokenizer::Tokenizer& tokenizer);

// Everything a prompt is made of. Borrows; const and thread-safe.
struct PromptMaker {
  const tokenizer::Tokenizer& tokenizer;
  const chat::ChatTemplate* chat_template;  // null: a base model
  SpecialTexts special;
  std::string meta_instruction;

  // A rendered template is encoded as it is: BOS is there only where the template writes it, as in Hugging Face.
  Result<std::vector<int32_t>> Ids(const Request& request) const;
  // What they add to a conversation that ends in an answer (Llm::TokenizeNextTurn).
  Result<std::vector<int32_t>> NextTurnIds(const Request& request) const;
  // The messages in the chat template.
  Result<MarkedText> Rendered(const Request& request) const;
};

}  // namespace ingot::llm
