"""A blob to a WebDAV server in two requests: to put it beside, and to give it its name at once.

webdav4's file system makes nine of it, and copies where it is asked to move: meanwhile there would
be a part of a blob under its final name.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from mlrepro.dvc.answers import is_of

_LOCKED, _NOT_FOUND = 423, 404
_TRIES = 20
KINDS = frozenset({"webdav", "webdavs"})


def put(fs: Any, source: str, path: str, callback: Any) -> None:
    """Put the file ``source`` at ``path``, in a folder that is there. Raises what webdav4 raises.

    ``fs``: webdav4's file system.
    """
    with open(source, "rb") as file:
        fs.client.upload_fileobj(
            file,
            fs._strip_protocol(path),
            overwrite=True,  # else it asks first whether it is there
            callback=callback.relative_update,
            size=os.fstat(file.fileno()).st_size,
        )


def move(fs: Any, old: str, new: str) -> None:
    """Rename a file, in one step, unless the new name is taken: then the old one is removed.

    Raises FileNotFoundError where it is not there, else what webdav4 raises.
    """
    from webdav4.client import HTTPError, ResourceAlreadyExists

    old, new = fs._strip_protocol(old), fs._strip_protocol(new)
    try:
        fs.client.move(old, new)
    except ResourceAlreadyExists:
        fs.client.remove(old)
    except HTTPError as error:
        if error.status_code == _NOT_FOUND:
            raise FileNotFoundError(f"not there to be moved: {old}") from error
        raise


def once_free(work: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Do it as soon as a WebDAV server lets go of what somebody else is making or moving.

    Some break off a listing where a file in it is moved meanwhile: then the answer is no XML.
    """
    for left in reversed(range(_TRIES)):
        try:
            return work(*given, **named)
        except Exception as error:
            answer = getattr(error, "response", error)
            locked = getattr(answer, "status_code", 0) == _LOCKED
            if not left or not (locked or is_of(error, "ParseError", "ResourceLocked")):
                raise
        time.sleep((0.5 + os.urandom(1)[0] / 256) * 0.05 * (_TRIES - left))
    raise AssertionError
