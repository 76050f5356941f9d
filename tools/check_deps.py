#!/usr/bin/env python3
"""Fails when a folder includes what its CMakeLists.txt does not name: check_deps.py [ROOT].

The folders of src/ and what each may include are the DEPS of its ingot_library() calls; a test or a fuzz target may also
use the DEPS of ingot_test() and ingot_fuzz(). Also an error: cycles, kernels/ included from above ops/, and includes
that are not "folder/file.h".
"""

import dataclasses
import pathlib
import re
import sys

KERNEL_USERS = {"kernels", "ops"}
KEYWORDS = {"SOURCES", "DEPS", "LIBS"}
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


@dataclasses.dataclass
class Folder:
    deps: set[str] = dataclasses.field(default_factory=set)
    test_deps: set[str] = dataclasses.field(default_factory=set)


def cmake_calls(text: str) -> list[tuple[str, list[str]]]:
    """All `name(words…)` calls, comments removed."""
    text = re.sub(r"#.*", "", text)
    return [(name, words.split()) for name, words in re.findall(r"(\w+)\s*\(([^()]*)\)", text)]


def words_after(keyword: str, words: list[str]) -> set[str]:
    found, inside = set(), False
    for word in words:
        if word in KEYWORDS:
            inside = word == keyword
        elif inside:
            found.add(word)
    return found


def read_folders(src: pathlib.Path) -> dict[str, Folder]:
    folders: dict[str, Folder] = {}
    for cmake in sorted(src.glob("*/**/CMakeLists.txt")):
        name = cmake.relative_to(src).parts[0]
        folder = folders.setdefault(name, Folder())
        for call, words in cmake_calls(cmake.read_text()):
            deps = words_after("DEPS", words) - {name}
            if call == "ingot_library":
                folder.deps |= deps
            elif call in ("ingot_test", "ingot_fuzz"):
                folder.test_deps |= deps
    return folders


def reach(folders: dict[str, Folder], start: set[str]) -> set[str]:
    """`start` and all that its members depend on."""
    seen, todo = set(), list(start)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += folders.get(name, Folder()).deps
    return seen


def find_cycles(folders: dict[str, Folder]) -> list[str]:
    return [
        f"src/{name}/CMakeLists.txt: depends on itself through {', '.join(sorted(folders[name].deps))}"
        for name in sorted(folders)
        if name in reach(folders, folders[name].deps)
    ]


def is_test(path: pathlib.Path) -> bool:
    stem = path.stem
    return stem.endswith(("_test", "_fuzz", "_bench")) or stem.startswith(("test_", "fake_"))


def check_file(path: pathlib.Path, root: pathlib.Path, folder: str, allowed: set[str]) -> list[str]:
    errors = []
    where = path.relative_to(root)
    for include in INCLUDE.findall(path.read_text(errors="replace")):
        if folder == "apps" and (path.parent / include).is_file():
            continue
        target = include.split("/")[0]
        if not (root / "src" / include).is_file() and not (root / include).is_file():
            errors.append(f'{where}: "{include}" is no file below src/')
        elif target == "kernels" and folder not in KERNEL_USERS:
            errors.append(f'{where}: includes "{include}"; only ops/ may include kernels/')
        elif target != folder and target not in allowed:
            errors.append(f'{where}: includes "{include}", but its CMakeLists.txt does not name {target} in DEPS')
    return errors


def sources(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix in (".h", ".cc", ".cu", ".cuh", ".inc"))


def check_apps(root: pathlib.Path, folders: dict[str, Folder]) -> list[str]:
    """apps/ links libraries by their target names, ingot_<folder>."""
    cmake = root / "apps" / "CMakeLists.txt"
    if not cmake.exists():
        return []
    linked = set(re.findall(r"\bingot_(\w+)\b", cmake.read_text())) & set(folders)
    for call, words in cmake_calls(cmake.read_text()):
        if call in ("ingot_library", "ingot_test", "ingot_fuzz"):
            linked |= words_after("DEPS", words)
    allowed = reach(folders, linked) | {"apps"}
    return [e for path in sources(root / "apps") for e in check_file(path, root, "apps", allowed)]


def check(root: pathlib.Path) -> list[str]:
    src = root / "src"
    folders = read_folders(src)
    errors = find_cycles(folders)
    for name, folder in folders.items():
        unknown = (folder.deps | folder.test_deps) - set(folders)
        errors += [f"src/{name}/CMakeLists.txt: DEPS names {dep}, which is no folder of src/" for dep in sorted(unknown)]
        deps = reach(folders, folder.deps)
        test_deps = reach(folders, folder.deps | folder.test_deps)
        for path in sources(src / name):
            errors += check_file(path, root, name, test_deps if is_test(path) else deps)
    return errors + check_apps(root, folders)


def main() -> None:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
    errors = check(root.resolve())
    print("\n".join(errors) if errors else "check_deps: every include is declared, no cycles")
    sys.exit(1 if errors else 0)


if __name__ == "__main__":
    main()
