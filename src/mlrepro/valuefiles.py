"""Which files hold values that a person sets or measures: config, params and metrics files."""

from __future__ import annotations

import posixpath
import re

from mlrepro import values
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import MlreproError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from mlrepro.sides import Side

PIPELINE = "dvc.yaml"
MAX_STAGES = 10_000
MAX_PIPELINES = 100

_CONFIG_FOLDER = "config/"
_PARAMS = re.compile(r"params\.(?:yaml|yml|json|toml)")
_METRICS = re.compile(r"metrics\.(?:json|yaml|yml|toml)")


@dataclass(frozen=True, slots=True)
class Files:
    """Which files of a commit or a worktree hold values: paths relative to the root, sorted."""

    config: tuple[str, ...]
    metrics: tuple[str, ...]


def of_side(side: Side, tracked: Iterable[str] = ()) -> Files:
    """The files of a commit or of the workspace that hold values; ``tracked`` are data."""
    pipelines = [name for name in side.files if posixpath.basename(name) == PIPELINE]
    texts = side.texts(pipelines[:MAX_PIPELINES])
    return files_among((*side.files, *tracked), texts)


def files_among(names: Iterable[str], pipelines: Mapping[str, bytes]) -> Files:
    """Tell config and metrics files from all others.

    Config is what lies in ``config/``, ``params.yaml`` at the top, and the params files that the
    pipelines (path of a ``dvc.yaml`` → its text) name; metrics are ``metrics.json`` at the top, and
    the metrics files that they name. A pipeline that cannot be read names none.
    """
    every = set(names)
    config = {
        name
        for name in every
        if (name.startswith(_CONFIG_FOLDER) and name.endswith(values.FORMATS))
        or _PARAMS.fullmatch(name)
    }
    metrics = {name for name in every if _METRICS.fullmatch(name)}
    for path, text in pipelines.items():
        params, measured = _named_in(path, text)
        config.update(params & every)
        metrics.update(measured & every)
    return Files(tuple(sorted(config - metrics)), tuple(sorted(metrics)))


def _named_in(path: str, text: bytes) -> tuple[set[str], set[str]]:
    """The params and the metrics files that a ``dvc.yaml`` names, relative to the root.

    As https://dvc.org/doc/user-guide/project-structure/dvcyaml-files has it. What has ``${`` in it
    depends on other files and is left out.
    """
    try:
        data = values.parsed(PIPELINE, text[: values.MAX_BYTES + 1])
    except MlreproError:
        return set(), set()
    if not isinstance(data, dict):
        return set(), set()
    base = posixpath.dirname(path)
    params = ["params.yaml", *_texts(data.get("params")), *_texts(data.get("vars"))]
    found = {
        "params": _below(base, params),
        "metrics": _below(base, _texts(data.get("metrics"))),
    }
    stages = data.get("stages")
    for stage in list(stages.values())[:MAX_STAGES] if isinstance(stages, dict) else ():
        for one in (stage, stage.get("do")) if isinstance(stage, dict) else ():
            if isinstance(one, dict):
                folder = posixpath.join(base, str(one.get("wdir") or "."))
                found["params"] |= _below(folder, _params_of(one.get("params")))
                found["metrics"] |= _below(folder, _texts(one.get("metrics")))
    return found["params"], found["metrics"]


def _texts(entries: Any) -> Iterator[str]:
    """The paths in a list of ``dvc.yaml``: texts, and the keys of mappings."""
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, str):
            yield entry.partition(":")[0] if ":" in entry else entry
        elif isinstance(entry, dict):
            yield from (key for key in entry if isinstance(key, str))


def _params_of(entries: Any) -> Iterator[str]:
    """The files in the ``params`` of a stage: a text there is a name in ``params.yaml``."""
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            yield from (key for key in entry if isinstance(key, str))
        else:
            yield "params.yaml"


def _below(folder: str, names: Iterable[str]) -> set[str]:
    """Paths that ``dvc.yaml`` has relative to ``folder``, relative to the root."""
    joined = (
        posixpath.normpath(posixpath.join(folder, name)) for name in names if "${" not in name
    )
    return {name for name in joined if name.endswith(values.FORMATS[1:])}
