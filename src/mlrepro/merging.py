"""Pointers that both sides of a merge changed: folders are merged by file, of files one is chosen,
but where one side changed the content and the other only whether it may be executed.
"""

from __future__ import annotations

import os

from mlrepro import engine, git, pointer, transfer
from mlrepro.dataclass import TYPE_CHECKING, dataclass, replace
from mlrepro.errors import MlreproError, PointerError
from mlrepro.patterns import folders_above
from mlrepro.safepath import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.result import Options
    from mlrepro.store import Store


@dataclass(frozen=True, slots=True)
class Sides:
    """The texts of one pointer in a merge: the common one, and what each side made of it."""

    name: str
    base: bytes
    ours: bytes
    theirs: bytes


@dataclass(frozen=True, slots=True)
class Union:
    """A merged pointer, or the members that both sides changed in different ways."""

    text: bytes
    conflicts: tuple[str, ...] = ()


def sides(project: Project, names: Sequence[str]) -> dict[str, Sides]:
    """The sides of each pointer that is unmerged in git's index."""
    data = git.run(project, "ls-files", "-z", "--unmerged", "--", *names)
    found: dict[str, dict[str, str]] = {}
    for line in data.split(b"\0"):
        if line:
            about, raw = line.split(b"\t", 1)
            _, oid, stage = about.decode().split(" ")
            found.setdefault(os.fsdecode(raw), {})[stage] = oid
    contents = git.blobs(project, [oid for stages in found.values() for oid in stages.values()])
    return {
        name: _in_place(Sides(name, *(contents.get(stages.get(stage, ""), b"") for stage in "123")))
        for name, stages in found.items()
    }


def _in_place(merge: Sides) -> Sides:
    """The sides with their data where the pointer's name says, if one of them has it there.

    A pointer that one side moved and the other changed is one to git, under its new name; what the
    other made of it still names the old path.
    """
    path = os.path.basename(merge.name).removesuffix(".dvc")
    texts, places = [], []
    for text in (merge.base, merge.ours, merge.theirs):
        try:
            parsed = pointer.parse(text, merge.name)
        except PointerError:
            texts.append(text)
            continue
        is_plain = parsed.exact and parsed.wdir == "." and len(parsed.outs) == 1
        places.append(parsed.outs[0].path if is_plain else "")
        moved = pointer.Pointer((replace(parsed.outs[0], path=path),)) if is_plain else parsed
        texts.append(pointer.render(moved) if is_plain else text)
    return Sides(merge.name, *texts) if path in places and "" not in places else merge


def split(name: str, text: bytes) -> Sides | None:
    """The sides of a pointer with conflict markers in its text (as git and diff3 write them)."""
    ours, base, theirs = bytearray(), bytearray(), bytearray()
    where, marked = "both", False
    for line in text.splitlines(keepends=True):
        if line.startswith(b"<<<<<<< "):
            where, marked = "ours", True
        elif line.startswith(b"|||||||") and where == "ours":
            where = "base"
        elif line.startswith(b"=======") and where in ("ours", "base"):
            where = "theirs"
        elif line.startswith(b">>>>>>> ") and where == "theirs":
            where = "both"
        else:
            for side, text_of in (("ours", ours), ("base", base), ("theirs", theirs)):
                if where in ("both", side):
                    text_of.extend(line)
    if not marked or where != "both":
        return None
    return _in_place(Sides(name, bytes(base), bytes(ours), bytes(theirs)))


def union(project: Project, target: Remote, merge: Sides, options: Options) -> Union:
    """Merge a folder's pointer by its members: what one side added, changed or removed holds.

    A file's is merged where one side changed its content, the other its executable bit. The merged
    listing is put into cache and store, but in a dry run. Raises PointerError for a pointer that
    does not name one folder, BlobMissing where a listing is in neither cache nor store.
    """
    merged_file = _bit_and_content(merge)
    if merged_file:
        return Union(merged_file)
    ours, theirs = _one_folder(merge.name, merge.ours), _one_folder(merge.name, merge.theirs)
    base = _in_common(merge)
    places = [target.cache] + ([target.store] if target.store is not None else [])
    if target.store is None:
        wanted = [transfer.Need(out.path, out.oid) for out in (ours, theirs, base) if out]
        transfer.fetch_listings(project, target, wanted, options)
    mine, yours = _members(ours, places, merge.name), _members(theirs, places, merge.name)
    was = _members(base, places, merge.name) if base is not None else {}
    merged, conflicts = three_way(was, mine, yours)
    if conflicts:
        return Union(b"", tuple(conflicts))
    listing = pointer.render_listing([pointer.Member(n, merged[n]) for n in sorted(merged)])
    oid = pointer.listing_oid(listing)
    if not options.dry_run:
        target.cache.create()
        engine.save_bytes(listing, ".dir", target.cache, target.store)
    size = _size(ours, mine, merged, places)
    out = pointer.Out(ours.path, oid, size, len(merged), ours.isexec)
    return Union(pointer.render(pointer.Pointer((out,))))


def _bit_and_content(merge: Sides) -> bytes:
    """The pointer of a file of which one side changed the content, and the other whether it may be
    executed; empty where that is not all. Git merges mode and text of a file in the same way.
    """
    outs = []
    for text in (merge.base, merge.ours, merge.theirs):
        try:
            parsed = pointer.parse(text, merge.name)
        except PointerError:
            return b""
        is_plain = parsed.exact and parsed.wdir == "." and len(parsed.outs) == 1
        if not is_plain or parsed.outs[0].is_dir:
            return b""
        outs.append(parsed.outs[0])
    base, ours, theirs = outs
    content, other = (theirs, ours) if ours.oid == base.oid else (ours, theirs)
    if other.oid != base.oid or {ours.path, theirs.path, base.path} != {base.path}:
        return b""
    isexec = theirs.isexec if ours.isexec == base.isexec else ours.isexec
    return pointer.render(pointer.Pointer((replace(content, isexec=isexec),)))


def _in_common(merge: Sides) -> pointer.Out | None:
    """The folder that both sides come from; of two that were merged into each other, git's merge
    of what they come from may hold conflict markers itself.
    """
    try:
        return _one_folder(merge.name, merge.base) if merge.base.strip() else None
    except PointerError as error:
        if error.code == "pointer-conflict":
            error.message = (
                f"{merge.name}: what both sides have in common is in conflict itself, since they "
                "were merged into each other before: there is no union."
            )
            name = quoted(merge.name)
            error.hint = f"mlrepro resolve --ours {name}   (or --theirs)"
        raise


def _one_folder(name: str, text: bytes) -> pointer.Out:
    parsed = pointer.parse(text, name)
    if len(parsed.outs) != 1 or not parsed.outs[0].is_dir:
        raise PointerError(
            f"{name} names a file: two versions of a file have no union.",
            f"mlrepro resolve --ours {quoted(name)}   (or --theirs)",
            code="not-a-folder",
            path=name,
        )
    if parsed.outs[0].legacy:
        raise PointerError(
            f"{name} was written by DVC 2, whose folders cannot be merged with those of DVC 3.",
            f"mlrepro resolve --ours {quoted(name)}   (or --theirs)",
            code="pointer-legacy",
            path=name,
        )
    return parsed.outs[0]


def _members(out: pointer.Out, places: Sequence[Store], name: str) -> dict[str, str]:
    members = transfer.listing_of(out.oid, places)
    if members is None:
        raise transfer.lost(transfer.Need(out.path, out.oid, None, name))
    return {member.relpath: member.oid for member in members}


def three_way(
    base: Mapping[str, str], ours: Mapping[str, str], theirs: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Merge three listings (name → hash): the merged one, and the names changed on both sides."""
    merged: dict[str, str] = {}
    conflicts = []
    for name in sorted({*ours, *theirs}):
        was, mine, yours = base.get(name), ours.get(name), theirs.get(name)
        if yours in (mine, was):
            chosen = mine
        elif mine == was:
            chosen = yours
        else:
            conflicts.append(name)
            continue
        if chosen is not None:
            merged[name] = chosen
    folders = {above for name in merged for above in folders_above(name)}
    conflicts += [name for name in merged if name in folders]  # a file here, a folder there
    return merged, conflicts


def _size(
    ours: pointer.Out, mine: Mapping[str, str], merged: Mapping[str, str], places: Sequence[Store]
) -> int | None:
    """The bytes of all members together, from what ours had; None where a blob is not at hand."""
    if ours.size is None:
        return None
    total = ours.size
    for name in {*mine, *merged}:
        if mine.get(name) == merged.get(name):
            continue
        for listing, sign in ((mine, -1), (merged, 1)):
            oid = listing.get(name)
            if oid is not None:
                found = next((f for place in places if (f := place.find(oid))), None)
                if found is None:
                    return None
                total += sign * found[1].st_size
    return total


def drive(
    project: Project, target: Remote, files: Sequence[str], name: str, options: Options
) -> MlreproError | None:
    """Git's merge driver: ``files`` hold base, ours and theirs; the result goes into ours.

    Returns what is left for a person to decide, None where the merge was made. Then ``ours`` has
    conflict markers, as git itself would have put them.
    """
    texts = []
    for path in files:
        with open(path, "rb") as file:
            texts.append(file.read(pointer.MAX_POINTER_BYTES))
    hint = f"mlrepro resolve --ours {quoted(name)}   (or --theirs, or --union for a folder)"
    merge = _in_place(Sides(name, *texts))
    for path, text in zip(files, (merge.base, merge.ours, merge.theirs), strict=True):
        with open(path, "wb") as file:
            file.write(text)
    if merge.base in (merge.ours, merge.theirs) or merge.ours == merge.theirs:
        # One side moved the data, the other changed it.
        with open(files[1], "wb") as file:
            file.write(merge.theirs if merge.base == merge.ours else merge.ours)
        return None
    try:
        merged = union(project, target, merge, options)
        if not merged.conflicts:
            with open(files[1], "wb") as file:
                file.write(merged.text)
            return None
        what = f"both sides changed {merged.conflicts[0]} in the folder of {name}"
    except MlreproError as error:
        what = error.message
    git.run(
        project, "merge-file", "-L", "ours", "-L", "base", "-L", "theirs",
        files[1], files[0], files[2], ok=range(256),
    )  # fmt: skip
    return PointerError(what, hint, code="pointer-conflict", path=name)
