"""Which files ``.dvcignore`` leaves out, as DVC itself reads its rules."""

from __future__ import annotations

import os
from collections.abc import Iterable

from mlrepro.dvc.inprocess import calling


def left_out(root: str, names: Iterable[str]) -> set[str]:
    """Of these files (relative to ``root``, symlinks and devices among them) those left out."""
    with calling(path=".dvcignore"):
        from dvc.fs import localfs
        from dvc.ignore import DvcIgnoreFilter

        rules = DvcIgnoreFilter(localfs, root)
        return {name for name in names if rules.is_ignored_file(os.path.join(root, name))}
