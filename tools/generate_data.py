"""Writes a small catalogue of invented machine-learning projects: the same bytes on every Python.

Three tables, as a tagging model would be trained on: data/projects.csv (id, created_on, title,
description), data/tags.csv (id, tag) and data/labeled_projects.csv (both, joined by id).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

PROJECTS = 240

TAGS = {
    "computer-vision": ("image", "video", "camera"),
    "graph-learning": ("graph", "network", "molecule"),
    "mlops": ("pipeline", "model", "experiment"),
    "natural-language-processing": ("text", "dialogue", "document"),
    "reinforcement-learning": ("robot", "game", "market"),
    "time-series": ("sensor", "weather", "demand"),
}
METHODS = (
    "attention", "clustering", "contrastive learning", "diffusion", "distillation",
    "gradient boosting", "message passing", "metric learning", "policy search", "retrieval",
)  # fmt: skip
TASKS = ("classification", "detection", "forecasting", "ranking", "segmentation", "summaries")
PLACES = (
    "a small clinic", "a bakery", "a city library", "a lighthouse", "a railway yard", "an orchard",
    "a choir", "a weather station", "a bicycle workshop", "a night bus line",
)  # fmt: skip
FINDINGS = (
    "It needs a tenth of the labels that the usual way needs.",
    "What the model gets wrong is shown beside what it gets right.",
    'The hardest part was deciding what "correct" means.',
    "A notebook walks through every step, from raw rows to the report.",
    "It runs on a laptop, without a graphics card, in minutes.",
    "Training stops by itself once nothing more is learned.",
)


class Dice:
    """A linear congruential generator: Knuth's MMIX constants, 64 bits, the upper 32 used.

    Python's own ``random`` promises the same sequence between versions only for ``random()``.
    """

    def __init__(self, seed: int) -> None:
        self._state = seed

    def below(self, count: int) -> int:
        """A whole number from 0 to ``count`` - 1."""
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self._state >> 32) * count >> 32

    def one_of(self, choices: tuple[str, ...]) -> str:
        """One of ``choices``, each as likely as the others."""
        return choices[self.below(len(choices))]


def catalogue(count: int) -> Iterator[tuple[str, str, str, str, str]]:
    """The first ``count`` projects: id, created_on, title, description, tag."""
    dice = Dice(seed=20200220)
    moment = datetime(2020, 2, 20, 6, 43, 18)
    number = 5
    for _ in range(count):
        number += 1 + dice.below(4)
        moment += timedelta(seconds=600 + dice.below(170_000))
        tag = dice.one_of(tuple(TAGS))
        subject, method, task = dice.one_of(TAGS[tag]), dice.one_of(METHODS), dice.one_of(TASKS)
        title = f"{subject} {task} with {method}".capitalize()
        about = f"Uses {method} for {subject} {task} in {dice.one_of(PLACES)}"
        description = f"{about}, {2 + dice.below(28)} thousand rows. {dice.one_of(FINDINGS)}"
        yield str(number), f"{moment:%Y-%m-%d %H:%M:%S}", title, description, tag


def write(folder: Path, count: int) -> None:
    """Write the three tables into ``folder``, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = list(catalogue(count))
    tables: dict[str, list[tuple[str, ...]]] = {
        "projects.csv": [("id", "created_on", "title", "description"), *(row[:4] for row in rows)],
        "tags.csv": [("id", "tag"), *((row[0], row[4]) for row in rows)],
        "labeled_projects.csv": [("id", "created_on", "title", "description", "tag"), *rows],
    }
    for name, table in tables.items():
        text = "".join(",".join(map(_field, row)) + "\n" for row in table)
        (folder / name).write_bytes(text.encode())


def _field(text: str) -> str:
    """A field of RFC 4180: in quotes where it holds a comma or a quote."""
    if "," in text or '"' in text:
        return '"' + text.replace('"', '""') + '"'
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, default=Path("data"), metavar="FOLDER")
    parser.add_argument("--projects", type=int, default=PROJECTS, metavar="COUNT")
    given = parser.parse_args()
    write(given.into, given.projects)
