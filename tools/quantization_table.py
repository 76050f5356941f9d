#!/usr/bin/env python3
"""Quantizes a model by every scheme and says what each costs: quantization_table.py MODEL --calib-text FILE --eval-text FILE

Writes results.json (an interrupted run resumes from it), table.md and quantization.svg to --work-dir. Perplexity, KL
divergence and agreement are those of the report of `ingot lite`, against the original in exact arithmetic, and for the KV
cache those of `ingot eval diff`; speeds are medians of `ingot bench latency`. Schemes of the cache differ in size by what
PICTURE_TOKENS tokens take in it, so the picture counts them for all.
"""

import argparse
import json
import math
import pathlib
import subprocess

# name → command and flags of `ingot lite`; None: the original
SCHEMES = {
    "fp16": None,
    "RTN 4-bit asymmetric g64": ["auto_awq", "--w-group-size", "64", "--calib-samples", "0"],
    "AWQ 4-bit asymmetric g64": ["auto_awq", "--w-group-size", "64"],
    "GPTQ 4-bit asymmetric g64": ["auto_gptq", "--w-group-size", "64"],
    "GPTQ act-order 4-bit asymmetric g64": ["auto_gptq", "--w-group-size", "64", "--desc-act"],
    "AWQ + GPTQ 4-bit asymmetric g64": ["auto_awq", "--w-group-size", "64", "--gptq"],
    "RTN 4-bit symmetric g32": ["auto_awq", "--w-group-size", "32", "--w-sym", "--calib-samples", "0"],
    "AWQ 4-bit symmetric g32": ["auto_awq", "--w-group-size", "32", "--w-sym"],
    "GPTQ 4-bit symmetric g32": ["auto_gptq", "--w-group-size", "32", "--w-sym"],
    "AWQ + GPTQ 4-bit symmetric g32": ["auto_awq", "--w-group-size", "32", "--w-sym", "--gptq"],
    "W8A8 without smoothing": ["smooth_quant", "--calib-samples", "0"],
    "W8A8 SmoothQuant": ["smooth_quant"],
}
KV = {"fp16, KV int8": "8", "fp16, KV int4": "4"}
PICTURE_TOKENS = 2048


def run(*command: str) -> str:
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


class Table:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.work = pathlib.Path(arguments.work_dir)
        self.work.mkdir(parents=True, exist_ok=True)
        self.results_file = self.work / "results.json"
        self.results = json.loads(self.results_file.read_text()) if self.results_file.exists() else {}
        settings = {name: value for name, value in vars(arguments).items() if name not in ("ingot", "work_dir")}
        settings["version"] = run(arguments.ingot, "--version").strip()
        if self.results.setdefault("settings", settings) != settings:
            raise SystemExit(f"{self.results_file} is of other settings: remove it, or name another --work-dir")
        self.original = self.work / "fp16"
        if not self.original.exists():
            run(arguments.ingot, "convert", arguments.model, "--to", "hf", "-o", str(self.original))

    def speed(self, model: pathlib.Path, *flags: str) -> dict:
        output = json.loads(run(self.arguments.ingot, "bench", "latency", str(model), "--batch-size", "1", "--input-len", "256",
                              "--output-len", "32", "--num-iters", "3", "--json", *flags))  # fmt: skip
        row = output["runs"][0]
        return {"prefill": row["median_prefill_throughput"], "decode": row["median_decode_throughput"]}

    def quantize(self, flags: list[str], output: pathlib.Path) -> dict:
        a = self.arguments
        calibration = [] if "--calib-samples" in flags else ["--calib-samples", a.calib_samples]
        text = [] if "--calib-samples" in flags else ["--calib-text", a.calib_text]
        return json.loads(run(a.ingot, "lite", flags[0], str(self.original), "--work-dir", str(output), *flags[1:],
                              *calibration, *text, "--eval-text", a.eval_text, "--eval-windows", a.eval_windows,
                              "--json"))  # fmt: skip

    def with_quantized_kv(self, policy: str) -> dict:
        a = self.arguments
        output = json.loads(run(a.ingot, "eval", "diff", str(self.original), str(self.original), "--quant-policy-b", policy,
                              "--compute", "exact", "--file", a.eval_text, "--max-windows", a.eval_windows, "--json"))  # fmt: skip
        return {"kv_bytes_per_token": self.kv_bytes_per_token(policy), "perplexity_after": output["perplexity_b"],
                "mean_kl": output["mean_kl"], "top1_agreement": output["top1_agreement"]}  # fmt: skip

    def kv_bytes_per_token(self, policy: str) -> int:
        output = run(self.arguments.ingot, "plan", str(self.original), "--memory", "1TiB", "--quant-policy", policy, "--json")
        return json.loads(output)["rows"][0]["kv_bytes_per_token"]

    def add(self, name: str, measure) -> None:
        if name in self.results:
            return
        print(name, flush=True)
        self.results[name] = measure()
        self.results_file.write_text(json.dumps(self.results, indent=1))

    def measure(self) -> None:
        for name, flags in SCHEMES.items():
            if flags is None:
                continue
            output = self.work / name.replace(" ", "_")
            self.add(name, lambda flags=flags, output=output: self.quantize(flags, output))
            self.add("speed of " + name, lambda output=output: self.speed(output))
        self.add("speed of fp16", lambda: self.speed(self.original))
        for name, policy in KV.items():
            self.add(name, lambda policy=policy: self.with_quantized_kv(policy))
            self.add("speed of " + name, lambda policy=policy: self.speed(self.original, "--quant-policy", policy))

    def rows(self) -> list[dict]:
        """fp16 first; its figures are those that every report begins with."""
        kv_bytes = self.kv_bytes_per_token("0")
        reports = {name: self.results[name] for name in (*SCHEMES, *KV) if name in self.results}
        first = next(iter(reports.values()))
        rows = [{"name": "fp16", "perplexity": first["perplexity_before"], "bytes": first["source_bytes"],
                 "kv_bytes": kv_bytes}]  # fmt: skip
        for name, report in reports.items():
            rows.append({"name": name, "perplexity": report["perplexity_after"], "kl": report.get("mean_kl"),
                         "top1": report.get("top1_agreement"), "bytes": report.get("output_bytes", first["source_bytes"]),
                         "kv_bytes": report.get("kv_bytes_per_token", kv_bytes), "seconds": report.get("seconds")})  # fmt: skip
        for row in rows:
            row |= self.results.get("speed of " + row["name"], {})
        return rows

    def markdown(self) -> str:
        def cell(row: dict, key: str, form: str, factor: float = 1) -> str:
            return form.format(row[key] * factor) if row.get(key) is not None else "–"

        columns = (("perplexity", "{:.3f}", 1), ("kl", "{:.4f}", 1), ("top1", "{:.1f} %", 100), ("bytes", "{:.1f} MB", 1e-6),
                   ("kv_bytes", "{:.1f} kB", 1e-3), ("prefill", "{:.0f}", 1), ("decode", "{:.0f}", 1), ("seconds", "{:.0f} s", 1))  # fmt: skip
        lines = ["| | perplexity | KL | top-1 | weights | KV of a token | prefill tok/s | decode tok/s | time |", "|---|" + "---:|" * 8]
        for row in self.rows():
            lines.append(f"| {row['name']} | " + " | ".join(cell(row, *column) for column in columns) + " |")
        return "\n".join(lines) + "\n"

    def svg(self) -> str:
        """Perplexity over size; labels that would cover each other are moved apart, with a line to their point."""
        rows = self.rows()
        width, height, left, bottom, top, right = 860, 520, 60, 60, 20, 110
        xs, ys = [(row["bytes"] + PICTURE_TOKENS * row["kv_bytes"]) / 1e6 for row in rows], [row["perplexity"] for row in rows]
        x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))

        def x_of(x: float) -> float:
            return left + (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (width - left - right)

        def y_of(y: float) -> float:
            return height - bottom - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (height - bottom - top)

        parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
                 f'<rect width="{width}" height="{height}" fill="white"/>',
                 f'<path d="M{left} {top}V{height - bottom}H{width - right}" fill="none" stroke="#444"/>',
                 f'<text x="{(width + left - right) / 2}" y="{height - 14}" text-anchor="middle">MB of weights and of a KV cache of '
                 f'{PICTURE_TOKENS:,} tokens</text>',
                 f'<text transform="translate(18 {height / 2}) rotate(-90)" text-anchor="middle">perplexity</text>']  # fmt: skip
        for x in x_ticks:
            parts.append(f'<text x="{x_of(x):.1f}" y="{height - bottom + 18}" text-anchor="middle">{x:g}</text>')
        for y in y_ticks:
            parts.append(f'<text x="{left - 8}" y="{y_of(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
        colors = {"RTN": "#b33", "AWQ": "#27a", "GPT": "#293", "W8A": "#a60", "fp1": "#444"}
        points = sorted(zip(map(y_of, ys), map(x_of, xs), rows), key=lambda point: point[:2])
        taken = [(x - 5, x + 5, y) for y, x, _ in points]  # from, to, height
        for y, x, row in points:
            color = "#719" if "+" in row["name"] else colors[row["name"][:3]]
            begin, end = x + 25, x + 25 + 6.5 * len(row["name"])
            near = [other[2] for other in taken if other[0] < end and begin < other[1]]
            places = (y - 8 + 2 * i * sign for i in range(height) for sign in (1, -1))
            label_y = next(place for place in places if place < height - bottom - 6 and all(abs(place - other) >= 14 for other in near))
            taken.append((begin, end, label_y))
            parts.append(f'<path d="M{x:.1f} {y:.1f}L{x + 22:.1f} {label_y:.1f}" stroke="{color}" stroke-width="0.7"/>')
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>')
            parts.append(f'<text x="{begin:.1f}" y="{label_y + 4:.1f}" fill="{color}">{row["name"]}</text>')
        return "\n".join(parts) + "\n</svg>\n"


def ticks(low: float, high: float) -> list[float]:
    """Round numbers, at least three, that include both."""
    step = 10 ** math.floor(math.log10(max(high - low, 1e-6)))
    step = next(step * factor for factor in (0.2, 0.5, 1, 2) if (high - low) / (step * factor) <= 6)
    first = math.floor(low / step)
    return [step * i for i in range(first, max(math.ceil(high / step), first + 2) + 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--ingot", default="build/release/bin/ingot")
    parser.add_argument("--work-dir", default="build/quantization")
    parser.add_argument("--calib-text", required=True)
    parser.add_argument("--eval-text", required=True)
    parser.add_argument("--calib-samples", default="32")
    parser.add_argument("--eval-windows", default="50")
    table = Table(parser.parse_args())
    table.measure()
    (table.work / "table.md").write_text(table.markdown())
    (table.work / "quantization.svg").write_text(table.svg())
    print(table.markdown())


if __name__ == "__main__":
    main()
