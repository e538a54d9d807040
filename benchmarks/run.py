"""Measures mlrepro against DVC, git-lfs and the least that the bytes cost, side by side."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import compiled
import picture
import report
from curves import Growth
from measuring import Bench
from shapes import KIB, MIB


def main() -> int:
    """Measure, print the tables, and write JSON, pictures and the page."""
    options = _parser().parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results, began = _measured(options), options.out / "bench.json"
    if options.add and began.exists():
        results = _added(json.loads(began.read_text("utf-8")), results)
    print("\n".join(report.table(results)))
    began.write_text(json.dumps(results, indent=1), "utf-8")
    drawn = {
        "performance.svg": picture.ratios([row for row in results["rows"] if _near(row)]),
        "performance-growth.svg": picture.growth(results["curves"]),
    }
    for name, svg in drawn.items():
        (options.out / name).write_text(svg, "utf-8")
    for page in options.write:
        report.write(page, results)
        for name, svg in drawn.items():
            if f"({name})" in page.read_text("utf-8"):
                (page.parent / name).write_text(svg, "utf-8")
    print(f"\nwritten: {', '.join(map(str, [began, *drawn, *options.write]))}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="smaller data, fewer rounds, nothing far away")
    add("--rounds", type=int, default=0, help="interleaved runs of each (5; quick: 2)")
    add("--only", default="", metavar="NAME[,NAME]", help=f"of {', '.join(PARTS)}")
    add("--add", action="store_true", help="keep what the last run has and this one has not")
    add("--out", type=Path, default=Path("build/bench"), help="where results go")
    add(
        "--write",
        type=Path,
        nargs="+",
        default=[],
        metavar="PAGE",
        help="put the tables into these pages too, and beside them the pictures that they show",
    )
    return parser


# What is far away takes as long as all the rest: it is measured when it is asked for.
PARTS: dict[str, Callable[[Bench, Growth], None]] = {
    "commits": lambda bench, _: bench.commits(),
    "shapes": lambda bench, _: bench.shapes(),
    "beside": lambda bench, _: bench.beside(),
    "files": lambda _, growth: growth.files(),
    "pointers": lambda _, growth: growth.pointers(),
    "history": lambda _, growth: growth.history(),
    "memory": lambda _, growth: growth.memory(),
    "remote": lambda bench, _: _remote(bench),
}


def _measured(options: argparse.Namespace) -> report.Results:
    """Run the parts that are asked for."""
    parts = (
        options.only.split(",") if options.only else [name for name in PARTS if name != "remote"]
    )
    unknown = [name for name in parts if name not in PARTS]
    if unknown:
        raise SystemExit(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    lines = compiled.check()
    print("\n".join(lines))
    load = [os.getloadavg()[0]]
    rounds = options.rounds or (2 if options.quick else 5)
    took = {}
    with Bench(rounds, options.quick) as bench:
        growth = Growth(bench)
        for name in parts:
            began = time.monotonic()
            PARTS[name](bench, growth)
            took[name] = time.monotonic() - began
            print(f"{name}: {took[name]:.0f} s", flush=True)
        load.append(os.getloadavg()[0])
        return {
            "about": {**_about(bench), "compiled": lines, "load": load, "parts": took},
            "rows": report.rows(bench.costs, bench.titles),
            "curves": report.points(growth.curves),
        }


def _about(bench: Bench) -> report.Results:
    """On what, with what and how it was measured."""
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "disk": (_said("df", "--output=fstype", str(bench.top)) or "a disk").split("\n")[-1],
        "python": platform.python_version(),
        "git": _said("git", "--version").removeprefix("git version "),
        "dvc": version("dvc"),
        "lfs": _said("git", "lfs", "version").split(" ")[0].removeprefix("git-lfs/") or "not here",
        "rounds": bench.rounds,
        "quick": bench.quick,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _said(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return "" if done.returncode else done.stdout.strip()


def _added(old: report.Results, new: report.Results) -> report.Results:
    """What is new, and what the last run has besides; raises SystemExit where these do not fit."""
    if old["about"]["quick"] != new["about"]["quick"]:
        raise SystemExit("--add: the last run was with other sizes")
    measured = {row["row"] for row in new["rows"]}
    rows = [row for row in old["rows"] if row["row"] not in measured] + new["rows"]
    parts = old["about"]["parts"] | new["about"]["parts"]
    return {
        "about": new["about"] | {"parts": parts},
        "rows": rows,
        "curves": old["curves"] | new["curves"],
    }


def _near(row: report.Results) -> bool:
    return not row["row"].startswith("remote/")


def _remote(bench: Bench) -> None:
    """The same on a store on the network; needs the extras of ``dev``."""
    import remote

    few = 10 if bench.quick else 1
    shapes = [
        (f"a folder of {10_000 // few:,} × 4 KiB", 10_000 // few, 4 * KIB),
        ("1 file of 102 MiB" if bench.quick else "1 file of 1 GiB", 1, 1024 // few * MIB),
    ]
    remote.measure(bench, shapes)


if __name__ == "__main__":
    sys.exit(main())
