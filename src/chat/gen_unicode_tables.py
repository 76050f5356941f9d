"""Writes unicode_tables.inc: what Python's str methods know of characters, from this interpreter's Unicode database.

Usage: python3 gen_unicode_tables.py > unicode_tables.inc
"""

import sys

CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def ranges(predicate):
    result = []
    for code in CODES:
        if predicate(chr(code)):
            if result and result[-1][1] == code - 1:
                result[-1][1] = code
            else:
                result.append([code, code])
    return result


def mapping_runs(convert):
    """[first, last, stride, delta] of the characters that map to one other character, at equal distance."""
    runs = []
    for code in CODES:
        mapped = convert(chr(code))
        if len(mapped) != 1 or ord(mapped) == code:
            continue
        delta = ord(mapped) - code
        last = runs[-1] if runs else None
        if last and last[3] == delta and (code - last[1] == last[2] or (last[0] == last[1] and code - last[1] <= 2)):
            last[2] = code - last[1]
            last[1] = code
        else:
            runs.append([code, code, 1, delta])
    return runs


def emit(kind, name, rows):
    print(f"constexpr {kind} {name}[] = {{")
    line = "   "
    for row in rows:
        item = " {" + ", ".join(row) + "},"
        if len(line) + len(item) > 120:
            print(line)
            line = "   "
        line += item
    print(line)
    print("};")


def emit_ranges(name, predicate):
    emit("CharRange", name, [[hex(a), hex(b)] for a, b in ranges(predicate)])


def emit_mapping(name, convert):
    emit("CaseRun", name, [[hex(a), hex(b), str(stride), str(delta)] for a, b, stride, delta in mapping_runs(convert)])


def emit_special(name, convert, plain):
    rows = []
    for code in CODES:
        mapped = convert(chr(code))
        if mapped != plain(chr(code)):
            text = "".join(f"\\u{ord(c):04x}" if ord(c) >= 128 else c for c in mapped)
            rows.append([hex(code), f'"{text}"'])
    emit("CaseSpecial", name, rows)


def single(convert):
    return lambda c: convert(c) if len(convert(c)) == 1 else c


def main():
    print("// Written by gen_unicode_tables.py; not edited by hand.")
    print("// clang-format off")
    emit_ranges("kAlpha", str.isalpha)
    emit_ranges("kDecimal", str.isdecimal)
    emit_ranges("kDigit", lambda c: c.isdigit() and not c.isdecimal())
    emit_ranges("kNumeric", lambda c: c.isnumeric() and not c.isdigit())
    emit_ranges("kUpper", str.isupper)
    emit_ranges("kLower", str.islower)
    emit_ranges("kTitle", lambda c: c.istitle() and not c.isupper())
    emit_ranges("kNotPrintable", lambda c: not c.isprintable())
    emit_mapping("kToUpper", str.upper)
    emit_mapping("kToLower", str.lower)
    emit_special("kToUpperSpecial", str.upper, single(str.upper))
    emit_special("kToLowerSpecial", str.lower, single(str.lower))
    emit_special("kToTitleSpecial", str.title, str.upper)
    print("// clang-format on")


if __name__ == "__main__":
    sys.exit(main())
