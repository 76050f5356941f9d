#include "base/signal_stack.h"
#include "cli.h"

int main(int argc, char** argv) {
  const ingot::SignalStack signal_stack;
  return ingot::cli::Main(argc, argv);
}
