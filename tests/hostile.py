"""What a repository that is not to be trusted may hold: each case plants one thing, and no more."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from building import blob_path
from confined import Outside
from mlrepro.listing import MAX_MEMBERS
from working import Work, oid_of

Plant = Callable[[Work, Outside], None]

STORAGE = "[core]\n    remote = storage\n['remote \"storage\"']\n    url = {url}\n"
LOCK = """\
schema: '2.0'
stages:
  train:
    cmd: train
    outs:
    - path: {path}
      md5: 401b30e3b8b5d629635a5c613cdb7919
      hash: md5
      size: 2
"""
# Thirty lists, each of nine times the one before.
BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)


def link(work: Work, name: str, target: str | Path) -> None:
    """A symbolic link in the place of whatever is there."""
    path = _cleared(work, name)
    path.symlink_to(target)


def fifo(work: Work, name: str) -> None:
    os.mkfifo(_cleared(work, name))


def _cleared(work: Work, name: str) -> Path:
    path = work.path(name)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def commit(work: Work) -> None:
    """All of it, past the hooks, as somebody else would have."""
    work.git("add", "--all", "--force")
    work.save("evil")


def pointer(work: Work, name: str, path: str, oid: str = "", size: int = 2) -> None:
    oid = oid or oid_of("b\n")
    text = f"outs:\n- md5: {oid}\n  size: {size}\n  hash: md5\n  path: {path}\n"
    work.write(name, text)


def blob(work: Work, data: bytes, suffix: str = "") -> str:
    oid = oid_of(data) + suffix
    path = blob_path(work.store, oid)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return oid


def listing(
    work: Work, names: Iterable[str], folder: str = "evil", *, oid_by_name: bool = False
) -> None:
    """A folder whose listing, in the store, has these names; ``oid_by_name``: of blobs that are
    nowhere, each another.
    """
    rows = [
        {"md5": oid_of(name if oid_by_name else "b\n"), "relpath": name} for name in sorted(names)
    ]
    oid = blob(work, json.dumps(rows, sort_keys=True).encode(), ".dir")
    pointer(work, f"{folder}.dvc", folder, oid)


def config(text: str) -> Plant:
    """Another ``.dvc/config``; OUT in it is the folder outside."""

    def plant(work: Work, outside: Outside) -> None:
        work.write(".dvc/config", text.replace("OUT", str(outside.root)))
        work.path(".dvc/config.local").unlink(missing_ok=True)
        commit(work)

    return plant


def files(texts: dict[str, str]) -> Plant:
    """Files, committed; OUT in them is the folder outside."""

    def plant(work: Work, outside: Outside) -> None:
        for name, text in texts.items():
            work.write(name, text.replace("OUT", str(outside.root)))
        commit(work)

    return plant


def pointing(path: str, name: str = "evil.dvc") -> Plant:
    return lambda work, _: pointer(work, name, path)


def listed(*names: str, folder: str = "evil") -> Plant:
    return lambda work, _: listing(work, names, folder)


def linked(name: str, inside: str = "") -> Plant:
    """A link that leads outside."""
    return lambda work, outside: link(work, name, outside.root / inside)


def piped(*names: str) -> Plant:
    def plant(work: Work, _: Outside) -> None:
        for name in names:
            fifo(work, name)

    return plant


def _dvc_folder(work: Work, outside: Outside) -> None:
    shutil.copytree(work.path(".dvc"), outside.root / "dvc")
    outside.look_again()
    link(work, ".dvc", outside.root / "dvc")


def _pointers_folder(work: Work, outside: Outside) -> None:
    shutil.copytree(work.path("data"), outside.root / "data")
    outside.look_again()
    link(work, "data", outside.root / "data")


def _store_behind_a_link(work: Work, outside: Outside) -> None:
    shutil.move(work.path("stores"), outside.root / "stores")
    link(work, "stores", outside.root / "stores")
    commit(work)
    outside.look_again()


def _cache_behind_a_link(work: Work, outside: Outside) -> None:
    link(work, ".dvc/cache", outside.root / "sub")
    commit(work)


def _loops(work: Work, _: Outside) -> None:
    for name in ("one", "two", "three"):
        link(work, name, ".")
    work.write("config/config.py", 'TRACK = ["**/*.txt"]\n')
    commit(work)


def _glob_over_a_link(work: Work, outside: Outside) -> None:
    link(work, "elsewhere", outside.root)
    work.write("config/config.py", 'TRACK = ["**/*.txt", "elsewhere/*", "elsewhere/**"]\n')
    commit(work)


def _many_stars(work: Work, _: Outside) -> None:
    work.write("/".join(["d"] * 60) + "/x.txt", "x")
    work.write("config/config.py", f'TRACK = ["{"**/" * 25}*.zip"]\n')
    commit(work)


def _slow_rules(rules: str, name: str) -> Plant:
    def plant(work: Work, _: Outside) -> None:
        work.write(f"set/{name}", "x")
        work.write(".dvcignore", rules)

    return plant


def _imported(where: str) -> Plant:
    """A pointer whose data is said to come from outside."""
    text = "frozen: true\ndeps:\n{}outs:\n- md5: {}\n  size: 17\n  hash: md5\n  path: secret.txt\n"
    oid = oid_of("mine: secret.txt\n")
    return files({"secret.dvc": text.format(where.replace("OID", oid), oid)})


def _large_listing(work: Work, _: Outside) -> None:
    oid = f"{0:032x}.dir"
    path = blob_path(work.store, oid)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(250 << 20)  # it is not even read
    pointer(work, "evil.dvc", "evil", oid)
    commit(work)


CASES: dict[str, Plant] = {
    # links that lead outside
    "link .dvc": _dvc_folder,
    "link .dvc/tmp": linked(".dvc/tmp", "sub"),
    "link .dvc/cache": _cache_behind_a_link,
    "link .dvc/config": linked(".dvc/config", "config"),
    "link .dvc/config.local": linked(".dvc/config.local", "config"),
    "link pointer": linked("data/a.csv.dvc", "notes.csv.dvc"),
    "link pointers' folder": _pointers_folder,
    "link .gitignore": linked("data/.gitignore", "sub/.gitignore"),
    "link .dvcignore": linked(".dvcignore", "secret.txt"),
    "link dvc.yaml": lambda work, outside: (
        work.write("dvc.lock", LOCK.format(path="m")),
        link(work, "dvc.yaml", outside.secret),
    )[1],
    "link dvc.lock": linked("dvc.lock", "secret.txt"),
    "link config.py": linked("config/config.py", "secret.txt"),
    "link config": linked("config", "sub"),
    "link params.yaml": linked("params.yaml", "secret.txt"),
    "link Makefile": linked("Makefile", "secret.txt"),
    "link data": linked("data/a.csv", "secret.txt"),
    "link folder": linked("set", "sub"),
    "link folder inside": linked("set/sub", "sub"),
    "link member": linked("set/x.csv", "secret.txt"),
    "link store": _store_behind_a_link,
    # pipes that nobody writes to
    "pipe config": piped(".dvc/config"),
    "pipe config.local": piped(".dvc/config.local"),
    "pipe pointer": piped("data/a.csv.dvc", "data/new.csv.dvc"),
    "pipe rules": piped(".dvcignore"),
    "pipe rules inside": piped("set/.dvcignore"),
    "pipe dvc.lock": piped("dvc.lock"),
    "pipe dvc.yaml": lambda work, _: (
        work.write("dvc.lock", LOCK.format(path="m")),
        fifo(work, "dvc.yaml"),
    )[1],
    "pipe config.py": piped("config/config.py", "params.yaml"),
    "pipe data": piped("data/a.csv", "set/x.csv"),
    # settings that name somebody's folder
    "cache outside": config(STORAGE.format(url="../stores/blob") + "[cache]\n    dir = OUT/sub\n"),
    "store outside": config(STORAGE.format(url="OUT")),
    "store outside, relative": config(STORAGE.format(url="../../outside")),
    "store outside, file:": config(STORAGE.format(url="file://OUT")),
    "memory outside": config(
        STORAGE.format(url="../stores/blob")
        + "[state]\n    dir = OUT/sub\n[index]\n    dir = OUT/sub\n"
    ),
    "memory outside, core": config(
        "[core]\n    site_cache_dir = OUT/sub\n    hardlink_lock = true\n"
        + STORAGE.format(url="../stores/blob").removeprefix("[core]\n")
    ),
    # paths that lead where none may
    "path up": pointing("../outside/secret.txt"),
    "path absolute": files({"evil.dvc": "outs:\n- path: OUT/secret.txt\n  hash: md5\n"}),
    "path into .git": pointing(".git/hooks/post-checkout"),
    "path into .GIT": pointing("sub/.GIT/config"),
    "path into .dvc": pointing(".dvc/config.local"),
    "path into the store": pointing("stores/blob/files/md5/ab/" + "c" * 30),
    "path into the store's list": pointing("stores/blob/.mlrepro/clones/" + "c" * 32),
    "path around the store": listed("blob/files/md5/ab/" + "c" * 30, folder="stores"),
    "path into the cache": pointing(".dvc/cache/files/md5/ab/" + "c" * 30),
    "member up": listed("../../outside/x"),
    "member absolute": listed("/etc/evil"),
    "member into .git": listed(".git/hooks/pre-commit"),
    "member and folder": listed("a", "a/b"),
    "hash up": files({"evil.dvc": "outs:\n- md5: ../../../../outside/secret.txt\n  path: x\n"}),
    "stage outside": files(
        {
            "dvc.yaml": "stages:\n  train:\n    cmd: touch OUT/executed\n    wdir: ../outside\n"
            "    outs:\n    - secret.txt\n",
            "dvc.lock": LOCK.format(path="secret.txt"),
        }
    ),
    "output outside": files(
        {
            "dvc.yaml": "stages:\n  train:\n    cmd: x\n    outs:\n    - OUT/secret.txt\n",
            "dvc.lock": LOCK.format(path="OUT/secret.txt"),
        }
    ),
    "values outside": files(
        {
            "dvc.yaml": "params:\n- ../outside/secret.txt\n- OUT/secret.txt\nmetrics:\n"
            "- ../outside/secret.txt\nplots:\n- ../outside/secret.txt\n"
        }
    ),
    # data that is said to come from elsewhere
    "import of a file": _imported("- path: OUT/secret.txt\n"),
    "import of a file, known": _imported("- path: OUT/secret.txt\n  md5: OID\n  hash: md5\n"),
    "import of a repository": _imported(
        f"- path: secret.txt\n  repo:\n    url: OUT\n    rev_lock: {'a' * 40}\n"
    ),
    "import by a command": _imported(
        f"- path: x\n  repo:\n    url: 'ext::sh -c touch% OUT/executed'\n"
        f"    rev_lock: {'a' * 40}\n"
    ),
    # code and commands
    "code in values": files(
        {
            "evil.py": "import os\nos.system('touch OUT/executed')\nrate = 1\n",
            "config/config.py": "import os\nos.system('touch OUT/executed')\nTRACK = []\n",
            "dvc.yaml": "params:\n- evil.py\nvars:\n- evil.py\nstages:\n  train:\n"
            "    cmd: touch OUT/executed\n    outs:\n    - m\n",
            "dvc.lock": LOCK.format(path="m"),
        }
    ),
    "code in names": lambda work, _: (
        pointer(work, "$(touch executed).dvc", "$(touch executed)"),
        pointer(work, "`touch executed`;touch executed.dvc", "x"),
        commit(work),
    )[2],
    "options in names": lambda work, _: (
        work.write("--force", "x\n"),
        pointer(work, "--force.dvc", "--force"),
        pointer(work, "-rf.dvc", "-rf"),
        pointer(work, "--upload-pack=touch executed.dvc", "--upload-pack=touch executed"),
        commit(work),
    )[4],
    "escapes in names": lambda work, _: (
        work.write("x\x1b[2Jy.dvc", "x: \x1b]0;owned\x07\n"),
        work.write("a\x07\x1b[31mb.dvc", "outs:\n- md5: zz\n  path: x\n"),
        commit(work),
    )[2],
    # what takes for ever, or all memory
    "bomb of aliases": files({"evil.dvc": BOMB + "outs:\n- path: x\n"}),
    "bomb in pipelines": files(
        {"dvc.yaml": BOMB, "dvc.lock": BOMB, "params.yaml": BOMB, ".pre-commit-config.yaml": BOMB}
    ),
    "bomb beside a lock": files({"dvc.lock": LOCK.format(path="m"), "dvc.yaml": BOMB}),
    "deep": files(
        {
            "params.json": "[" * 900_000,
            "metrics.json": '{"a":' * 180_000,
            "params.toml": "a = " + "[" * 500_000,
            "deep.dvc": "outs: " + "[" * 500_000,
            "config/config.py": "A = " + "(" * 10_000 + "1" + ")" * 10_000 + "\n",
        }
    ),
    "large numbers": files(
        {
            "config/config.py": 'TRACK = ["a" * 10**9]\nA = 2**10**9\nB = 10**10**9\n'
            f"C = {'9' * 4000}\nD = 1 << 10**9\n",
            "params.json": f'{{"a": {"9" * 4000}, "b": 1e999999}}',
            "params.yaml": f"a: {'9' * 4000}\nb: 1{':59' * 4000}\n",
            "params.toml": f"a = 0x{'f' * 100_000}\n",
        }
    ),
    "loops of links": _loops,
    "a pattern over a link": _glob_over_a_link,
    "a pattern of stars": _many_stars,
    "patterns outside": files(
        {"config/config.py": 'TRACK = ["OUT/*", "../outside/*", "data/../../outside/*"]\n'}
    ),
    "slow rules": _slow_rules("!x\n" + "*a" * 20 + "*b\n", "a" * 200),
    "slow rules of folders": _slow_rules("!x\n" + "**/a/" * 20 + "b\n", "a/" * 100 + "c"),
    "slow rules of git's": lambda work, _: (
        work.write(f"set/{'a' * 200}", "x"),
        work.write(".gitignore", "*a" * 30 + "*b\n"),
    )[1] and None,
    "a listing of many files": lambda work, _: (
        listing(work, (f"{at:x}" for at in range(30_000)), oid_by_name=True),
        commit(work),
    )[1],
    "a listing of too many files": lambda work, _: (
        listing(work, (f"{at:x}" for at in range(MAX_MEMBERS + 1))),
        commit(work),
    )[1],
    "a listing of 250 MiB": _large_listing,
    "a listing not as DVC writes it": lambda work, _: pointer(
        work, "evil.dvc", "evil", blob(work, b"[" + b"{}," * 5_000_000 + b"{}]", ".dir")
    ),
}  # fmt: skip
