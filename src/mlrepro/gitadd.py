"""What git is told for the next commit: these files as they are, many of them as one pack."""

from __future__ import annotations

import os

from mlrepro import git, gitlock, process
from mlrepro.dataclass import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlrepro.project import Project

_MANY = 64  # files are staged by way of a pack
# For each object git takes and gives back a quarter of a MiB; by default glibc (mallopt(3)) hands
# that to the kernel and fetches it anew every time: most of what a pack of small ones costs.
_KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(1 << 26)}


def stage(
    project: Project,
    names: Iterable[str],
    indexes: Sequence[str] = ("",),
    *,
    texts: Mapping[str, bytes] | None = None,
    packing: process.Started | None = None,
) -> None:
    """Stage these files of the worktree, in each of the index files named ("": git's own).

    ``texts``: what the small ones among them hold, where that is known; ``packing``: what
    ``begin_pack`` began with these. Another git that changes the index just now is waited for.
    Raises RepositoryError (``locked``) where it does not come to an end.
    """
    wanted = list(names)
    listing = git.joined(wanted)
    if not listing:
        return
    packing = packing or begin_pack(project, texts or {})
    if packing is not None:
        packing.ended()  # whatever came of it: it only saves time
    asked = ("update-index", "--add", "--remove", "-z", "--stdin")
    for index in indexes:

        def change(index: str = index) -> object:
            return git.run(project, *asked, input=listing, index=index)

        own = index or os.path.join(project.git_dir, "index")
        gitlock.patiently(change, own + ".lock")


def begin_pack(project: Project, texts: Mapping[str, bytes]) -> process.Started | None:
    """Begin to put what files hold into git's objects as one pack, where ``stage`` will find it.

    By itself ``update-index`` would make a file for each. What its filters or line-end rules change
    it still writes, beside what is then of no use in the pack; and all of it where there can be no
    pack. None for a few; else ``stage`` waits for it, or whoever does not get that far ends it.
    """
    if len(texts) < _MANY:
        return None
    parts = [b"blob\ndata %d\n%s\n" % (len(text), text) for text in texts.values()]
    argv = ["git", "-C", project.root, "-c", "fastimport.unpackLimit=1"]
    argv += ["fast-import", "--quiet", "--depth=0"]
    try:
        environment = {**os.environ, **git.LITERAL, **_KEEP_MEMORY}
        return process.Started(argv, b"".join(parts), environment)
    except OSError:
        return None
