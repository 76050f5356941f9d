// A program outside of Ingot's tree that uses it as a library: loads a model and asks it one question.
#include <llm/llm.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: consumer MODEL\n");
    return 2;
  }
  ingot::llm::LoadOptions options;
  options.model = argv[1];
  options.exact = true;  // fp32 activations: a small model's answers hang on near ties
  const auto llm = ingot::llm::Llm::Load(options);
  if (!llm) {
    std::fprintf(stderr, "%s\n", llm.error().message().c_str());
    return 1;
  }
  ingot::llm::Request request;
  request.messages = {{{"role", "user"}, {"content", "What is the capital of France?"}}};
  request.sampling.temperature = 0;
  request.max_tokens = 64;
  const auto answer = (*llm)->Generate(request);
  if (!answer) {
    std::fprintf(stderr, "%s\n", answer.error().message().c_str());
    return 1;
  }
  std::printf("%s\n", answer->choices[0].text.c_str());
  return answer->choices[0].text == "The capital of France is Paris." ? 0 : 1;
}
