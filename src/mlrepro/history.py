"""Which blobs any commit needs, and who committed them when."""

from __future__ import annotations

import os

from mlrepro import git, outputs, transfer
from mlrepro.dataclass import TYPE_CHECKING, dataclass
from mlrepro.errors import MlreproError, StoreError
from mlrepro.transfer import Need

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlrepro.project import Project

POINTERS = (":(glob)**/*.dvc", ":(glob)**/dvc.lock", ":(exclude,glob).dvc/**")

MOST_TOLD = 100  # gaps that are told one by one

# A pointer as DVC writes nearly all of them. An md5 that would read as a number is not matched.
_PLAIN = (
    r"outs:\n- md5: ((?!(?:[0-9]+(?:e[0-9]+)?|0b[01]+)[.\n])[0-9a-f]{32})(\.dir)?\n"
    r"  size: (0|[1-9]\d{0,17})\n"
    r"(?(2)  nfiles: (?:0|[1-9]\d{0,17})\n)(?:  isexec: true\n)?  hash: md5\n  path: ([^\n]+)\n"
).replace("(?(2)", "(?(%d)")


@dataclass(frozen=True, slots=True)
class Version:
    """A pointer as one commit brought it: git's object of its text."""

    pointer: str
    blob: str
    commit: git.Commit


def introduced(project: Project, *revisions: str) -> list[Version]:
    """Every version of every pointer that these commits brought in, newest first.

    ``revisions`` are as ``git log`` takes them (``--all``, ``A..B``, ``--not``).
    """
    from mlrepro import lineage  # not needed by a commit

    found = lineage.read(project, *revisions)
    about = git.about(project, {found.commit(version) for version in range(len(found))})
    return [
        Version(found.name(version), found.blob_of[version].decode(), about[found.commit(version)])
        for version in range(len(found))
    ]


class Reader:
    """Reads many versions of pointers: path seen from the pointer, oid, and bytes of each output.

    A text in DVC's plain form is read by a pattern, once the strict parser has passed the path in
    it; every other text by that parser.
    """

    def __init__(self, project: Project) -> None:
        import re  # a commit needs this module, and no reader

        self._project = project
        self._alone = re.compile((_PLAIN % 2).encode())
        self._in_batch = re.compile(r"([0-9a-f]{40,64} blob \d+\n" + _PLAIN % 3 + r"\n)")
        self.paths: dict[str, str] = {}  # as it stands in pointers (latin-1) → as it is meant

    def plain(self, data: bytes, count: int) -> list[tuple[str, str, str, str, str]]:
        """All of ``count`` texts in what ``git.batch`` returned, if each is in the plain form, and
        its path passed before; else nothing. Of each: (all of it, md5, "" or ".dir", size, path).

        Nothing is left over and there is one match for each text, so each match is one.
        """
        rows: list[tuple[str, str, str, str, str]] = self._in_batch.findall(data.decode("latin-1"))
        if len(rows) != count or sum([len(row[0]) for row in rows]) != len(data):
            return []
        return rows if {row[4] for row in rows} <= self.paths.keys() else []

    def outs(
        self, name: str, blob: str, text: bytes, pipeline: bytes | None = None
    ) -> Sequence[tuple[str, str, int | None]]:
        """The outputs that a version names. Raises MlreproError where it cannot be read.

        ``pipeline``: the ``dvc.yaml`` that goes with a ``dvc.lock``.
        """
        plain = self._alone.fullmatch(text)
        if plain is not None:
            md5, kind, size, written = plain.groups()
            path = self.paths.get(written.decode("latin-1"))
            if path is not None:
                return ((path, md5.decode() + (".dir" if kind else ""), int(size)),)
        items = self.items(name, blob, text, pipeline)
        if plain is not None:
            self.paths[plain[4].decode("latin-1")] = items[0].out.path
        place = os.path.dirname(name) or "."
        return [
            (os.path.relpath(item.path, place), item.oid, item.out.size)
            for item in items
            if item.oid
        ]

    def items(
        self, name: str, blob: str, text: bytes, pipeline: bytes | None = None
    ) -> list[outputs.Tracked]:
        """The same in full. Raises MlreproError."""
        pipelines = None if pipeline is None else {name: pipeline}
        listing = outputs.read_pointers(self._project, [(name, blob, text)], pipelines)
        if listing.errors:
            raise listing.errors[0]
        return listing.outs


def needs(
    project: Project, versions: Iterable[Version]
) -> tuple[list[Need], list[MlreproError], dict[str, git.Commit]]:
    """What these versions need: the blobs (folders by their listing), pointers that cannot be read,
    and the commits by their names.
    """
    every = list(versions)
    contents = git.blobs(project, (version.blob for version in every))
    pipelines = _pipelines(project, every)
    wanted: dict[str, Need] = {}
    errors: list[MlreproError] = []
    commits: dict[str, git.Commit] = {}
    for version in every:
        commits[version.commit.oid] = version.commit
        listing = outputs.read_pointers(
            project,
            [(version.pointer, version.blob, contents.get(version.blob, b""))],
            {version.pointer: pipelines.get(version, b"")},
        )
        for error in listing.errors:
            error.commit, error.author = version.commit.oid, version.commit.author
            error.date = version.commit.date
            errors.append(error)
        for item in listing.outs:
            if item.oid and item.oid not in wanted:
                wanted[item.oid] = Need(
                    item.path, item.oid, item.out.size if not item.out.is_dir else None,
                    item.pointer, version.commit.oid,
                )  # fmt: skip
    return list(wanted.values()), errors, commits


def _pipelines(project: Project, versions: Sequence[Version]) -> dict[Version, bytes]:
    """The ``dvc.yaml`` that went with each version of a ``dvc.lock``."""
    names = {
        version: f"{version.commit.oid}:{outputs.pipeline_of(version.pointer)}"
        for version in versions
        if outputs.is_lock(version.pointer)
    }
    texts = git.blobs(project, names.values(), outputs.MAX_LOCK_BYTES) if names else {}
    return {version: texts.get(name, b"") for version, name in names.items()}


def snapshot(project: Project, revision: str) -> tuple[list[Need], list[MlreproError]]:
    """What one commit needs to be restored."""
    listing = outputs.at_revision(project, revision)
    return needs_of(listing.outs, revision), listing.errors


def needs_of(outs: Sequence[outputs.Tracked], commit: str = "") -> list[Need]:
    """The blobs that these outputs need (folders by their listing)."""
    return [
        Need(item.path, item.oid, None if item.out.is_dir else item.out.size, item.pointer, commit)
        for item in outs
        if item.oid
    ]


@dataclass(frozen=True, slots=True)
class Gap:
    """A blob that is in neither cache nor store, and who committed the pointer that names it."""

    need: Need
    commit: str
    author: str
    date: str

    @property
    def path(self) -> str:
        return self.need.path

    @property
    def oid(self) -> str:
        return self.need.oid

    def data(self) -> dict[str, str]:
        """The gap as the JSON envelope carries it."""
        return {
            "path": self.path,
            "oid": self.oid,
            "commit": self.commit,
            "author": self.author,
        }


def lost(every: Sequence[Gap], unreachable: Sequence[MlreproError]) -> list[MlreproError]:
    """The errors for these gaps: one for all where the store that may have them cannot be asked."""
    if every and unreachable:
        gap, why = every[0], unreachable[0]
        by = f" (commit {gap.commit[:10]} by {gap.author}, {gap.date[:10]})" if gap.commit else ""
        more = f" and {len(every) - 1:,} more" if len(every) > 1 else ""
        error = StoreError(
            f"Out of reach: the content of {gap.path}{by}{more}. {why.message}",
            why.hint,
            code=why.code,
            path=gap.path,
            oid=gap.oid,
            commit=gap.commit,
        )
        error.author, error.date = gap.author, gap.date
        return [error]
    told: list[MlreproError] = [
        transfer.lost(gap.need, author=gap.author, date=gap.date) for gap in every[:MOST_TOLD]
    ]
    if len(every) > MOST_TOLD:
        told.append(
            MlreproError(
                f"{len(every) - MOST_TOLD:,} more files have content that is nowhere, like these.",
                "the same command with --json lists all of them",
                code="more-problems",
            )
        )
    return told


def gaps(project: Project, missing: Sequence[Need], revision: str = "HEAD") -> list[Gap]:
    """Name for each blob that is nowhere the commit that brought its pointer."""
    found = []
    asked: dict[tuple[str, str], git.Commit | None] = {}  # a folder may lack a million members
    for need in missing:
        by = (need.commit, "") if need.commit else ("", need.pointer)
        if by not in asked:
            asked[by] = _brought_by(project, *by, revision)
        commit = asked[by]
        oid = commit.oid if commit else need.commit
        named = Need(need.path, need.oid, need.size, need.pointer, oid, need.wrong)
        author, date = (commit.author, commit.date) if commit else ("", "")
        found.append(Gap(named, oid, author, date))
    return found


def _brought_by(project: Project, commit: str, pointer: str, revision: str) -> git.Commit | None:
    """About this commit, or else the newest up to ``revision`` that touched the pointer."""
    if commit:
        return next(iter(git.log(project, "-1", "--no-walk", commit)), None)
    return git.last_change(project, pointer, revision) if pointer else None
