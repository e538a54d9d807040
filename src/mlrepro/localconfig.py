"""What this clone keeps to itself of the store: ``.dvc/config.local``, and why it says so."""

from __future__ import annotations

import os

from mlrepro import dvcconfig, writing
from mlrepro.dataclass import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrepro.project import Project


def set_local(
    project: Project, name: str, values: Mapping[str, str | None], *, is_found: bool = False
) -> None:
    """Write settings of a remote into ``.dvc/config.local``, which git never sees (mode 0600).

    What is None is taken out. ``is_found``: they were found out, and can be again after a power
    cut, so that a file with nothing else in it is not flushed.
    """
    path = os.path.join(project.dvc_dir, "config.local")
    before = dvcconfig.text_of("local", path, ".dvc/config.local")
    after = dvcconfig.set_values(before, dvcconfig.remote_section(name), values)
    if after != before:
        lasting = bool(before) or not is_found
        writing.write_atomic(path, after.encode(), mode=0o600, durable=lasting)


def note(project: Project, tracked: str, place: str) -> None:
    """Keep in mind for which tracked url this clone's own was noted."""
    if noted(project) == (tracked, place):
        return
    os.makedirs(project.state_dir, exist_ok=True)
    text = f"{tracked}\n{place}\n".encode("utf-8", "surrogateescape")
    writing.write_atomic(os.path.join(project.state_dir, "place"), text, durable=False)


def noted(project: Project) -> tuple[str, str]:
    """The tracked url and the place that were noted last; empty where none were."""
    try:
        path = os.path.join(project.state_dir, "place")
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            tracked, _, place = file.read(65536).partition("\n")
    except OSError:
        return "", ""
    return tracked, place.removesuffix("\n")
