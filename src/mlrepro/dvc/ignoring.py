"""Which files ``.dvcignore`` leaves out, as DVC itself reads its rules."""

from __future__ import annotations

import os
from collections.abc import Iterable

from mlrepro.dvc.inprocess import calling
from mlrepro.errors import MlreproError, PathError


def left_out(root: str, names: Iterable[str]) -> set[str]:
    """Of these files (relative to ``root``, links and devices among them) those left out.

    Raises PathError for rules that DVC cannot read.
    """
    try:
        with calling(path=".dvcignore"):
            from dvc.fs import localfs
            from dvc.ignore import DvcIgnoreFilter

            rules = DvcIgnoreFilter(localfs, root)
            return {name for name in names if rules.is_ignored_file(os.path.join(root, name))}
    except PathError:
        raise
    except MlreproError as error:
        raise PathError(
            f"A .dvcignore file cannot be read: {error.message}",
            "mend its rules: they are those of .gitignore, in UTF-8",
            code="ignore-file-invalid",
            path=".dvcignore",
        ) from error
