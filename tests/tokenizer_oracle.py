#!/usr/bin/env python3
"""Compares Ingot's tokenizers with the Python packages `tokenizers` and `sentencepiece`.

Small vocabularies of every family are trained here, then random and nasty strings are encoded and decoded by both; ids
and texts must be identical.

  tokenizer_oracle.py BINARY [--strings N] [--long N] [--seed S] [--all-code-points] [--only NAME] [--file TOKENIZER_JSON …]

BINARY is build/release/bin/tokenizer_oracle. N strings go through every vocabulary. With --file, tokenizers of your own
are compared too.
"""
import argparse
import base64
import glob
import json
import os
import random
import subprocess
import sys
import tempfile
import time

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
QWEN35 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTIONS}?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = O200K.replace(CONTRACTIONS + "?", "").replace("{1,3}", "")
KIMI = r"[\p{Han}]+|" + O200K.replace(r"\p{M}]", r"\p{M}&&[^\p{Han}]]").replace(r"[\r\n/]", r"[\r\n]")
DEEPSEEK3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
).replace('\\"', '"')
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
BEHAVIORS = ["isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"]

SAMPLES = """The quick brown fox jumps over the lazy dog. It's 2024; they'll've gone, WE'RE sure! Iſ it 'ſo?
Être ou ne pas être, voilà la question. Größe, Straße, ÇA VA, naïve façade. ǅ ǈ ŉ İstanbul ıI
我们在北京学习人工智能。你好，世界！今天天气很好，我们去公园散步吧。深度学习模型的量化。
東京は日本の首都です。カタカナとひらがな。おはようございます。ﾊﾝｶｸ ㍿ ﬁ ﬂ
안녕하세요 세계. 한국어 토크나이저 테스트입니다. 각
Привет, мир! Съешь же ещё этих мягких французских булок. Ёлка
مرحبا بالعالم، كيف حالك اليوم؟ ١٢٣٤ שלום עולם
नमस्ते दुनिया। हिन्दी में १२३ क्षत्रिय  ภาษาไทยไม่มีช่องว่าง
for (int i = 0; i < n; ++i) {\n\t\tsum += a[i] * b[i];  // dot\n    return x ? y : z;\n}\r\n
https://example.com/a/b?c=d&e=f#g  user@mail.org  1,234,567.89 $100 50% ½ ² ³ ⅷ Ⅻ ①
😀😁👩‍👩‍👧‍👦🏳️‍🌈🇩🇪 é é ệ ṩ A̴͓͝ a\u0301\u0323b\u0323\u0301 \u200b\u200d\ufeff\u00ad
"""


def corpus():
    lines = SAMPLES.split("\n") * 20
    for path in sorted(glob.glob(os.path.join(os.path.dirname(os.__file__), "[a-d]*.py")))[:12]:
        with open(path, encoding="utf-8", errors="ignore") as file:
            lines += file.read().split("\n")[:300]
    return [line for line in lines if line]


NASTY = [
    "", " ", "  ", "\n", "\r\n", "\t", "\x00", "a\x00b", "\u00a0", "\u2028", "\u3000", " \u3000 ", "\ufeff", "\ufffd", "▁", "▁▁a",
    "a▁b", " ▁ ", "Ġ", "Ċ", "'s", "'S", "'ſ", "'ſx", "don't", "'ll'LL'lL", "''ll", "<|", "<|im_", "<|im_start|", "<|im_start|>",
    "<|im_start|>user\nhi<|im_end|>\n", "x<|im_end|>y", "<s>", "</s>", "<s></s>a", " <s> ", "<unk>", "<0x41>", "<0xE4>", "<pad>",
    "a  <mask>  b", "<mask><mask>", "word", "sword words", "word,word", "İ", "ß", "ﬁ", "ſ", "\u212a", "Ⅷ", "a\u0300\u0316", "가", "각",
    "\U0010ffff", "\ud7ff\ue000", "\U000e0001\U000e0020", "1", "12", "123", "1234", "12345", "1.5e-3", "0x1F", "a1b2", "٣٤٥", "½",
    "  2", "a  b", "\n\n\n", " \n \n ", "\t\t a", "a\n ", "a \n", "a   ", "   a", "!\n\n!", "?!\r\n\r\n", "///\n//", "//a//\n/",
    "AbcDEFghi", "HTTPServer", "iPhone's", "ABC'S", "aB'LLc", "日本語ABCabc", "日本AB", "ʰʰA", "\u0301a", "\u0301\u0301", "A\u0301b",
    "\u1e9e", "ǅaǅ", "$a", "$A1", "#Tag", "@user_name", "!abc", "«abc»", "…", "。。", "\U0001f600a", "a\U0001f600", "\x85", "\x1c", "\x7f",
    "\u180e", "\u200b", "\u2060", "\U00011de0\U00016ff4", "\u0378", "\u0888", "\U000323b0", "[INST] x [/INST]", "[UNK]", "[CLS]",
]
PIECES = [
    "the", " the", "The", "ing", "'s", "'LL", "'re", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "1", "12", "2024", ".", ",", "...",
    "!", "(", ")", "/", "//", "_", "-", "<", ">", "|", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<|", "|>", "▁", "▁▁", "Ġ",
    "é", "e\u0301", "\u0301", "\u0323", "日本", "中文字", "。", "한국", "각", "각", "Привет", "مر", "नम", "ไทย", "😀", "👩‍👧", "🇩🇪", "\u00a0",
    "\u3000", "\u200b", "\u200d", "½", "²", "٣", "Ⅷ", "ǅ", "ſ", "İ", "ﬁ", "A", "AB", "aB", "x", "foo", "Bar", "word", "<mask>",
]


def random_character(rng):
    kind = rng.randrange(10)
    if kind < 3:
        return chr(rng.randrange(0x20, 0x7F))
    if kind == 3:
        return chr(rng.randrange(0, 0x300))
    if kind == 4:
        return chr(rng.randrange(0x300, 0x3000))
    if kind == 5:
        return chr(rng.randrange(0x3000, 0xA000))
    if kind == 6:
        return chr(rng.choice([0x20, 0xA, 0xD, 0x9, 0xA0, 0x2003, 0x3000]))
    while True:
        c = rng.randrange(0x110000) if kind == 7 else rng.randrange(0x20000)
        if not 0xD800 <= c <= 0xDFFF:
            return chr(c)


def random_string(rng, lines):
    kind = rng.randrange(8)
    if kind < 3:
        return "".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 16)))
    if kind == 3:
        return "".join(random_character(rng) for _ in range(rng.randrange(1, 24)))
    if kind == 4:
        return "".join(rng.choice(PIECES) if rng.randrange(2) else random_character(rng) for _ in range(rng.randrange(1, 20)))
    if kind == 5:
        line = rng.choice(lines)
        begin = rng.randrange(len(line))
        return line[begin : begin + rng.randrange(1, 60)]
    if kind == 6:
        return rng.choice(PIECES) * rng.randrange(1, 40) + rng.choice(PIECES)
    words = rng.choice(lines).split(" ")
    rng.shuffle(words)
    return rng.choice([" ", "  ", "\n", "\t ", ""]).join(words[:12])


def long_strings():
    n = 100_000
    return ["a" * n, " " * n, "1" * n, "\n" * n, "é" * (n // 2), "日" * (n // 3), "a b " * (n // 4), "A" * n, "!" * n, "\U0001f600" * (n // 4),
            "a" + "\u0301\u0323" * (n // 4), "<|im_start|" * (n // 11), "'" * n, "ab" * (n // 2), " \n" * (n // 2)]  # fmt: skip


def code_point_strings():
    """Every code point alone, after a letter, before one, after a space and before a digit."""
    scalars = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
    for begin in range(0, len(scalars), 64):
        yield "".join(f"a{chr(c)}Z {chr(c)}1{chr(c)}\n" for c in scalars[begin : begin + 64])


def some_long_strings(first, count):
    strings = long_strings()
    return [strings[(first * count + i) % len(strings)] for i in range(min(count, len(strings)))]


# ---- vocabularies --------------------------------------------------------------------------------------------------


def byte_level(stages, lines, normalizer=None, prefix_space=False, use_regex=False, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    last = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=use_regex)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(stages + [last]) if stages else last
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=1200, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
                                  special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"])  # fmt: skip
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def metaspace_json(lines, byte_fallback, fuse_unk):
    """A BPE vocabulary over characters with ▁ for the space, as JSON to be varied."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=1500, limit_alphabet=150, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    data = json.loads(tokenizer.to_str())
    if byte_fallback:
        n = len(data["model"]["vocab"])
        data["model"]["vocab"].update({f"<0x{b:02X}>": n + b for b in range(256)})
        data["model"]["byte_fallback"] = True
    data["model"]["fuse_unk"] = fuse_unk
    data["pre_tokenizer"] = None
    return data


LLAMA_DECODER = {"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}  # fmt: skip
LLAMA_NORMALIZER = {"type": "Sequence", "normalizers": [
    {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}  # fmt: skip
SPACE_TO_META = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}


def of_json(data, **changes):
    data = json.loads(json.dumps(data))
    data.update(changes)
    return Tokenizer.from_str(json.dumps(data))


def template_bos(tokenizer, bos, eos=None):
    special = [(t, tokenizer.token_to_id(t)) for t in (bos, eos) if t]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos} $A" + (f" {eos}" if eos else ""), special_tokens=special)


def unigram(lines, charsmap=None):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=600, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def bpe_vocabularies(lines):
    byte_stage = {
        "llama3": [split(LLAMA3)], "qwen35": [split(QWEN35)], "o200k": [split(O200K)], "tekken": [split(TEKKEN)],
        "kimi": [split(KIMI)], "cl100k": [split(CL100K)], "bloom": [split(BLOOM)],
        "deepseek3": [split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK3)],
        "deepseek-coder": [split(r"[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split("[一-龥ࠀ-一가-퟿]+"), pre_tokenizers.Digits(True)],
        "gemma-like": [pre_tokenizers.Split(" ", "merged_with_previous")],
        "words": [split(r"\b\w+\b"), split(r"(?i)[a-f]+|(?i:É)"), split(r"\h{2}|\d{2}?|[^\w\s]+?|^\s|\.$")],
    }  # fmt: skip
    for name, stages in byte_stage.items():
        tokenizer = byte_level(stages, lines)
        if name == "llama3":
            data = json.loads(tokenizer.to_str())
            data["model"]["ignore_merges"] = True
            data["model"]["merges"] = data["model"]["merges"][: len(data["model"]["merges"]) // 2 * 2 : 1]
            tokenizer = Tokenizer.from_str(json.dumps(data))
            template_bos(tokenizer, "<|endoftext|>")
        yield name, tokenizer
    yield "gpt2", byte_level([], lines, use_regex=True)
    yield "gpt2-prefix", byte_level([], lines, use_regex=True, prefix_space=True)
    yield "qwen2", byte_level([split(QWEN2)], lines, normalizers.NFC())
    yield "smollm", byte_level([pre_tokenizers.Digits(True)], lines, use_regex=True)
    yield "digit-runs", byte_level([pre_tokenizers.Digits(False), pre_tokenizers.Punctuation("contiguous")], lines, use_regex=True)
    for i, behavior in enumerate(BEHAVIORS):
        stages = [split(r"\s+|[aeiou]", behavior, False), pre_tokenizers.Split("er", BEHAVIORS[i - 1], True), pre_tokenizers.Punctuation(behavior)]
        yield f"behavior-{behavior}", byte_level(stages, lines)
    yield "whitespace", byte_level([pre_tokenizers.Whitespace()], lines, normalizers.Lowercase())
    forms = [normalizers.NFD(), normalizers.Strip(), normalizers.Replace(Regex(r"\s{2,}"), " "), normalizers.Replace("x", "")]
    yield "normalizers", byte_level([pre_tokenizers.WhitespaceSplit()], lines, normalizers.Sequence(forms))
    yield "nfkd", byte_level([], lines, normalizers.Sequence([normalizers.NFKD(), normalizers.Prepend("_")]), use_regex=True)

    tokenizer = byte_level([split(LLAMA3)], lines)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True), AddedToken("<s>", rstrip=True), AddedToken("<|im", special=True)])
    tokenizer.add_tokens([AddedToken("word", single_word=True), AddedToken("foo", normalized=False), "  ", "日本", AddedToken("▁▁", lstrip=True)])
    yield "added", tokenizer
    tokenizer = byte_level([split(LLAMA3)], lines, normalizers.Sequence([normalizers.Lowercase(), normalizers.NFKC()]))
    tokenizer.add_tokens([AddedToken("FOO", normalized=True), AddedToken("Bar", normalized=False), AddedToken("½", normalized=True)])
    yield "added-normalized", tokenizer


def metaspace_vocabularies(lines):
    fallback, unknown, fused = (metaspace_json(lines, *flags) for flags in ((True, True), (False, False), (False, True)))
    meta = lambda scheme, cut: {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cut}
    tokenizer = of_json(fallback, normalizer=LLAMA_NORMALIZER, decoder=LLAMA_DECODER)
    template_bos(tokenizer, "<s>", "</s>")
    yield "llama2", tokenizer
    yield "llama2-normalized", of_json(fallback, normalizer=LLAMA_NORMALIZER, decoder=LLAMA_DECODER,
        added_tokens=[dict(t, normalized=True) for t in fallback["added_tokens"]])  # fmt: skip
    tokenizer = of_json(fallback, normalizer=LLAMA_NORMALIZER, decoder=LLAMA_DECODER)
    tokenizer.add_tokens([AddedToken("the", normalized=True), AddedToken("and", normalized=True, lstrip=True, rstrip=True)])
    yield "llama2-added", tokenizer
    yield "gemma", of_json(fallback, normalizer=SPACE_TO_META, decoder={"type": "Sequence", "decoders": LLAMA_DECODER["decoders"][:3]},
        pre_tokenizer={"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False})  # fmt: skip
    for scheme in ("first", "always", "never"):
        yield f"metaspace-{scheme}", of_json(fallback, pre_tokenizer=meta(scheme, scheme != "first"), decoder=LLAMA_DECODER)
    yield "unknown", of_json(unknown, pre_tokenizer=meta("always", True), decoder=meta("always", True))
    yield "fused-unknown", of_json(fused, pre_tokenizer=meta("first", False), decoder=meta("never", True))
    yield "no-decoder", of_json(fused, normalizer=LLAMA_NORMALIZER)


def unigram_vocabularies(lines, folder):
    tokenizer = unigram(lines)
    yield "unigram", tokenizer
    data = json.loads(tokenizer.to_str())
    data["model"]["vocab"] += [[f"<0x{b:02X}>", 0.0] for b in range(256)]
    data["model"]["byte_fallback"] = True
    data["normalizer"], data["decoder"] = LLAMA_NORMALIZER, LLAMA_DECODER
    data["pre_tokenizer"] = None
    yield "unigram-bytes", Tokenizer.from_str(json.dumps(data))
    model = sentencepiece_model(folder, lines, "charsmap", model_type="unigram", vocab_size=500)
    from_proto = charsmap_of(model)
    data = json.loads(tokenizer.to_str())
    data["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(from_proto).decode()}
    yield "precompiled", Tokenizer.from_str(json.dumps(data))


def charsmap_of(path):
    """normalizer_spec.precompiled_charsmap, found by hand in the protobuf message."""
    data, at = open(path, "rb").read(), 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def fields(end):
        nonlocal at
        while at < end:
            key = varint()
            if key & 7 == 2:
                size = varint()
                yield key >> 3, at, at + size
                at += size
            elif key & 7 == 0:
                varint()
            else:
                at += 4 if key & 7 == 5 else 8

    for number, begin, end in list(fields(len(data))):
        if number == 3:
            at = begin
            for inner, first, last in list(fields(end)):
                if inner == 2:
                    return data[first:last]
    raise ValueError("no charsmap")


def sentencepiece_model(folder, lines, name, **options):
    prefix = os.path.join(folder, name)
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_prefix=prefix, minloglevel=2, num_threads=1,
        hard_vocab_limit=False, **options)  # fmt: skip
    return prefix + ".model"


def sentencepiece_models(lines, folder):
    variants = {
        "sp-bpe": dict(model_type="bpe", vocab_size=1200, byte_fallback=True, character_coverage=0.98),
        "sp-bpe-llama": dict(model_type="bpe", vocab_size=1200, byte_fallback=True, character_coverage=0.98, normalization_rule_name="identity",
            remove_extra_whitespaces=False, split_digits=True, allow_whitespace_only_pieces=True),
        "sp-bpe-user": dict(model_type="bpe", vocab_size=900, user_defined_symbols=["word", "<eoa>", "  ", "日本", "ab"], character_coverage=0.98),
        "sp-bpe-noprefix": dict(model_type="bpe", vocab_size=900, byte_fallback=True, add_dummy_prefix=False, normalization_rule_name="nfkc_cf"),
        "sp-unigram": dict(model_type="unigram", vocab_size=800, character_coverage=0.98),
        "sp-unigram-bytes": dict(model_type="unigram", vocab_size=900, byte_fallback=True, character_coverage=0.98,
            normalization_rule_name="identity", remove_extra_whitespaces=False),
        "sp-unigram-user": dict(model_type="unigram", vocab_size=800, user_defined_symbols=["word", "the", "日本語", "▁▁"], treat_whitespace_as_suffix=True),
    }  # fmt: skip
    for name, options in variants.items():
        yield name, sentencepiece_model(folder, lines, name, **options)


# ---- comparison ----------------------------------------------------------------------------------------------------


class Ours:
    def __init__(self, binary):
        self.process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")

    def ask(self, **question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def report(name, text, what, expected, got):
    shown = text if len(text) < 200 else text[:60] + f"… ({len(text)} characters)"
    print(f"{name}: {what} differ for {shown!r}\n  expected {str(expected)[:400]}\n  got      {str(got)[:400]}")


def compare_hf(ours, name, tokenizer, strings, failures):
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        file.write(tokenizer.to_str())
        file.flush()
        answer = ours.ask(load={"tokenizer_json": file.name})
    if "error" in answer:
        print(f"{name}: {answer['error']}")
        failures.append(name)
        return
    for i, text in enumerate(strings):
        special = i % 4 != 0
        expected = tokenizer.encode(text, add_special_tokens=special).ids
        answer = ours.ask(text=text, special=special)
        # A text that begins with BOS gets none from us.
        if expected != answer["ids"] and special and len(expected) > 1 and expected[0] == expected[1] and expected[1:] == answer["ids"]:
            expected = expected[1:]
        decoded = tokenizer.decode(expected, skip_special_tokens=True)
        if expected != answer["ids"] and name in ("unigram", "precompiled") and "ſ" in text:
            continue  # NFKC makes "<s>" of "<ſ>": a special token to `tokenizers`, text to us
        if expected != answer["ids"]:
            report(name, text, "ids", expected, answer["ids"])
        elif "normalized" in name:
            continue  # `tokenizers` decodes such added tokens to their normalized form and no longer knows them as special
        elif decoded != answer["text"] or decoded != answer["pieces"]:
            report(name, text, "texts", decoded, (answer["text"], answer["pieces"]))
        else:
            continue
        failures.append(name)
        if failures.count(name) >= 5:
            return


def compare_sentencepiece(ours, name, path, strings, failures):
    processor = sentencepiece.SentencePieceProcessor(model_file=path)
    answer = ours.ask(load={"sentencepiece_model": path})
    if "error" in answer:
        print(f"{name}: {answer['error']}")
        failures.append(name)
        return
    special = {i for i in range(processor.vocab_size()) if processor.is_control(i) or processor.is_unknown(i)}
    for text in strings:
        expected = processor.encode(text)
        # Untrusted: control symbols are text to SentencePiece.
        answer = ours.ask(text=text, special=False, trusted=False)
        decoded = processor.decode(expected)
        if expected != answer["ids"]:
            if "<eoa>" in text:  # a turn's marker: text to us, a symbol to SentencePiece
                continue
            report(name, text, "ids", expected, answer["ids"])
        elif not special & set(expected) and not (decoded == answer["text"] == answer["pieces"]):
            report(name, text, "texts", decoded, (answer["text"], answer["pieces"]))
        else:
            continue
        failures.append(name)
        if failures.count(name) >= 5:
            return


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--strings", type=int, default=150, help="random strings per vocabulary")
    parser.add_argument("--long", type=int, default=3, help="strings of 100 kB per vocabulary, at most 15")
    parser.add_argument("--all-code-points", action="store_true", help="also strings of all code points, in all contexts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="vocabularies whose name contains this")
    parser.add_argument("--file", nargs="*", default=[], help="more tokenizer.json files")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    lines = corpus()
    ours = Ours(options.binary)
    failures, total, began = [], 0, time.time()
    with tempfile.TemporaryDirectory() as folder:
        hf = [(os.path.basename(os.path.dirname(os.path.abspath(f))), Tokenizer.from_file(f)) for f in options.file]
        hf += list(bpe_vocabularies(lines)) + list(metaspace_vocabularies(lines)) + list(unigram_vocabularies(lines, folder))
        for i, (name, tokenizer) in enumerate(hf):
            if options.only not in name:
                continue
            strings = NASTY + some_long_strings(i, options.long) + [random_string(rng, lines) for _ in range(options.strings)]
            if options.all_code_points:
                strings += code_point_strings()
            total += len(strings)
            compare_hf(ours, name, tokenizer, strings, failures)
        for i, (name, path) in enumerate(sentencepiece_models(lines, folder)):
            if options.only not in name:
                continue
            strings = NASTY + some_long_strings(i, options.long) + [random_string(rng, lines) for _ in range(options.strings)]
            total += len(strings)
            compare_sentencepiece(ours, name, path, strings, failures)
    print(f"{total} strings, {len(failures)} differences, {time.time() - began:.1f} s")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
