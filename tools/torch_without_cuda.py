"""Lets PyPI's torch load without NVIDIA's libraries, which are several gigabytes: torch_without_cuda.py FOLDER_OF_TORCH

That wheel is linked with them, also where nothing is computed on a GPU. For each library that it needs, this puts one
into torch/lib/ whose functions all return the error "no device". torch.cuda.is_available() is then False. For tests on
CPUs: where there is a GPU, install torch with what it depends on.
"""

import pathlib
import re
import subprocess
import sys

NAMES = re.compile(r"_*(cu[a-zA-Z]|nccl|nv)\w*")
# 100 is cudaErrorNoDevice; the other libraries have no status 0 < s <= 100 that means success.
STATUS = "long {name}(void) {{ return {result}; }}\n"
TEXT = 'const char* {name}(void) {{ return "no CUDA here"; }}\n'


def run(*words: object) -> str:
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout


def symbols(libraries: list[pathlib.Path], which: str) -> set[str]:
    return {line.split()[-1].split("@")[0] for file in libraries for line in run("nm", "-D", which, file).splitlines()}


def main(folder: pathlib.Path) -> None:
    lib = folder / "lib"
    libraries = sorted(lib.glob("lib*torch*.so")) + sorted(lib.glob("libc10*.so"))
    undefined = symbols(libraries, "--undefined-only")
    defined = symbols(libraries, "--defined-only")
    needed = {name for file in libraries for name in re.findall(r"NEEDED.*\[(lib(?:cu|nccl|nv)[^\]]*)\]", run("readelf", "-d", file))}
    if not needed:
        return  # a wheel without CUDA
    names = sorted(name for name in undefined - defined if NAMES.fullmatch(name))
    # What the loader runs registers kernels, and has no status.
    source = "".join((TEXT if name.endswith(("String", "Name")) else STATUS).format(name=name, result=0 if name.startswith("__cudaRegister") else 100) for name in names)
    # The functions are in one library that all others need: versions of symbols are then not looked for.
    functions = lib / "libno_cuda.so"
    subprocess.run(["clang-19", "-w", "-shared", "-fPIC", "-fno-builtin", "-x", "c", "-", "-o", str(functions), "-Wl,-soname,libno_cuda.so"],
                   check=True, input=source, text=True)  # fmt: skip
    for name in sorted(needed):
        run("clang-19", "-shared", "-x", "c", "/dev/null", "-x", "none", functions, "-o", lib / name, f"-Wl,-soname,{name}",
            "-Wl,--no-as-needed,-rpath,$ORIGIN")  # fmt: skip
    print(f"torch_without_cuda: {len(needed)} libraries with {len(names)} functions in {lib}", file=sys.stderr)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
