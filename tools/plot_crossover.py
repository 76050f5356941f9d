#!/usr/bin/env python3
"""Draws where decoding turns from memory-bound to compute-bound: plot_crossover.py --out FILE.svg [--isas avx512,amx]

Measures a step's products for batches of 1 to 256 rows with `ingot bench kernels`, once for each instruction set, and draws
tokens per second against the batch, on logarithmic axes, with two limits from the same run: memory (each step reads all
weights once) and multiplication. Prints the figures as JSON, a line an instruction set.
"""

import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
BATCHES = [1, 2, 4, 8, 16, 32, 64, 128, 256]
COLORS = ["#27a", "#b33", "#383", "#875"]
LEFT, RIGHT, TOP, BOTTOM = 70, 690, 20, 440  # of the axes


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ingot", default=str(ROOT / "build/release/bin/ingot"))
    parser.add_argument("--out", required=True, help="the picture")
    parser.add_argument("--isas", default="avx512,amx", help="instruction sets, as INGOT_ISA names them")
    parser.add_argument("--shape", default="1b")
    parser.add_argument("--format", default="q4_0")
    parser.add_argument("--num-iters", default="5")
    return parser.parse_args()


def measure(args: argparse.Namespace, isa: str) -> dict:
    command = [args.ingot, "bench", "kernels", "--ops", "linear", "--json", "--shape", args.shape, "--formats", args.format,
               "--rows", ",".join(map(str, BATCHES)), "--num-iters", args.num_iters]  # fmt: skip
    done = subprocess.run(command, env=dict(os.environ, INGOT_ISA=isa), stdout=subprocess.PIPE, text=True, check=True)
    ops = json.loads(done.stdout)["ops"]
    rates, memory, multiply, weight_bytes = [], [], [], 0.0
    for batch in BATCHES:
        step = [op for op in ops if op["rows"] == batch]
        products = [op for op in step if op["op"] == "linear"]
        rates.append(batch / sum(op["us"] * op["calls"] for op in step) * 1e6)
        memory += [op["gbyte_per_s"] / op["read_share"] * 1e9 for op in products]
        multiply += [op["gmac_per_s"] / op["multiply_share"] * 1e9 for op in products if "multiply_share" in op]
        macs = sum(op["out_features"] * op["in_features"] * op["calls"] for op in products)
        if batch == 1:
            weight_bytes = sum(op["gbyte_per_s"] * op["us"] * 1e3 * op["calls"] for op in products)
    read = statistics.median(memory)
    figures = {"isa": isa, "batches": BATCHES, "tokens_per_s": rates, "read_limit_gbyte_per_s": read / 1e9,
               "memory_tokens_per_s": [batch * read / weight_bytes for batch in BATCHES]}  # fmt: skip
    if multiply:
        figures["multiply_limit_gmac_per_s"] = statistics.median(multiply) / 1e9
        figures["multiply_tokens_per_s"] = statistics.median(multiply) / macs
        figures["crossover_batch"] = figures["multiply_tokens_per_s"] * weight_bytes / read
    return figures


class Picture:
    def __init__(self, title: str, most: float, least: float) -> None:
        self.low, self.high = math.floor(math.log10(least)), math.ceil(math.log10(most))
        self.parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {RIGHT + 190} {BOTTOM + 60}" '
                      'font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%" fill="white"/>']  # fmt: skip
        self.line([(LEFT, TOP), (LEFT, BOTTOM), (RIGHT, BOTTOM)], "#444")
        for batch in BATCHES:
            self.text(self.x(batch), BOTTOM + 18, str(batch), "middle")
        for power in range(self.low, self.high + 1):
            self.text(LEFT - 8, self.y(10**power) + 4, f"{10**power:,}", "end")
            self.line([(LEFT, self.y(10**power)), (RIGHT, self.y(10**power))], "#ddd")
        self.text((LEFT + RIGHT) / 2, BOTTOM + 46, title, "middle")

    def x(self, batch: float) -> float:
        return LEFT + (RIGHT - LEFT) * math.log2(batch) / math.log2(BATCHES[-1])

    def y(self, rate: float) -> float:
        share = (math.log10(max(rate, 10**self.low)) - self.low) / (self.high - self.low)
        return BOTTOM - (BOTTOM - TOP) * share

    def text(self, x: float, y: float, text: str, anchor: str, color: str = "#222") -> None:
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}">{text}</text>')

    def line(self, points: list, color: str, dash: str = "") -> None:
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self.parts.append(f'<path d="M{path}" fill="none" stroke="{color}" stroke-dasharray="{dash}"/>')

    def curve(self, rates: list, color: str, dash: str = "") -> None:
        self.line([(self.x(batch), self.y(rate)) for batch, rate in zip(BATCHES, rates)], color, dash)

    def dots(self, rates: list, color: str) -> None:
        for batch, rate in zip(BATCHES, rates):
            self.parts.append(f'<circle cx="{self.x(batch):.1f}" cy="{self.y(rate):.1f}" r="3.5" fill="{color}"/>')

    def save(self, path: str) -> None:
        pathlib.Path(path).write_text("\n".join(self.parts) + "\n</svg>\n")


def main() -> None:
    args = parse_arguments()
    measured = [measure(args, isa) for isa in args.isas.split(",")]
    rates = [rate for figures in measured for rate in figures["tokens_per_s"] + figures["memory_tokens_per_s"]]
    picture = Picture(f"rows of a step (shape {args.shape}, {args.format}); vertical: tokens per second", max(rates), min(rates))
    for index, figures in enumerate(measured):
        print(json.dumps(figures))
        color, label = COLORS[index % len(COLORS)], TOP + 16 + 60 * index
        picture.curve(figures["memory_tokens_per_s"], color, "2 4")
        if "multiply_tokens_per_s" in figures:
            picture.curve([figures["multiply_tokens_per_s"]] * len(BATCHES), color, "8 4")
        picture.curve(figures["tokens_per_s"], color)
        picture.dots(figures["tokens_per_s"], color)
        picture.text(RIGHT + 12, label, f"{figures['isa']}: measured", "start", color)
        picture.text(RIGHT + 12, label + 16, "dotted: memory", "start", color)
        picture.text(RIGHT + 12, label + 32, "dashed: multiplication", "start", color)
    picture.save(args.out)


if __name__ == "__main__":
    main()
