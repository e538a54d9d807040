"""Seals what a whole look has proven, so that the next commit proves it by a few looks."""

from __future__ import annotations

import os

from mlrepro import dvcconfig, index, seal, unchanged
from mlrepro.errors import HOLDS, STALE, MlreproError

# Loaded only by a commit that finds no seal to hold.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlrepro.project import Project
    from mlrepro.remote import Remote
    from mlrepro.unchanged import Proof


def nothing_to_do(project: Project) -> bool:
    """As ``unchanged.nothing_to_do``, for the hook of a commit; what that proved is sealed."""
    began = index.now_ns()
    looks = looks_at(project.root, _settings(project))
    proof = unchanged.proof(project, keep=True)
    if proof is None:
        return False
    _keep(project, proof, looks, [], began)
    return True


class Watch:
    """Begun before a ``status`` looks at anything, so that what it finds in order can be sealed."""

    __slots__ = ("_began", "_looks", "_project", "_wider")

    def __init__(self, project: Project) -> None:
        self._project = project
        self._began = index.now_ns()
        self._looks = looks_at(project.root, _settings(project))
        notes = [os.path.join(project.common_dir, "mlrepro", name) for name in ("store", "owed")]
        self._wider = looks_at(project.root, [*notes, os.path.join(project.state_dir, "place")])

    def keep(self, names: Mapping[str, str]) -> None:
        """Seal that all is clean; ``names``: each tracked path and its pointer. Raises nothing.

        Not so where anything is in play that is not known by the times of a few files.
        """
        proof = unchanged.proof(self._project)
        if proof is None or proof.target is None or proof.target.store is None:
            return
        staged = proof.entries
        entries = [
            entry
            for entry in proof.record.entries.values()
            if staged.find(os.fsencode(entry.pointer)) >= 0
        ]
        if names != {entry.path: entry.pointer for entry in entries}:
            return
        if any(name.endswith("dvc.lock") for name in names.values()):
            return  # which of its outputs count, other files say
        pointers = looks_at(self._project.root, sorted(set(names.values())))
        folders = [entry.oid for entry in entries if not entry.stat]
        wider = [
            *self._wider,
            *pointers,
            *_blobs_of_folders(self._project.root, proof.target, folders),
        ]
        if seal.MISSING not in [numbers for _, numbers in pointers]:
            _keep(self._project, proof, self._looks, wider, self._began)


def _blobs_of_folders(root: str, target: Remote, oids: list[str]) -> list[tuple[bytes, bytes]]:
    """By what it is known that the blobs of these folders are there: their listings, and by them.

    No blob comes or goes without a trace in the times of the folder that it lies in.
    """
    if not oids or target.store is None:
        return []
    store = target.store
    bases = dict.fromkeys((store.base, store.root))
    paths = [path(oid) for oid in oids for one in (target.cache, store)
             for path in (one.path, one.legacy_path)]  # fmt: skip
    for base in bases:
        paths += [base, *(f"{base}/{number:02x}" for number in range(256))]
    return looks_at(root, paths)


def _keep(
    project: Project,
    proof: Proof,
    looks: list[tuple[bytes, bytes]],
    wider: list[tuple[bytes, bytes]],
    began_ns: int,
) -> None:
    """Seal it, if none of it can have changed since ``began_ns``."""
    try:
        if are_settled(project.root, (*looks, *wider), began_ns):
            keep(project, of(project, proof, looks, wider))
    except (OSError, ValueError, MlreproError):
        pass  # it only saves time


def _settings(project: Project) -> list[str]:
    """The files by which it is known where things are, and what is known of them."""
    files = list(dvcconfig.config_files(project.dvc_dir, os.environ).values())
    own = (os.path.join(project.git_dir, "commondir"), os.path.join(project.state_dir, "index"))
    return [*files, *own]


def looks_at(root: str, paths: Iterable[str]) -> list[tuple[bytes, bytes]]:
    """What these files, some of them relative to ``root``, are now, to be compared with later."""
    top = f"{root}/"
    found = []
    for path in paths:
        name = os.fsencode(path.removeprefix(top))
        found.append((name, seal.numbers_of(os.path.join(os.fsencode(root), name))))
    return found


def are_settled(root: str, looks: Iterable[tuple[bytes, bytes]], began_ns: int) -> bool:
    """Whether each is a plain file, or none, and no write since ``began_ns`` can hide in its times.

    A link is not: what it leads to has times of its own.
    """
    for path, numbers in looks:
        if numbers == seal.MISSING:
            continue
        about = os.lstat(os.path.join(os.fsencode(root), path))
        racy = index.is_racy(about.st_mtime_ns, about.st_ctime_ns, began_ns)
        if racy or about.st_mode & 0o170000 not in (0o100000, 0o040000):
            return False
    return True


def of(
    project: Project,
    proof: Proof,
    looks: list[tuple[bytes, bytes]],
    wider: list[tuple[bytes, bytes]],
) -> seal.Seal:
    """The seal of what was just proven. Raises OSError or StoreError for what is gone meanwhile."""
    places = os.fsencode(project.root), os.fsencode(project.git_dir)
    made = seal.Seal(*places, seal.settings_now())
    made.looks, made.clean = looks, wider
    made.cleared = " ".join(proof.record.cleared).encode()
    target = proof.target
    if target is None:
        return made  # nothing is tracked yet
    if target.store is not None:
        marker = os.fsencode(target.store.marker)
        made.marker = marker, seal.content(marker, 256)
    for entry in proof.record.entries.values():
        name = os.fsencode(entry.pointer)
        if proof.entries.find(name) < 0:
            continue  # nothing was proven of it
        made.pointers[name] = entry.seen.encode()
        path = os.fsencode(entry.path)
        made.entries.append((name, path, _numbers(project, proof, entry), *_blob(proof, entry)))
    made.folders = _folders(project, target, made)
    made.shell = _in_shell(made, proof.entries.tree) or made.shell
    return made


def _numbers(project: Project, proof: Proof, entry: index.Entry) -> bytes:
    """What the data has to be; the record's word is taken, which is what was proven."""
    if entry.path in proof.missing:
        return seal.MISSING
    if entry.stat:
        return entry.stat.encode()
    about = seal.numbers_of(os.fsencode(project.absolute(entry.path)))
    return seal.MISSING if about == seal.MISSING else seal.FOLDER + entry.oid.encode()


def _blob(proof: Proof, entry: index.Entry) -> tuple[bytes, bytes]:
    """Where in the store its blob was found, and its size; empty for a store on the network."""
    if proof.target is None or proof.target.store is None:
        return b"", b""
    path, size = proof.blobs[entry.named]
    return os.fsencode(path[len(proof.target.store.root) + 1 :]), b"%d" % size


def _folders(project: Project, target: Remote, made: seal.Seal) -> list[bytes]:
    """The folders in the worktree that must not be links: around data, pointers and blobs."""
    top = made.root + b"/"
    inside = {os.path.dirname(top + name) for entry in made.entries for name in entry[:2]}
    places = [target.cache.root] + ([target.store.root] if target.store is not None else [])
    inside.update(os.fsencode(place) for place in (*places, project.dvc_dir))
    found: set[bytes] = set()
    for place in inside:
        here = place
        while here.startswith(top) and here not in found:
            if os.path.isdir(here) and not os.path.islink(here):
                found.add(here)
            here = os.path.dirname(here)
    return sorted(found)


# The same proof by a shell, sourced by the hook before it starts Python, which takes longer than
# all of this: every number is compared as text with what GNU stat says (elsewhere it says something
# else), and of git's index what differs from the tree that was proven, by the rules of ``seal``. It
# ends with HOLDS where all does, and with STALE where so much code has changed that it is time for
# a new seal. Under -eu it ends with another number where any line fails, be it for a lost byte; so
# it does where it was cut short. Data that are newer than the seal need no program to be told; and
# git need not be asked for the size of what is small even as it lies on disk, since deflate makes
# no more than 1032 bytes of one. A folder is looked at by Python alone.
_SHELL = b"""\
set -eu
case $- in *e*u* | *u*e*) ;; *) exit 1 ;; esac
[ "$PWD" = %(root)s ]
case ${GIT_DIR-.git} in .git | %(git_dir)s) ;; *) exit 1 ;; esac
[ "${GIT_WORK_TREE+x}${MLREPRO_LANE+x}${MLREPRO_NO_HOOKS+x}" = "" ]
[ "%(names)s" = %(settings)s ]
for path in .git %(folders)s; do
  [ -d "$path" ]
  [ ! -L "$path" ]
done
for path in %(missing)s; do
  [ ! -e "$path" ]
  [ ! -L "$path" ]
done
[ -f %(marker)s ]
[ ! -L %(marker)s ]
{
  read -r first
  read -r second
} <%(marker)s
[ "$first
$second
" = %(text)s ]
for path in %(data)s; do
  [ ! "$path" -nt .git/mlrepro/seal ]
done
changed=$(git --no-replace-objects diff-index --cached --raw --no-abbrev --no-renames %(tree)s --)
set -f --
IFS='
'
for line in $changed; do
  case ${line#*\t} in %(refused)s) exit 1 ;; esac
  line=${line#* * * }
  new=${line%%%% *}
  case $new in
  %(deleted)s) ;;
  *) set -- "$@" ".git/objects/${new%%"${new#??}"}/${new#??}" ;;
  esac
done
if [ $# -gt %(most)d ]; then exit %(stale)d; fi
was='%(numbers)s'
now=$(LC_ALL=C stat -c '%%f %%s %%.9Y %%.9Z %%i %%d' -- %(paths)s "$@") || [ $# -gt 0 ]
sizes=${now#"$was"}
[ "$was$sizes" = "$now" ]
case $sizes in '' | '
'*) ;; *) exit 1 ;; esac
small=0
for line in $sizes; do
  line=${line#* }
  if [ "${line%%%% *}" -le %(small)d ]; then small=$((small + 1)); fi
done
if [ $small -eq $# ]; then exit %(holds)d; fi
sizes=$(for path in "$@"; do
  path=${path#.git/objects/}
  echo "${path%%/*}${path#*/}"
done | git --no-replace-objects cat-file --batch-check='%%(objectsize)')
told=0
for size in $sizes; do
  [ "$size" -le %(large)d ]
  told=$((told + 1))
done
[ $told -eq $# ]
exit %(holds)d
"""
_MOST_LOOKS, _MOST_CHANGES = 300, 64


def _in_shell(made: seal.Seal, tree: str) -> bytes:
    """What a shell has to do to prove the seal; empty where it cannot, or is no faster."""
    marker, text = made.marker
    plain = made.git_dir == made.root + b"/.git" and text.count(b"\n") == 2 and text[-1:] == b"\n"
    if not (plain and tree) or len(made.looks) + 2 * len(made.entries) > _MOST_LOOKS:
        return b""
    if any(entry[2][:1] == seal.FOLDER for entry in made.entries):
        return b""
    blobs = marker[: -len(seal.MARKER)]
    looks = [*made.looks, *((entry[1], entry[2]) for entry in made.entries)]
    looks += [(blobs + entry[3], b"") for entry in made.entries if entry[3]]
    top = made.root + b"/"
    looks = [(path.removeprefix(top), was) for path, was in looks]
    data = [_quoted(entry[1]) for entry in made.entries]
    there = [(path, was) for path, was in looks if was != seal.MISSING]
    return _SHELL % {
        b"root": _quoted(made.root),
        b"git_dir": _quoted(made.git_dir),
        b"names": b"\n".join([b"${%s-}" % name for name in seal.SETTINGS]),
        b"settings": _quoted(made.settings),
        b"folders": b" ".join([_quoted(path.removeprefix(top)) for path in made.folders]),
        b"missing": b" ".join([_quoted(path) for path, was in looks if was == seal.MISSING]),
        b"marker": _quoted(marker.removeprefix(top)),
        b"text": _quoted(text),
        b"paths": b" ".join([_quoted(path) for path, _ in there]),
        b"numbers": b"\n".join([_as_stat_says(made.root, *look) for look in there]),
        b"tree": tree.encode(),
        b"refused": b" | ".join(
            [b'\\"*', *(b"*" + end for end in seal.POINTERS),
             seal.CONFIG + b"*",
             *data, *(name + b"/*" for name in data)]
        ),
        b"holds": HOLDS,
        b"stale": STALE,
        b"most": _MOST_CHANGES,
        b"data": b" ".join(data),
        b"small": seal.LARGE_BYTES // 1032,
        b"deleted": b"0" * 40,
        b"large": seal.LARGE_BYTES,
    }  # fmt: skip


def _quoted(text: bytes) -> bytes:
    return b"'%s'" % text.replace(b"'", b"'\\''")


def _as_stat_says(root: bytes, path: bytes, was: bytes) -> bytes:
    """The numbers of a file as GNU stat has them. Raises FileNotFoundError where they are others
    by now than they ``was``, or no plain file's.
    """
    about = os.lstat(os.path.join(root, path))
    if (was and seal.numbers(about) != was) or about.st_mode & 0o170000 != 0o100000:
        raise FileNotFoundError
    written, changed = (divmod(when, 10**9) for when in (about.st_mtime_ns, about.st_ctime_ns))
    return b"%x %d %d.%09d %d.%09d %d %d" % (
        about.st_mode, about.st_size, *written, *changed, about.st_ino, about.st_dev,
    )  # fmt: skip


def keep(project: Project, made: seal.Seal) -> None:
    """Write the seal, unless it is there as it is."""
    data = seal.rendered(made)
    path = os.path.join(project.git_dir, os.fsdecode(seal.FILE))
    try:
        same = seal.content(os.fsencode(path), len(data)) == data
    except (OSError, ValueError):
        same = False
    if not same:
        from mlrepro import writing

        writing.write_atomic(path, data, durable=False)  # its checksum tells a damaged one
