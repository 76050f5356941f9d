"""The figures of run.py as Markdown."""

import statistics
from dataclasses import dataclass

OWN = "Ingot"


@dataclass
class Cell:
    """One line of the table."""

    workload: str
    figure: str  # its name in the reports
    label: str  # its unit
    rounds: list[dict[str, float | None]]  # by engine
    failed: dict[str, str]  # by engine: why a round has no figure


def spread(values: list[float], form: str) -> str:
    """Median (smallest–largest)."""
    low, middle, high = (format(v, form) for v in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low}–{high})"


def _figures(cell: dict, engine: str) -> str:
    values = [r[engine] for r in cell["rounds"] if r.get(engine) is not None]
    if not values:
        return "failed" if engine in cell["failed"] else "–"
    return spread(values, ",.1f" if statistics.median(values) < 100 else ",.0f")


def _ratio(cell: dict, engine: str) -> str:
    pairs = [(r.get(OWN), r.get(engine)) for r in cell["rounds"]]
    values = [own / other for own, other in pairs if own and other]
    return spread(values, ".2f") if values else "–"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"


def model_table(cells: list[dict], engines: list[str]) -> str:
    others = [name for name in engines if name != OWN] if OWN in engines else []
    text = _row(["", *engines, *(f"{OWN} ÷ {name}" for name in others)])
    text += _row(["---"] * (1 + len(engines) + len(others)))
    for cell in cells:
        figures = [_figures(cell, name) for name in engines]
        text += _row([f"{cell['workload']}, {cell['label']}", *figures, *(_ratio(cell, name) for name in others)])
    failed = {(cell["workload"], name): why for cell in cells for name, why in cell["failed"].items()}
    for (workload, name), why in failed.items():
        text += f"\n{name} failed in “{workload}”: {why}\n"
    return text


def markdown(report: dict) -> str:
    machine, places = report["machine"], report["places"]
    cpu = f"{machine['cpu']}, {machine['physical_cores']} cores, {machine['isa']}" if machine.get("cpu") else "?"
    text = (f"Measured {report['date']} by `make peers`: {cpu}; {report['threads']} threads; {report['rounds']} rounds, one engine "
            f"right after the other; load of the machine before: {report['load_before']:.1f}")  # fmt: skip
    text += ", each engine before other processes (`--high-priority`).\n" if report["high_priority"] else ".\n"
    text += "; ".join(f"{name}: {version}, serving {places[name]}" for name, version in report["versions"].items()) + ".\n"
    text += f"Ingot computes with `--compute {report['compute']}`.\n"
    text += "Median (smallest–largest); ratios are of the same round.\n"
    for name, why in report["missing"].items():
        text += f"\n{name} was not measured: {why}\n"
    for model, cells in report["models"].items():
        text += f"\n### {model}\n\n" + model_table(cells, list(report["versions"]))
    return text
