// What llama-server's own routes take and answer.
#include <limits>

#include "answers/schema_parts.h"

namespace ingot::answers {
namespace {

constexpr const char* kIgnored = "taken and ignored";

// Text, ids, or pieces of either that make one prompt.
Schema Prompt(const ModelLimits& limits) {
  const Schema piece = AnyOf({Integer(0, limits.vocab_size - 1), String(0, kMaxText)});
  const Schema one = AnyOf({String(0, kMaxText), Array(piece, 1, kMaxText)});
  return AnyOf({String(0, kMaxText), Array(AnyOf({piece, one}), 1, kMaxText)})
      .Describe("text; token ids, or ids and texts; or a list of such prompts, of which each has its answer");
}

// [[id, bias], …], or an object as OpenAI has it. false: never.
Schema Biases() {
  const llm::Param& param = *llm::FindParam("logit_bias");
  const Schema part = AnyOf({Number(param.low, std::numeric_limits<int32_t>::max()), Only(false)});
  return AnyOf({Map(Number(param.low, param.high), param.max_entries), Array(Array(part, 2, 2), 0, param.max_entries)})
      .Describe("[[token id, what is added to its logit], …], or an object; false: never");
}

std::vector<Property> OwnProperties(const ModelLimits& limits) {
  return {
      {"model", ModelName(limits)},
      {"prompt", Prompt(limits), true},
      {"n_predict",
       Integer(-1, MaxTokens(limits)).Describe("longest answer; -1: what the context leaves; 0: the prompt alone")},
      {"max_tokens", Integer(-1, MaxTokens(limits)).Describe("OpenAI's name of n_predict, which it overrides")},
      {"n_cmpl", ParamOf("n", limits).schema.Describe("answers a prompt")},
      {"n_probs", ParamOf("logprobs", limits).schema.Describe("alternatives a token, in completion_probabilities")},
      {"logit_bias", Biases()},
      {"stream", Boolean().Default(false).Describe("send the answer as server-sent events; the last has stop: true")},
      {"return_tokens", Boolean().Default(false).Describe("the ids of a whole answer, too")},
      {"repeat_last_n", Integer(-1, 1 << 30).Describe("penalties count all tokens: -1, or no penalty")},
      {"n_keep", Integer(-1, 1 << 30).Describe("taken and ignored: a prompt that is too long is refused")},
      {"n_discard", Integer(0, 1 << 30).Describe("taken and ignored: a prompt that is too long is refused")},
      {"timings_per_token", Only(false).OrUnsupported("timings come with the last piece")},
      {"return_progress", Only(false).OrUnsupported("not supported")},
      {"post_sampling_probs", Only(false).OrUnsupported("probabilities are those before sampling")},
      {"response_fields", Array(Any(), 0, 0).OrUnsupported("not supported; all fields are told")},
      {"t_max_predict_ms", Number(-1, 0).OrUnsupported("not supported; timeout bounds a request")},
      {"sse_ping_interval", Number(-1, 1e9).Describe(kIgnored)},
      {"n_cache_reuse", Integer(0, 1 << 30).Describe(kIgnored)}};
}

Schema TokenLogprob() {
  std::vector<Property> token = {{"id", Integer(0, kMaxCount), true},
                                 {"token", String(0, 4096), true},
                                 {"bytes", Array(Integer(0, 255), 0, 4096), true},
                                 {"logprob", Number(-9999, 0), true}};
  const Schema top = Object(token).Named("LlamaLogprob");
  token.push_back({"top_logprobs", Array(top, 0, sampling::kMaxLogprobs), true});
  return Object(std::move(token)).Named("LlamaTokenLogprob");
}

Schema Timings() {
  std::vector<Property> properties = {{"cache_n", Integer(0, kMaxCount), true}};
  for (const std::string phase : {"prompt", "predicted"}) {
    properties.push_back({phase + "_n", Integer(0, kMaxCount), true});
    for (const char* rest : {"_ms", "_per_token_ms", "_per_second"})
      properties.push_back({phase + rest, Number(0, 1e18), true});
  }
  return Object(std::move(properties)).Named("LlamaTimings");
}

// A piece; with stop: true it has the rest.
Schema Answer(bool whole) {
  return Object({{"index", Integer(0, kMaxCount), true},
                 {"content", String(0, kMaxText), true},
                 {"tokens", Array(Integer(0, kMaxCount), 0, kMaxText), true},
                 {"stop", Boolean(), true},
                 {"id_slot", Integer(-1, kMaxCount), true},
                 {"tokens_predicted", Integer(0, kMaxCount), true},
                 {"tokens_evaluated", Integer(0, kMaxCount), true},
                 {"tokens_cached", Integer(0, kMaxCount), whole},
                 {"model", String(1, 4096), whole},
                 {"prompt", String(0, 0), whole},
                 {"generation_settings", Map(Any(), 64), whole},
                 {"truncated", Boolean(), whole},
                 {"stop_type", OneOf({"none", "eos", "limit", "word"}), whole},
                 {"stopping_word", String(0, 4096), whole},
                 {"timings", Timings(), whole},
                 {"completion_probabilities", Array(TokenLogprob(), 0, kMaxText)}})
      .Named(whole ? "LlamaCompletion" : "LlamaCompletionPiece");
}

Schema Slot() {
  return Object({{"id", Integer(0, kMaxCount), true},
                 {"n_ctx", Integer(1, kMaxCount), true},
                 {"speculative", Boolean(), true},
                 {"is_processing", Boolean(), true}})
      .Named("LlamaSlot");
}

Schema Props() {
  const Schema defaults = Object(
      {{"id", Integer(0, kMaxCount), true}, {"n_ctx", Integer(1, kMaxCount), true}, {"params", Map(Any(), 64), true}});
  return Object({{"default_generation_settings", defaults, true},
                 {"total_slots", Integer(1, kMaxCount), true},
                 {"model_alias", String(1, 4096), true},
                 {"model_path", String(1, 4096), true},
                 {"chat_template", String(0, 0), true},
                 {"bos_token", String(0, 4096), true},
                 {"eos_token", String(0, 4096), true},
                 {"modalities", Object({{"vision", Boolean(), true}, {"audio", Boolean(), true}}), true},
                 {"build_info", String(1, 256), true},
                 {"is_sleeping", Boolean(), true}})
      .Named("LlamaProps");
}

}  // namespace

void AddLlamaServerSchemas(const ModelLimits& limits, ApiSchemas* schemas) {
  schemas->llama_request =
      Object(RefuseOthers(Join(OwnProperties(limits), AnswerProperties(limits), IgnoredProperties())))
          .Named("LlamaCompletionRequest")
          .Example(boost::json::object{{"prompt", "The capital of France is"}, {"n_predict", 16}, {"temperature", 0}});
  schemas->llama_response = AnyOf({Answer(true), Array(Answer(true), 1, kMaxCount)});
  schemas->llama_chunk = Answer(false);
  schemas->apply_template_request =
      Object(Join(std::vector<Property>{{"model", ModelName(limits)}, {"messages", Messages(), true}},
                  TemplateProperties(),
                  std::vector<Property>{{"tools", Array(Any(), 0, 0).OrUnsupported("tools are not supported")}}))
          .Named("ApplyTemplateRequest")
          .Example(boost::json::object{{"messages", ExampleMessages()}});
  schemas->apply_template_response = Object({{"prompt", String(0, 0), true}}).Named("AppliedTemplate");
  schemas->props = Props();
  schemas->slots = Array(Slot(), 1, kMaxCount);
}

}  // namespace ingot::answers
