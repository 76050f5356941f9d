#!/usr/bin/env python3
"""Writes src/text/unicode_tables.cc: what the `tokenizers` package takes each code point for.

The tables are found by asking the package itself about every code point, so that they agree with it and with nothing
else: its regular expressions (Oniguruma), its Rust standard library, its punctuation crate and its normalization crate
each follow another version of Unicode. Needs the Python package `tokenizers` and libutf8proc.so.2.

  gen_unicode_tables.py [--output src/text/unicode_tables.cc]
"""
import argparse
import ctypes
import os

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
ALL = "".join(map(chr, CODE_POINTS))
# The order is that of enum class Category in unicode.h.
CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co Cn Cs".split()
SCRIPTS = "Han Hiragana Katakana Hangul Latin Greek Cyrillic Arabic Hebrew Thai Devanagari".split()


def not_in(pieces):
    """The code points of ALL that none of the pieces covers."""
    mark = bytearray(b"\1" * len(ALL))
    for _, (begin, end) in pieces:
        mark[begin:end] = bytes(end - begin)
    return {CODE_POINTS[i] for i in range(len(ALL)) if mark[i]}


def matched(pattern):
    return not_in(pre_tokenizers.Split(Regex(pattern), "removed").pre_tokenize_str(ALL))


def ranges(code_points):
    out = []
    for c in sorted(code_points):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def categories():
    table = {}
    for index, name in enumerate(CATEGORIES):
        if name == "Cs":
            continue
        for c in matched(rf"\p{{{name}}}+"):
            assert c not in table, hex(c)
            table[c] = index
    assert len(table) == len(CODE_POINTS)
    for c in range(0xD800, 0xE000):
        table[c] = CATEGORIES.index("Cs")
    return table


def rust_numbers():
    text = "".join("a" + chr(c) for c in CODE_POINTS if c != ord("a"))
    return {ord(t) for t, _ in pre_tokenizers.Digits(True).pre_tokenize_str(text) if len(t) == 1 and t != "a"}


def rust_words():
    """\\w of Rust's regex crate: what sticks to a letter in the Whitespace pre-tokenizer."""
    tokenizer = pre_tokenizers.Whitespace()
    words = set()
    for c in CODE_POINTS:
        if len(tokenizer.pre_tokenize_str("a" + chr(c))) == 1:
            words.add(c)
    return words - matched(r"\s+")


def lower_case():
    """Rows (first, last, step, delta); code points that become several are rows of their own, elsewhere."""
    normalizer = normalizers.Lowercase()
    single, several = [], []
    for c in CODE_POINTS:
        lower = normalizer.normalize_str(chr(c))
        if lower == chr(c):
            continue
        if len(lower) != 1:
            several.append((c, lower))
            continue
        delta = ord(lower) - c
        last = single[-1] if single else None
        if last and last[3] == delta and c - last[1] <= 2 and last[2] in (0, c - last[1]):
            last[1], last[2] = c, c - last[1]
        else:
            single.append([c, c, 0, delta])
    return single, several


def opaque_to_normalization():
    """Code points that utf8proc decomposes or reorders and the package's older Unicode leaves alone."""
    lib, libc = ctypes.CDLL("libutf8proc.so.2"), ctypes.CDLL(None)
    found = set()
    for form in ("NFD", "NFKD"):
        function = getattr(lib, "utf8proc_" + form)
        function.restype = ctypes.c_void_p
        theirs = getattr(normalizers, form)()
        for c in CODE_POINTS[1:]:
            x = chr(c)
            probes = [x]
            if form == "NFD":
                probes += ["a\u0345" + x, "a" + x + "\u0334", "a\u0301" + x, "a" + x + "\u0323"]
            for probe in probes:
                pointer = function(probe.encode())
                ours = ctypes.string_at(pointer).decode()
                libc.free(ctypes.c_void_p(pointer))
                if ours != theirs.normalize_str(probe):
                    # An old-fashioned tokenizers decomposes nothing here: x must come out as it went in.
                    assert theirs.normalize_str(probe) == probe, hex(c)
                    found.add(c)
                    break
        if 0x11938 in found:
            found |= {0x11930, 0x11935}  # its parts, which compose to it
    return found


def write_words(out, name, words):
    out.append(f"const uint32_t {name}[] = {{")
    for i in range(0, len(words), 10):
        out.append("    " + " ".join(f"0x{w:x}," for w in words[i : i + 10]))
    out.append("};")
    out.append(f"const size_t {name}Count = sizeof({name}) / sizeof({name}[0]);")
    out.append("")


def pairs(code_points):
    return [x for r in ranges(code_points) for x in r]


def main():
    parser = argparse.ArgumentParser()
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--output", default=os.path.join(here, "..", "src", "text", "unicode_tables.cc"))
    output = parser.parse_args().output

    table = categories()
    out = [
        f"// Generated by tools/gen_unicode_tables.py from the Python package tokenizers {tokenizers.__version__}; do not edit.",
        '#include "text/unicode_tables.h"',
        "",
        "namespace ingot {",
        "",
        "// clang-format off",
    ]
    packed, previous = [], None
    for c in range(0x110000):
        if table[c] != previous:
            previous = table[c]
            packed.append(c << 5 | previous)
    write_words(out, "kCategoryStarts", packed)

    is_category = lambda letters: {c for c in CODE_POINTS if CATEGORIES[table[c]][0] in letters}
    word = matched(r"\w+")
    write_words(out, "kWordRanges", pairs(word))
    write_words(out, "kRustWordToggles", pairs(word ^ rust_words()))
    write_words(out, "kRustNumberToggles", pairs(is_category("N") ^ rust_numbers()))
    write_words(out, "kRustPunctuationToggles", pairs(is_category("P") ^ not_in(pre_tokenizers.Punctuation("removed").pre_tokenize_str(ALL))))
    space = matched(r"\s+")
    assert space == not_in(pre_tokenizers.WhitespaceSplit().pre_tokenize_str(ALL))
    write_words(out, "kSpaceRanges", pairs(space))
    write_words(out, "kOpaqueRanges", pairs(opaque_to_normalization()))

    out.append("const ScriptRanges kScripts[] = {")
    words = []
    for script in SCRIPTS:
        row = pairs(matched(rf"\p{{{script}}}+"))
        out.append(f'    {{"{script}", {len(words)}, {len(row)}}},')
        words += row
    out += ["};", "const size_t kScriptsCount = sizeof(kScripts) / sizeof(kScripts[0]);", ""]
    write_words(out, "kScriptWords", words)

    single, several = lower_case()
    out.append("const LowerCaseRow kLowerCaseRows[] = {")
    for i in range(0, len(single), 5):
        out.append("    " + " ".join(f"{{0x{a:x}, 0x{b:x}, {max(s, 1)}, {d}}}," for a, b, s, d in single[i : i + 5]))
    out += ["};", "const size_t kLowerCaseRowsCount = sizeof(kLowerCaseRows) / sizeof(kLowerCaseRows[0]);"]
    assert [(c, lower) for c, lower in several] == [(0x130, "i\u0307")], several  # spelled out in unicode.cc
    out += ["// clang-format on", "", "}  // namespace ingot", ""]
    with open(output, "w") as file:
        file.write("\n".join(out))


if __name__ == "__main__":
    main()
