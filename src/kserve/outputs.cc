// Answers as tensors.
#include <algorithm>

#include "kserve/generation.h"

namespace ingot::kserve {
namespace {

constexpr int32_t kPadding = -1;  // of output_ids, behind a row's last

float Sum(const std::vector<llm::TokenInfo>& tokens, float sum) {
  for (const llm::TokenInfo& token : tokens) sum += token.chosen.logprob;
  return sum;
}

std::vector<float> LogProbs(const std::vector<llm::TokenInfo>& tokens) {
  std::vector<float> values;
  for (const llm::TokenInfo& token : tokens) values.push_back(token.chosen.logprob);
  return values;
}

// "stop" or "length"; an answer that was cut short by a cancel has stopped.
std::string Finish(llm::FinishReason reason) { return reason == llm::FinishReason::kLength ? "length" : "stop"; }

}  // namespace

Outputs::Outputs(Plan plan) : plan_(std::move(plan)) {}

InferResponse Outputs::Piece(const answers::Choice& choice, const llm::Event& event) {
  const auto index = static_cast<size_t>(choice.index);
  if (cum_log_probs_.size() <= index) cum_log_probs_.resize(index + 1, 0);
  cum_log_probs_[index] = Sum(event.logprobs, cum_log_probs_[index]);
  return Write({{choice.index, event.text, event.token_ids, LogProbs(event.logprobs), cum_log_probs_[index],
                 event.finish ? Finish(*event.finish) : ""}});
}

InferResponse Outputs::Whole(const std::vector<answers::Choice>& choices) const {
  std::vector<Row> rows;
  for (const answers::Choice& one : choices) {
    const llm::Choice& choice = one.choice;
    const auto prompt = static_cast<size_t>(one.index / plan_.n);
    Row row{one.index,
            choice.text,
            choice.token_ids,
            LogProbs(choice.logprobs),
            Sum(choice.logprobs, 0),
            Finish(choice.finish)};
    if (prompt < plan_.echoed_texts.size()) {
      row.text.insert(0, plan_.echoed_texts[prompt]);
      const std::vector<int32_t>& ids = plan_.echoed_ids[prompt];
      row.ids.insert(row.ids.begin(), ids.begin(), ids.end());
    }
    rows.push_back(std::move(row));
  }
  return Write(rows);
}

InferResponse Outputs::Write(const std::vector<Row>& rows) const {
  const auto count = static_cast<int64_t>(rows.size());
  InferResponse response{.id = plan_.id, .model_name = plan_.model_name, .parameters = {}, .outputs = {}};
  const auto wants = [&](const char* name) {
    return plan_.wanted.empty() || std::ranges::find(plan_.wanted, name) != plan_.wanted.end();
  };
  const bool is_matrix = plan_.has_batch_dimension || count > 1;
  const auto scalar_shape = [&] {
    return plan_.has_batch_dimension ? std::vector<int64_t>{count, 1} : std::vector{count};
  };
  const auto add_texts = [&](const char* name, std::string Row::* field) {
    std::vector<std::string> texts;
    for (const Row& row : rows) texts.push_back(row.*field);
    if (wants(name)) response.outputs.push_back(TextTensor(name, scalar_shape(), texts));
  };
  const auto add_numbers = [&](const char* name, DataType type, auto value_of) {
    std::vector<decltype(value_of(rows.front()))> values;
    for (const Row& row : rows) values.push_back(value_of(row));
    if (wants(name))
      response.outputs.push_back(
          NumberTensor(name, type, scalar_shape(), std::span<const typename decltype(values)::value_type>(values)));
  };
  // Rows of one length: shorter ones are padded.
  const auto add_lists = [&](const char* name, DataType type, auto Row::* field, auto padding) {
    size_t length = 0;
    for (const Row& row : rows) length = std::max(length, (row.*field).size());
    std::vector<decltype(padding)> values;
    for (const Row& row : rows) {
      values.insert(values.end(), (row.*field).begin(), (row.*field).end());
      values.insert(values.end(), length - (row.*field).size(), padding);
    }
    std::vector<int64_t> shape = {static_cast<int64_t>(length)};
    if (is_matrix) shape.insert(shape.begin(), count);
    if (wants(name))
      response.outputs.push_back(NumberTensor(name, type, shape, std::span<const decltype(padding)>(values)));
  };
  add_texts("text_output", &Row::text);
  add_texts("finish_reason", &Row::finish);
  add_numbers("sequence_index", DataType::kInt32,
              [&](const Row& row) { return static_cast<int32_t>(row.index % plan_.n); });
  add_numbers("sequence_length", DataType::kInt32, [](const Row& row) { return static_cast<int32_t>(row.ids.size()); });
  add_lists("output_ids", DataType::kInt32, &Row::ids, kPadding);
  if (!plan_.log_probs) return response;
  add_numbers("cum_log_probs", DataType::kFp32, [](const Row& row) { return row.cum_log_prob; });
  add_lists("output_log_probs", DataType::kFp32, &Row::log_probs, 0.0F);
  return response;
}

}  // namespace ingot::kserve
