"""The checks of tools/ on small made-up trees."""

import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import check_deps  # noqa: E402
import check_isa_symbols  # noqa: E402
import check_sizes  # noqa: E402


class Tree(unittest.TestCase):
    """A root folder that tests fill."""

    def setUp(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = pathlib.Path(self.folder.name)

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


class CheckDeps(Tree):
    def setUp(self) -> None:
        super().setUp()
        for name, deps in {"base": "", "kernels": "base", "ops": "kernels base", "models": "ops"}.items():
            deps = f"DEPS {deps}" if deps else ""
            self.write(f"src/{name}/CMakeLists.txt", f"ingot_library({name}\n  SOURCES a.cc\n  {deps} LIBS x::y)\n")
            self.write(f"src/{name}/a.h", "")

    def errors(self) -> str:
        return "\n".join(check_deps.check(self.root))

    def test_declared_includes_pass(self) -> None:
        self.write("src/ops/a.cc", '#include "ops/a.h"\n#include "kernels/a.h"\n#include <vector>\n')
        self.write("src/models/a.cc", '#include "base/a.h"\n#include "ops/a.h"\n')  # base through ops
        self.assertEqual(self.errors(), "")

    def test_undeclared_include(self) -> None:
        self.write("src/base/a.cc", '#  include "ops/a.h"\n')
        self.assertIn("src/base/a.cc: includes \"ops/a.h\", but its CMakeLists.txt does not name ops", self.errors())

    def test_kernels_only_from_ops(self) -> None:
        self.write("src/models/a.cc", '#include "kernels/a.h"\n')
        self.assertIn("only ops/ may include kernels/", self.errors())

    def test_bare_and_missing_includes(self) -> None:
        self.write("src/ops/a.cc", '#include "a.h"\n#include "ops/none.h"\n')
        self.assertEqual(self.errors().count("is no file below src/"), 2)

    def test_cycle(self) -> None:
        self.write("src/base/CMakeLists.txt", "ingot_library(base SOURCES a.cc DEPS models)\n")
        self.assertIn("src/base/CMakeLists.txt: depends on itself", self.errors())

    def test_a_test_may_use_more_than_its_library(self) -> None:
        self.write("src/base/CMakeLists.txt",
                   "ingot_library(base SOURCES a.cc)\ningot_test(base_test SOURCES a_test.cc DEPS base ops)\n")
        self.write("src/base/a_test.cc", '#include "ops/a.h"\n')
        self.assertEqual(self.errors(), "")
        self.write("src/base/a.cc", '#include "ops/a.h"\n')
        self.assertIn("src/base/a.cc", self.errors())

    def test_apps(self) -> None:
        self.write("apps/CMakeLists.txt", "target_link_libraries(ingot PRIVATE ingot_ops)\n")
        self.write("apps/b.h", "")
        self.write("apps/a.cc", '#include "b.h"\n#include "base/a.h"\n#include "models/a.h"\n')
        self.assertEqual(self.errors().count("\n"), 0)
        self.assertIn("does not name models", self.errors())


def body(lines: int) -> str:
    return "".join(f"  Call({i});\n" for i in range(lines))


class CheckSizes(Tree):
    def functions(self, source: str) -> list[tuple[str, int, int]]:
        return [(f.name, f.lines, f.parameters) for f in check_sizes.cpp_functions(source)]

    def test_finds_functions(self) -> None:
        source = """
namespace a {
constexpr int kTable[] = {1, 2, 3};
enum class Kind { kOne, kTwo };
template <typename T, std::pair<int, int> P = {1, 2}>
[[nodiscard]] std::map<int, T> Make(std::map<int, T> x, void (*f)(int, int)) {
  return {};
}
class alignas(64) B : public C<void(int)> {
 public:
  B(int x, int y) : x_{x}, y_(y) {
    if (x) { Call(); }
  }
  ~B() override {}
  bool operator()(int a, int b) const noexcept { return a < b; }
  bool operator<(const B& other) const { return x_ < other.x_; }
  int x_ = 1, y_{2};
  std::vector<int> z_ = {1, 2};
};
auto Trailing(std::function<int(int, int)> f) -> Result<int> {
  const auto inner = [](int a, int b, int c, int d, int e, int f) { return a; };
  const char* text = "} // {";
  const char quote = '{';  // }
  const auto raw = R"x(}}} ")x";
  return 1'000;
}
struct stat Stat(int fd) {
  return {};
}
extern "C" {
void Plain(void) {}
}
}  // namespace a
TEST(Suite, Name) {
  EXPECT_TRUE(true);
}
"""
        self.assertEqual(self.functions(source), [
            ("Make", 4, 2), ("B", 3, 2), ("~B", 1, 0), ("operator()", 1, 2), ("operator<", 1, 1), ("Trailing", 7, 1),
            ("Stat", 3, 1), ("Plain", 1, 0), ("Suite.Name", 3, 0)])  # fmt: skip

    def errors(self) -> list[str]:
        return check_sizes.check(self.root).errors

    def test_function_budget(self) -> None:
        self.write("src/a/a.cc", f"void Fits() {{\n{body(58)}}}\n")
        self.assertEqual(self.errors(), [])
        self.write("src/a/a.cc", f"void Long() {{\n{body(59)}}}\n")
        self.assertEqual(self.errors(), ["src/a/a.cc:Long: 61 lines, 60 at most"])

    def test_parameter_budget(self) -> None:
        self.write("src/a/a.cc", "void Five(int a, int b, int c, int d, F<int, int> e) {}\n"
                                 "void Six(int a, int b, int c, int d, int e, int f = 1) {}\n")
        self.assertEqual(len(self.errors()), 1)
        self.assertIn("src/a/a.cc:Six: 6 parameters", self.errors()[0])

    def test_file_budget_and_allowlist(self) -> None:
        self.write("src/a/a.cc", "int x;\n" * 501)
        self.assertEqual(self.errors(), ["src/a/a.cc: 501 lines, 500 at most"])
        self.write("tools/size_allowlist.txt", "# comment\nsrc/a/a.cc — a table\n")
        self.assertEqual(self.errors(), [])
        self.write("src/a/a.cc", "int x;\n" * 801)  # above the hard limit no exception counts
        self.assertEqual(len(self.errors()), 2)
        self.write("src/a/a.cc", "int x;\n")
        self.assertEqual(self.errors(), ["tools/size_allowlist.txt: src/a/a.cc needs no exception"])
        self.write("tools/size_allowlist.txt", "src/a/a.cc\n")
        with self.assertRaises(SystemExit):
            self.errors()

    def test_generated_files_are_exempt(self) -> None:
        self.write("src/a/a.cc", "// Generated by tools/x.py; do not edit.\n" + "int x;\n" * 900)
        self.assertEqual(self.errors(), [])

    def test_python(self) -> None:
        self.write("tools/a.py", "def f(a, b, c, d, e, *, g):\n" + "    pass\n" * 60)
        self.assertEqual(len(self.errors()), 2)


class CheckIsaSymbols(unittest.TestCase):
    def test_only_the_own_namespace_may_be_weak(self) -> None:
        listing = "\n".join([
            "0000000000000000 T ingot::kernels::avx2::Gemm(ingot::kernels::Params const&)",
            "0000000000000000 W void ingot::kernels::avx2::Tile<4>(float*)",
            "0000000000000000 W std::vector<int, std::allocator<int> >::push_back(int&&)",
            "0000000000000000 W float std::max<float>(ingot::kernels::avx2::Lane const&)",
            "0000000000000000 V ingot::kernels::avx512::kTable",
            "0000000000000000 t local",
        ])
        self.assertEqual(check_isa_symbols.foreign_symbols(listing, "avx2"), [
            "std::vector<int, std::allocator<int> >::push_back(int&&)",
            "float std::max<float>(ingot::kernels::avx2::Lane const&)",
            "ingot::kernels::avx512::kTable",
        ])  # fmt: skip


class Bootstrap(unittest.TestCase):
    def run_role(self, role: str) -> subprocess.CompletedProcess:
        return subprocess.run([ROOT / "tools/bootstrap.sh", role], capture_output=True, text=True, timeout=60)

    def test_unknown_role_shows_the_usage(self) -> None:
        done = self.run_role("nonsense")
        self.assertEqual(done.returncode, 2)
        self.assertIn("build|serve|triton|wheel|test", done.stderr)

    @unittest.skipUnless((ROOT / "build/.bootstrap-test").exists(), "not bootstrapped")
    def test_a_second_run_is_quick_and_silent(self) -> None:
        begin = time.monotonic()
        done = self.run_role("test")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        self.assertLess(time.monotonic() - begin, 2)


if __name__ == "__main__":
    unittest.main()
