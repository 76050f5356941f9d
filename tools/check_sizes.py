#!/usr/bin/env python3
"""Fails on functions and files over budget: check_sizes.py [--root ROOT] [--table].

Budgets: a function 60 lines and 5 parameters, a file 500 lines. Exceptions stand in tools/size_allowlist.txt, one a
line, "path — reason" or "path:function — reason"; an exception that is no longer needed is an error too. No file is
above 800 lines but generated ones, which say so in their first lines. C++ is read by its braces, as clang-format lays
them out; Python by its own parser.
"""

import argparse
import ast
import dataclasses
import pathlib
import re
import statistics
import sys

MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 5
MAX_FILE_LINES = 500
HARD_FILE_LINES = 800
FOLDERS = ("src", "apps", "tools", "tests", "bench", "python")
CPP = (".h", ".cc", ".cu", ".cuh")
GENERATED = re.compile(r"(generated|written) by \S+\.py", re.IGNORECASE)

# Comments, raw strings, strings and characters, in the order they must be tried.
LEXEMES = re.compile(
    r'//[^\n]*|/\*.*?\*/|(?:u8|[uUL])?R"([^\s()\\]{0,16})\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\b[0-9][0-9a-fA-FxXbB\']*|'
    r"'(?:\\.|[^'\\\n])+'",
    re.DOTALL,
)
DIRECTIVE = re.compile(r"^[ \t]*#(?:\\\n|[^\n])*", re.MULTILINE)
SCOPE = re.compile(r"\s*(?:inline\s+|typedef\s+|static\s+|const\s+|constexpr\s+)*(namespace|class|struct|union|enum|extern)\b")
NAME = re.compile(r"(operator\s*(?:\(\)|\[\]|[^\s\w(]+|\s\w+)|[~\w:]+(?:<[^()]*>)?)\s*$")


@dataclasses.dataclass
class Function:
    name: str
    lines: int
    parameters: int


def blank(match: re.Match) -> str:
    """Keeps line breaks, so that line numbers stay."""
    text = match.group(0)
    if text[0].isdigit():
        return text.replace("'", "")  # 1'000'000
    return ("" if text.startswith("/") else "''") + "\n" * text.count("\n")


def strip(text: str) -> str:
    text = LEXEMES.sub(blank, text)
    return DIRECTIVE.sub(lambda m: "\n" * m.group(0).count("\n"), text)


def match_close(text: str, begin: int) -> int:
    """The index of the bracket that closes text[begin]."""
    pairs = {"(": ")", "{": "}", "[": "]"}
    opening, closing, depth = text[begin], pairs[text[begin]], 0
    for i in range(begin, len(text)):
        depth += (text[i] == opening) - (text[i] == closing)
        if depth == 0:
            return i
    return len(text) - 1


def split_parameters(text: str) -> list[str]:
    """Splits at commas that no bracket of any kind encloses."""
    parts, depth, current = [], 0, ""
    for i, c in enumerate(text):
        depth += (c in "(<[{") - (c in ")]}" or (c == ">" and text[i - 1] != "-"))
        if c == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += c
    return [p for p in parts + [current] if p.strip() not in ("", "void")]


def strip_prefix(header: str) -> str:
    """`header` without template<…>, requires clauses and attributes in front."""
    while True:
        header = header.lstrip()
        if re.match(r"template\s*<", header):
            depth = 0
            for i, c in enumerate(header):
                depth += (c == "<") - (c == ">")
                if c == ">" and depth == 0:
                    break
            header = header[i + 1 :]
        elif prefix := re.match(r"requires\b[^\n]*\n|\[\[[^\]]*\]\]|__attribute__\s*\(\(.*?\)\)|__global__|__device__", header):
            header = header[prefix.end() :]
        else:
            return re.sub(r"alignas\s*\([^()]*(?:\([^()]*\))?[^()]*\)|__launch_bounds__\s*\([^()]*\)", "", header)


def opens_scope(header: str) -> bool:
    """A namespace or a type, not a function that returns `struct stat`."""
    header = strip_prefix(header)
    before_bracket = header.partition("(")[0]
    return bool(SCOPE.match(header)) and ("(" not in header or ":" in before_bracket.replace("::", ""))


def parse_header(header: str) -> tuple[str, str] | None:
    """(name, parameters) when `header`, the text before a brace, is a function's."""
    header = strip_prefix(header)
    begin = header.find("(")
    if header.rstrip().endswith("=") or begin < 0:
        return None
    if header[:begin].rstrip().endswith("operator"):
        begin = header.find("(", header.find(")", begin))
    name = NAME.search(header[:begin]) if begin >= 0 else None
    if not name or "=" in re.sub(r"operator\s*\S+", "", header[:begin]):
        return None
    parameters = header[begin + 1 : match_close(header, begin)]
    if name.group(1) in ("TEST", "TEST_F", "TEST_P", "TYPED_TEST"):
        return ".".join(p.strip() for p in parameters.split(",")), ""
    return name.group(1), parameters


def skip_to_body(text: str, header_begin: int, brace: int) -> int:
    """In a constructor's `: a_{1}, b_(2) {` the body is the first brace that follows no name."""
    while brace < len(text):
        before = text[header_begin:brace].rstrip()
        in_initializers = re.search(r"\)\s*(?:noexcept\s*)?:[^:]", text[header_begin:brace])
        if not (in_initializers and before and (before[-1].isalnum() or before[-1] in "_>")):
            return brace
        brace = text.find("{", match_close(text, brace))
        if brace < 0:
            break
    return len(text)


def cpp_functions(source: str) -> list[Function]:
    """The functions with a body, at namespace or class level; lambdas count to the function around them."""
    text = strip(source)
    functions, begin, i = [], 0, 0
    while i < len(text):
        c = text[i]
        if c in ";}" or (c == ":" and re.search(r"\b(public|private|protected)\s*$", text[begin:i])):
            begin = i + 1
        elif c in "([":
            i = match_close(text, i)
        elif c == "{":
            header = text[begin:i]
            parsed = parse_header(header)
            if opens_scope(header):
                begin = i + 1
            elif parsed is None:
                i = match_close(text, i)  # an initializer
            else:
                body = skip_to_body(text, begin, i)
                end = match_close(text, body) if body < len(text) else len(text) - 1
                first = begin + len(text[begin:i]) - len(text[begin:i].lstrip())
                lines = text.count("\n", first, end) + 1
                functions.append(Function(parsed[0], lines, len(split_parameters(parsed[1]))))
                i = end
                begin = end + 1
        i += 1
    return functions


def python_functions(source: str) -> list[Function]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]

    def parameters(node: ast.FunctionDef) -> int:
        names = [a.arg for a in node.args.posonlyargs + node.args.args + node.args.kwonlyargs]
        return len([name for name in names if name not in ("self", "cls")])

    return [Function(n.name, (n.end_lineno or n.lineno) - n.lineno + 1, parameters(n)) for n in found]


def read_allowlist(path: pathlib.Path) -> dict[str, str]:
    allowed = {}
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, dash, reason = line.partition(" — ")
        if not dash or not reason.strip():
            sys.exit(f"{path}:{number}: write \"path:function — reason\"")
        allowed[name.strip()] = reason.strip()
    return allowed


@dataclasses.dataclass
class Report:
    errors: list[str] = dataclasses.field(default_factory=list)
    used: set[str] = dataclasses.field(default_factory=set)
    file_lines: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    function_lines: list[tuple[int, str]] = dataclasses.field(default_factory=list)


def over(report: Report, allowed: dict[str, str], key: str, message: str) -> None:
    if key in allowed:
        report.used.add(key)
    else:
        report.errors.append(f"{key}: {message}")


def check_file(path: pathlib.Path, name: str, allowed: dict[str, str], report: Report) -> None:
    source = path.read_text(errors="replace")
    if GENERATED.search(source[:300]):
        return
    lines = source.count("\n")
    report.file_lines.append((lines, name))
    if lines > HARD_FILE_LINES:
        report.errors.append(f"{name}: {lines} lines, {HARD_FILE_LINES} at most, exceptions included")
    elif lines > MAX_FILE_LINES:
        over(report, allowed, name, f"{lines} lines, {MAX_FILE_LINES} at most")
    for function in cpp_functions(source) if path.suffix in CPP else python_functions(source):
        key = f"{name}:{function.name}"
        report.function_lines.append((function.lines, key))
        if function.lines > MAX_FUNCTION_LINES:
            over(report, allowed, key, f"{function.lines} lines, {MAX_FUNCTION_LINES} at most")
        if function.parameters > MAX_PARAMETERS:
            over(report, allowed, key, f"{function.parameters} parameters, {MAX_PARAMETERS} at most (else a Params struct)")


def check(root: pathlib.Path) -> Report:
    allowed = read_allowlist(root / "tools" / "size_allowlist.txt")
    report = Report()
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (*CPP, ".py") and "build" not in path.relative_to(root).parts:
                check_file(path, str(path.relative_to(root)), allowed, report)
    report.errors += [f"tools/size_allowlist.txt: {key} needs no exception" for key in sorted(set(allowed) - report.used)]
    return report


def summary(what: str, sized: list[tuple[int, str]]) -> str:
    values = sorted(size for size, _ in sized) or [0]
    p95 = values[min(len(values) - 1, len(values) * 95 // 100)]
    return (f"{what:10} {len(sized):6} {sum(values):8} {statistics.median(values):8.0f} {p95:6} {values[-1]:6}  "
            f"{max(sized)[1] if sized else ''}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).parent.parent)
    parser.add_argument("--table", action="store_true", help="also print the longest ten of each")
    args = parser.parse_args()
    report = check(args.root.resolve())
    print(f"{'':10} {'count':>6} {'lines':>8} {'median':>8} {'p95':>6} {'max':>6}  longest")
    print(summary("files", report.file_lines))
    print(summary("functions", report.function_lines))
    if args.table:
        for sized in (report.file_lines, report.function_lines):
            print("\n".join(f"{size:6}  {name}" for size, name in sorted(sized, reverse=True)[:10]))
    print("\n".join(report.errors) if report.errors else "check_sizes: all within budget")
    sys.exit(1 if report.errors else 0)


if __name__ == "__main__":
    main()
