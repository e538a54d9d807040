"""What a user means by a path, of all that is tracked: itself, its pointer, a folder, a glob."""

from __future__ import annotations

import os

from mlrepro import patterns
from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import MlreproError, PathError
from mlrepro.project import require_dvc as require_dvc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrepro.outputs import Listing, Tracked
    from mlrepro.project import Project


def relative(project: Project, typed: str) -> str:
    """A path as typed in ``cwd``, relative to the root; "" for the root. Raises PathError."""
    absolute = os.path.normpath(os.path.join(project.cwd, typed))
    if absolute == project.root:
        return ""
    if not absolute.startswith(project.root.rstrip(os.sep) + os.sep):
        parent = os.path.realpath(os.path.dirname(absolute))  # a root reached through a link
        absolute = os.path.join(parent, os.path.basename(absolute))
        if not absolute.startswith(project.root.rstrip(os.sep) + os.sep):
            raise PathError(
                f"{typed} is outside the repository {project.root}.",
                "copy the data into the repository first",
                code="path-outside",
                path=typed,
            )
    return absolute[len(project.root.rstrip(os.sep)) + 1 :]


def tracked(
    project: Project, listing: Listing, typed: Sequence[str]
) -> tuple[list[Tracked], list[MlreproError]]:
    """The tracked outputs that were named: themselves, by pointer, by a folder above, by a glob.

    They need not be on the disk. No name at all means all of them.
    """
    if not typed:
        return listing.outs, list(listing.errors)
    errors: list[MlreproError] = []
    found: dict[str, Tracked] = {}
    for item in typed:
        try:
            name = relative(project, item)
        except MlreproError as error:
            errors.append(error)
            continue
        named = [out for out in listing.outs if _is_itself(out.path, out.pointer, name)]
        named = named or [out for out in listing.outs if means(out.path, out.pointer, name)]
        bad = [error for error in listing.errors if error.path in (name, name + ".dvc")]
        errors += bad
        if not named and not bad:
            errors.append(
                PathError(
                    f"Not tracked: {item}",
                    "mlrepro status lists what is tracked",
                    code="path-not-tracked",
                    path=name,
                )
            )
        found.update((out.path, out) for out in named)
    return list(found.values()), errors


def means(path: str, pointer: str, name: str) -> bool:
    """Whether ``name`` (relative to the root) means a tracked path.

    As itself, by its pointer, by a folder above it, by a file inside it, or by a glob.
    """
    if _is_itself(path, pointer, name):
        return True
    if not patterns.is_pattern(name):
        return False
    every = (*patterns.folders_above(path), path, pointer)
    return any(patterns.matches(one, name) for one in every if one)


def _is_itself(path: str, pointer: str, name: str) -> bool:
    if not name or name in (path, pointer):
        return True
    return path.startswith(name + "/") or name.startswith(path + "/")
