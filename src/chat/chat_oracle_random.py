"""Random templates in the dialect that chat templates use, over the variables below."""

VARIABLES = {
    "s": "Hello Wörld",
    "t": "  a,b,,C \n",
    "u": "ñ İ🙂 xß",
    "q": "it's \"q\"\\\t\n",
    "e": "",
    "i": 7,
    "j": -3,
    "z": 0,
    "f": 2.5,
    "g": -0.1,
    "h": 1e22,
    "b": True,
    "c": False,
    "n": None,
    "l": [3, 1, 2],
    "m": ["b", "A", "c", "a"],
    "k": [],
    "d": {"a": 1, "b": "x", "items": [1], "C": None},
    "o": {},
    "p": [{"a": 2, "b": {"c": "y"}}, {"a": 1, "b": {"c": "X"}}, {"a": 2}],
    "r": [1, "a", None, 2.5, [1, 2], {"z": True}],
    "w": "%s-%d",
    "v": "{} {0} {a}",
}

NAMES = list(VARIABLES) + ["missing", "messages", "ns"]
STRINGS = ["''", "'a'", "'b '", '"it\'s"', "'\\n'", "'Wörld'", "','", "' '", "'<|x|>'", "'%d'", "'{:>5}'", "'l'", "'12'", "'-4.5'"]
NUMBERS = ["0", "1", "2", "3", "-1", "10", "1.5", "0.25", "2.0", "1e3", "100"]
TESTS = [
    "defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true", "false", "mapping",
    "iterable", "sequence", "equalto(1)", "eq 'a'", "ne 1", "lt 3", "gt(1)", "in [1, 2]", "ge 2", "lessthan 'b'",
]
# Those that give generators are made lists at once: jinja2 runs them only when they are looked at.
FILTERS = [
    "capitalize", "count", "default('D')", "d('D', true)", "dictsort", "dictsort(true)", "dictsort(by='value')",
    "dictsort(false, 'key', true)", "escape", "e", "first", "last", "int", "int(9)", "indent", "indent(2, true)",
    "indent('> ', blank=true)", "items|list", "join", "join(', ')", "join('-', attribute='a')", "length", "list", "lower",
    "map('upper')|list", "map(attribute='a')|list", "map(attribute='b.c', default='none')|list", "map('default', 0)|list",
    "max", "min", "reject('eq', 1)|list", "reject|list", "rejectattr('a', 'equalto', 1)|list", "replace('a', 'b')",
    "replace('l', 'LL', 1)", "replace('', '-')", "reverse|list", "safe", "select|list", "select('string')|list",
    "select('gt', 1)|list", "selectattr('a')|list", "selectattr('a', 'gt', 1)|list", "selectattr('b.c', 'defined')|list",
    "sort", "sort(reverse=true)", "sort(attribute='a')", "sort(case_sensitive=true)", "string", "title", "tojson",
    "tojson(indent=2)", "tojson(separators=(',', ':'))", "tojson(sort_keys=true)", "tojson(ensure_ascii=true)",
    "tojson(indent='\\t')", "trim", "trim('H ')", "unique|list", "upper", "format(1)", "format('a', 2)", "from_json",
]
METHODS = [
    "split()", "split(',')", "split(',', 1)", "split(none, 1)", "strip()", "lstrip()", "rstrip()", "strip('H \\n')", "upper()",
    "lower()", "title()", "capitalize()", "startswith('H')", "endswith(('d', ' '))", "replace('l', 'L')",
    "replace('l', 'L', 1)", "find('l')", "rfind('l')", "join(['x', 'y'])", "join(m)", "items()|list", "keys()|list",
    "values()|list", "get('a')", "get('nope', 5)", "get('nope')", "nosuch()", "a", "b", "nosuch", "0",
]
FORMATS = ["'%s' % {}", "'%d' % {}", "'%s %s' % ({}, 1)", "'%%' % {}"]


class RandomTemplates:
    def __init__(self, rng):
        self.rng = rng

    def pick(self, items):
        return self.rng.choice(items)

    def expression(self, depth=3):
        if depth == 0 or self.rng.random() < 0.12:
            return self.pick([self.pick(NAMES), self.pick(NAMES), self.pick(NAMES), self.pick(STRINGS), self.pick(NUMBERS),
                              self.pick(["true", "false", "none", "[]", "{}", "()"])])
        inner = lambda: self.expression(depth - 1)  # noqa: E731
        kind = self.rng.randrange(18)
        if kind <= 3:
            return f"{inner()}|{self.pick(FILTERS)}"
        if kind <= 6:
            return f"{self.pick(NAMES) if self.rng.random() < 0.6 else '(' + inner() + ')'}.{self.pick(METHODS)}"
        if kind == 7:
            return f"({inner()}) {self.pick(['+', '+', '-', '*', '/', '//', '%', '~', '~'])} ({inner()})"
        if kind == 8:
            return f"({inner()}) {self.pick(['==', '!=', '<', '<=', '>', '>=', 'in', 'not in'])} {inner()}"
        if kind == 9:
            return f"{inner()} {self.pick(['and', 'or'])} {inner()}"
        if kind == 10:
            return f"({inner()}) is {self.pick(['', 'not '])}{self.pick(TESTS)}"
        if kind == 11:
            return f"{inner()} if {inner()}" + (f" else {inner()}" if self.rng.random() < 0.8 else "")
        if kind == 12:
            bound = lambda: self.pick(["", "", "0", "1", "-1", "2", "-2", "5", "100", "-100", "none"])  # noqa: E731
            step = self.pick(["", "", ":", ":-1", ":2", ":-2", ":0"])
            return f"({inner()})[{bound()}:{bound()}{step}]"
        if kind == 13:
            return f"({inner()})[{self.pick(['0', '-1', '1', '9', chr(39) + 'a' + chr(39), 'i', 's', 'none', '1.0', 'true'])}]"
        if kind == 14:
            return self.pick(["[{}, {}]", "({}, {})", "{{'x': {}, 1: {}}}", "{{{}: {}}}"]).format(inner(), inner())
        if kind == 15:
            return self.pick(["not ({})", "-({})", "+({})", "({})", "1 < ({}) < 3", "-{}"]).format(inner())
        if kind == 16:
            return self.pick(FORMATS).format(f"({inner()})" if self.rng.random() < 0.5 else self.pick(NAMES))
        return self.pick(["range({})|list", "range(2, {}, 2)|list", "namespace(a={}).a", "range(1, {})|list"]).format(inner())

    def statement(self, depth=2):
        rng = self.rng
        body = lambda: "".join(self.piece(depth - 1) for _ in range(rng.randrange(1, 4)))  # noqa: E731
        left, right = self.pick(["{%", "{%-", "{%+"]), self.pick(["%}", "-%}", "+%}"])
        name = self.pick(["x", "y", "s", "l", "i"])
        kind = rng.randrange(15)
        if kind <= 1:
            return f"{left} if {self.expression(2)} {right}{body()}{left} else {right}{body()}{left} endif {right}"
        if kind <= 4:
            loop = "{{ loop.%s }}" % self.pick(["index", "index0", "first", "last", "length", "revindex", "previtem", "nextitem",
                                                "revindex0"])
            test = f" if {self.expression(1)}" if rng.random() < 0.3 else ""
            orelse = "{% else %}none" if rng.random() < 0.3 else ""
            control = self.pick(["", "", "{% if loop.index == 2 %}{% break %}{% endif %}", "{% if x == 1 %}{% continue %}{% endif %}",
                                 "{% break %}"])
            source = self.pick(["l", "m", "d", "p", "r", "k", "range(3)", self.expression(2)])
            return f"{left} for x in {source}{test} {right}{control}{loop if rng.random() < 0.7 else ''}{body()}{orelse}{left} endfor {right}"
        if kind == 5:
            return f"{{% for a, y in {self.pick(['d.items()', 'd|dictsort', 'p', 'd|items', self.expression(2)])} %}}{body()}{{% endfor %}}"
        if kind <= 8:
            return f"{left} set {name} = {self.expression(3)} {right}"
        if kind == 9:
            # Names of the variables above are not taken: in the block jinja2 finds neither old nor new value of them.
            return f"{left} set {self.pick(['x', 'y'])} {right}{body()}{left} endset {right}"
        if kind == 10:
            return "{% set ns = namespace(a=1) %}{% set ns.a = " + self.expression(2) + " %}{{ ns.a }}"
        if kind == 11:  # no macro has the name of a variable: jinja2 would find neither before it is defined
            call = self.pick(["F(1)", "F()", "F(1, 2)", "F(b=s)", "F(1, c=2)", "F(*l)", "F(1, *l)", "F(1, 2, 3, 4)"])
            signature = self.pick(["a, b=2", "a", "a=s, b=a", ""])
            extra = self.pick(["", "", "{{ caller() if caller else '-' }}"])
            return f"{{% macro F({signature}) %}}[{{{{ a }}}}|{{{{ b }}}}{extra}{body()}]{{% endmacro %}}{{{{ {call} }}}}"
        if kind == 12:
            return ("{% macro G(a) %}<{{ caller(a) }}>{% endmacro %}{% call(y) G(" + self.expression(1) + ") %}{{ y }}" + body()
                    + "{% endcall %}")
        if kind == 13:
            return f"{left} filter {self.pick(['upper', 'trim', 'replace(' + chr(39) + 'a' + chr(39) + ', s)|upper', 'indent'])} {right}{body()}{left} endfilter {right}"
        return self.pick(["{% generation %}" + body() + "{% endgeneration %}", "{# a comment #}", "{#- c -#}\n", "{% raw %}{{ x }}{% endraw %}",
                          "{%- raw -%} a {%- endraw -%} "])

    def piece(self, depth):
        choice = self.rng.random()
        if choice < 0.35:
            return self.pick(["{{ %s }}", "{{- %s }}", "{{ %s -}}", "{{ (%s)|tojson }}"]) % self.expression()
        if choice < 0.6 or depth <= 0:
            return self.pick(["text", " ", "\n", "  \n", "\n  ", "é", "a\r\nb", "\n\n", " - "])
        return self.statement(depth)

    def template(self):
        if self.rng.random() < 0.5:
            return "{{ " + self.expression(self.rng.choice([2, 3, 4])) + " }}"
        return "".join(self.piece(2) for _ in range(self.rng.randrange(1, 6)))
