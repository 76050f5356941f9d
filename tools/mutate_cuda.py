#!/usr/bin/env python3
"""Puts one bug at a time into the CUDA kernels and checks that a test on the emulator fails: tools/mutate_cuda.py [NAME…]

It takes the commands of build/release, where the tests must have been built: the kernels are compiled with the changed
header before the others on the include path, and linked to the test before the library that has the right ones.
"""

import json
import pathlib
import shlex
import subprocess
import sys
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/release"
SOURCE = "src/kernels/cuda/emulated_kernels.cc"
TEST_SECONDS = 300


@dataclass
class Mutant:
    name: str
    header: str  # of src/kernels/cuda
    right: str  # occurs once
    wrong: str
    test: str
    filter: str = "*"


ATTENTION = ("cuda_attention_test", "CudaAttention.IsExactInEveryFormat")
SPLITS = ("cuda_attention_test", "CudaAttention.SplitsAreMergedToTheSameBits")
LINEAR = ("cuda_test", "*CudaLinear*")
ROWS = ("cuda_test", "*CudaRows*")
DRAWS = ("cuda_sampling_test", "CudaSampling.*")
MUTANTS = [
    Mutant(
        "no barrier before keys are read",
        "attention.h",
        "dim, kKvTile, true);\n    SyncThreads();",
        "dim, kKvTile, true);",
        *ATTENTION,
    ),
    Mutant(
        "no barrier before values are read",
        "attention.h",
        "End() - first, false);\n    SyncThreads();",
        "End() - first, false);",
        *ATTENTION,
    ),
    Mutant(
        "keys are not waited for",
        "attention.h",
        "CopyAsyncWait<0>();\n    SyncThreads();\n    if (ThreadIndex()",
        "SyncThreads();\n    if (ThreadIndex()",
        *ATTENTION,
    ),
    Mutant(
        "keys are taken for values",
        "attention.h",
        "place->tile.values, place->value_bytes",
        "place->tile.keys, place->key_bytes",
        *ATTENTION,
    ),
    Mutant(
        "off by one in the block table",
        "attention.h",
        "block_table_stride + first / p.kv.block_len",
        "block_table_stride + (first + kKvTile) / p.kv.block_len",
        *ATTENTION,
    ),
    Mutant("a row sees the position after its own", "attention.h", "position + 1 - first", "position + 2 - first", *ATTENTION),
    Mutant("the window is one too wide", "attention.h", "position - p.window + 1", "position - p.window", *ATTENTION),
    Mutant("the first KV head for all", "attention.h", "CacheTile(p.kv, slot, rows.kv_head)", "CacheTile(p.kv, slot, 0)", *ATTENTION),
    Mutant(
        "int4: the open tile is read as closed",
        "attention.h",
        "first == rows.last_position / kKvTile * kKvTile",
        "first > rows.last_position",
        *ATTENTION,
    ),
    Mutant("splits are weighted the wrong way round", "attention.h", "second_l * second), first, second}", "second_l * second), second, first}", *SPLITS),
    Mutant("sums are not rescaled", "attention.h", "*= factor[i / 2]", "*= 1.0f + 0 * factor[i / 2]", *ATTENTION),
    Mutant(
        "int8: scale and minimum of keys swapped",
        "kv_tiles.h",
        "ScaleAt(scales, j + i), ScaleAt(scales, kKvTile + j + i)",
        "ScaleAt(scales, kKvTile + j + i), ScaleAt(scales, j + i)",
        *ATTENTION,
    ),
    Mutant(
        "int4: the scales of keys and values swapped",
        "kv_tiles.h",
        "float scale = ScaleAt(scales, group), min = ScaleAt(scales, groups * kKvTile + group)",
        "float scale = ScaleAt(scales, d), min = ScaleAt(scales, head_dim + d)",
        *ATTENTION,
    ),
    Mutant(
        "a wrong lane in a fragment of B", "mma.h", "left[0] = r[0], left[1] = r[1];", "left[0] = r[1], left[1] = r[0];", *ATTENTION
    ),
    Mutant("a wrong lane in a fragment of A", "mma.h", "a, rows + Lane() % 16", "a, rows + Lane() / 2", *ATTENTION),
    Mutant("a stage is not waited for", "gemm.h", "CopyAsyncWait<Shape::kStages - 2>();", "CopyAsyncWait<Shape::kStages - 1>();", *LINEAR),
    Mutant("no barrier before a stage is read", "gemm.h", "- 2>();\n    SyncThreads();", "- 2>();", *LINEAR),
    Mutant("a stage is overwritten as it is read", "gemm.h", "copy(tile + Shape::kStages - 1);", "copy(tile + Shape::kStages);", *LINEAR),
    Mutant("rows of x are not swizzled", "gemm.h", "stage.PieceOfX(row, piece);", "stage.PieceOfX(row, piece ^ row % 8);", *LINEAR),
    Mutant("a split begins with the sums of the one before", "gemm.h", "    sums = {};\n", "", *LINEAR),
    Mutant("a split has a tile too many", "gemm.h", "if (--left > 0", "if (left-- > 0", *LINEAR),
    Mutant("a split is left out", "gemm.h", "int split = 0; split <", "int split = 1; split <", *LINEAR),
    Mutant("no barrier before the last split is known", "gemm.h", "  SyncThreads();\n  ThreadFence();\n", "  ThreadFence();\n", *LINEAR),
    Mutant("the rows of the expert before", "gemm.h", "begin, p.expert_begin[expert]);", "begin, p.expert_begin[Maximum<int>(expert, 1) - 1]);", *LINEAR),
    Mutant("weights of the wrong lane", "gemm.h", "kVectorBytes + Lane() * 16", "kVectorBytes + (Lane() ^ 1) * 16", *LINEAR),
    Mutant("the scale of the other channel", "gemm_weights.h", "half == 0 ? 0x1010 : 0x3232", "half == 1 ? 0x1010 : 0x3232", *LINEAR),
    Mutant("scale and zero swapped", "gemm_weights.h", "twice(own[0], half)", "twice(own[tiles.group_words - 1], half)", *LINEAR),
    Mutant("the next group's scale", "gemm.h", "all + step / group_steps", "all + (step + 1) / group_steps", *LINEAR),
    Mutant("the group of the tile before", "gemm.h", "(int64_t{tile} * 64 >> p.tiles", "(int64_t{tile - 1} * 64 >> p.tiles", *LINEAR),
    Mutant("a nibble of the wrong channel", "gemm_weights.h", "Logic3<0xea>(word >> (4 * i)", "Logic3<0xea>(word >> (4 * (i ^ 2))", *LINEAR),
    Mutant("the upper half of a code table", "gemm_weights.h", "(codes & 0x8888) >> 1", "(codes & 0x8880) >> 1", *LINEAR),
    Mutant("int8: the scale of the next row", "gemm.h", "p.row_scales[sums.row - p.first_row]", "p.row_scales[sums.row - p.first_row + 1]", *LINEAR),
    Mutant("int8: no barrier before the largest is read", "rows.h", "largest[Warp()] = amax;\n  SyncThreads();", "largest[Warp()] = amax;", *LINEAR),
    Mutant("lanes are added up in another order", "sampling.h", "lanes = kSumLanes / 2; lanes > 0; lanes /= 2", "lanes = 1; lanes < kSumLanes; lanes *= 2", *DRAWS),
    Mutant("ties go to the higher id", "sampling.h", "<< 32 | static_cast<uint32_t>(id)", "<< 32 | static_cast<uint32_t>(~id)", *DRAWS),
    Mutant("penalties before biases are done", "sampling.h", "edits[i].bias;\n  }\n  SyncThreads();", "edits[i].bias;\n  }", *DRAWS),
    Mutant("the next window begins one late", "sampling.h", "has_floor && order <= floor)) continue;\n        Atomic", "has_floor && order <= floor + 1)) continue;\n        Atomic", *DRAWS),
    Mutant("no barrier while sorting", "sampling.h", "          }\n        }\n        SyncThreads();", "          }\n        }", *DRAWS),
    Mutant("no barrier in the norm", "rows.h", "sums[Warp()] = sum;\n  SyncThreads();", "sums[Warp()] = sum;", *ROWS),
]


def kernels_command() -> list[str]:
    for entry in json.loads((BUILD / "compile_commands.json").read_text()):
        if entry["file"].endswith(SOURCE):
            return [part for part in shlex.split(entry["command"]) if not part.endswith("ccache")]
    sys.exit(f"{BUILD}/compile_commands.json has no {SOURCE}: build the tests first (make test)")


def link_command(test: str) -> list[str]:
    commands = subprocess.run(["ninja", "-C", BUILD, "-t", "commands", f"bin/{test}"], capture_output=True, text=True, check=True)
    # ": && clang++ … && :"
    return shlex.split(commands.stdout.strip().splitlines()[-1].removeprefix(": &&").removesuffix("&& :"))


def replace_after(command: list[str], flag: str, value: str) -> list[str]:
    at = command.index(flag)
    return [*command[: at + 1], value, *command[at + 2 :]]


def build(mutant: Mutant, folder: pathlib.Path) -> pathlib.Path:
    """The test with the mutant's kernels."""
    text = (ROOT / "src/kernels/cuda" / mutant.header).read_text()
    if text.count(mutant.right) != 1:
        sys.exit(f"{mutant.name}: {mutant.header} has {text.count(mutant.right)} times what is to be replaced, not once")
    header = folder / "kernels/cuda" / mutant.header
    header.parent.mkdir(parents=True, exist_ok=True)
    header.write_text(text.replace(mutant.right, mutant.wrong))
    kernels, program = folder / "kernels.o", folder / mutant.test
    compiler, *options = replace_after(kernels_command(), "-o", str(kernels))
    # Compiling takes longer than the test, so without optimization.
    subprocess.run([compiler, f"-I{folder}", *options, "-O0", "-w"], cwd=BUILD, check=True)
    link = replace_after(link_command(mutant.test), "-o", str(program))
    first_object = next(i for i, part in enumerate(link) if part.endswith(".o"))
    subprocess.run([*link[:first_object], str(kernels), *link[first_object:]], cwd=BUILD, check=True)
    return program


def is_found(mutant: Mutant) -> bool:
    folder = BUILD / "mutants" / mutant.name.replace(" ", "_").replace(":", "")
    program = build(mutant, folder)
    command = [program, f"--gtest_filter={mutant.filter}", "--gtest_fail_fast"]
    test = subprocess.run(command, capture_output=True, timeout=TEST_SECONDS, check=False)
    program.unlink()
    return test.returncode != 0


def main() -> None:
    wanted = sys.argv[1:]
    survivors = []
    for mutant in MUTANTS:
        if wanted and mutant.name not in wanted:
            continue
        found = is_found(mutant)
        print(f"{'found   ' if found else 'SURVIVED'} {mutant.name}", flush=True)
        if not found:
            survivors.append(mutant.name)
    sys.exit(f"{len(survivors)} bugs that no test finds" if survivors else 0)


if __name__ == "__main__":
    main()
