"""What a run found damaged in cache and store: where it was put, and whether it is mended."""

from __future__ import annotations

from mlrepro.dataclass import TYPE_CHECKING
from mlrepro.result import Damage

if TYPE_CHECKING:
    from mlrepro.remote import Remote
    from mlrepro.result import Options


def found(target: Remote) -> tuple[Damage, ...]:
    """Every blob that was found damaged since ``target`` was looked up.

    What has its name now was hashed before it took that, so it counts as mended.
    """
    places = [("cache", target.cache)]
    if target.store is not None:
        places.insert(0, ("store", target.store))
    return tuple(
        Damage(oid, name, aside, bool(aside) and place.has(oid, None))
        for name, place in places
        for oid, aside in sorted(place.aside.items())
    )


def notes(every: tuple[Damage, ...]) -> list[str]:
    """One line for each: what was damaged, where it lies now, what is in its place."""
    lines = []
    for one in every:
        said = f"the blob {one.oid} was damaged in the {one.place}"
        if not one.aside:
            lines.append(f"{said}, and could not be set aside there: it takes the right to write")
        elif one.mended:
            lines.append(f"{said}: mended from a good copy, the bad one is in {one.aside}")
        else:
            lines.append(f"{said}: set aside in {one.aside}; mlrepro verify --repair mends it")
    return lines


def tell(target: Remote, options: Options) -> tuple[Damage, ...]:
    """The same as ``found``, each told to the person who waits."""
    every = found(target)
    for line in notes(every):
        options.reporter.note(line)
    return every
