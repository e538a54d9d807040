"""Tries a store out: a small file is written, read back, listed and removed."""

from __future__ import annotations

import os

from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.errors import StoreError
from mlrepro.store import store_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrepro.store import Store

STEPS = ("write", "read", "list", "remove")


def try_folder(store: Store, told: Callable[[str], None]) -> None:
    """Put a probe into a store that is a folder, and take it out; ``told`` hears of each step.

    Raises StoreError where a step fails, naming what the system says.
    """
    data = os.urandom(16)
    try:
        with store.staging() as staging:
            probe = staging.new()
            with open(probe, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            told("write")
            with open(probe, "rb") as file:
                if file.read() != data:
                    raise _unconfirmed(store, "does not give back what was put into it")
            told("read")
            if os.path.basename(probe) not in os.listdir(os.path.dirname(probe)):
                raise _unconfirmed(store, "does not list what was put into it")
            told("list")
            os.unlink(probe)
            told("remove")
    except OSError as error:
        raise store_error(error, store.root) from error


def _unconfirmed(store: Store, what: str) -> StoreError:
    return StoreError(
        f"The store {store.root} {what}.", "mlrepro remote set PATH", code="remote-unconfirmed"
    )
