// ingot._program: the command line, inside of Python. For models that PyTorch computes (ingot/torch_program.py).
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "base/signal_stack.h"
#include "cli.h"
#include "common.h"
#include "torch_model.h"

namespace nb = nanobind;
using namespace nb::literals;  // NOLINT: "name"_a, as nanobind names arguments

namespace {

int Run(std::vector<std::string> words) {
  std::vector<char*> argv = ingot::cli::ArgvOf(words);
  const nb::gil_scoped_release release;
  const ingot::SignalStack signal_stack;
  return ingot::cli::Main(static_cast<int>(words.size()), argv.data());
}

}  // namespace

NB_MODULE(_program, m) {
  m.doc() = "The command line, for ingot.torch_program.";
  m.def("set_torch_loader", ingot::python::SetTorchLoader, "load"_a);
  m.def("run", Run, "argv"_a);
}
