"""Shows the main job before the reader's eyes: three commits, a clone elsewhere, and the way back.

Works in a folder and with a configuration of its own; ``--keep`` leaves the folder there.
Exits 1 if any file that was brought back differs from what was there.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent

TRAIN = '''\
"""Counts which words go with which tag: a small model, but a real one."""

import csv
import json
from collections import Counter, defaultdict

MIN_COUNT = 1  # how often a word must be seen with a tag

words = defaultdict(Counter)
with open("data/labeled_projects.csv", newline="") as file:
    for row in csv.DictReader(file):
        words[row["tag"]].update(f"{row['title']} {row['description']}".lower().split())
model = {
    tag: {word: count for word, count in sorted(counts.items()) if count >= MIN_COUNT}
    for tag, counts in sorted(words.items())
}
with open("models/tagger.json", "w") as file:
    json.dump(model, file, indent=1)
'''

GITCONFIG = """\
[user]
    name = Demo
    email = demo@example.org
[init]
    defaultBranch = main
[advice]
    detachedHead = false
"""

# What is no part of a snapshot: git's and DVC's own folders, and the store.
NOT_COMPARED = {".git", ".dvc", "stores", "__pycache__"}


class Demo:
    """A folder of its own, what was seen in it at each version, and what comparing came to."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.folder = top
        self.versions: dict[str, dict[str, str]] = {}
        self.compared = 0
        self.compared_bytes = 0
        self.different: list[str] = []
        self.env = self._environment()

    def _environment(self) -> dict[str, str]:
        """The user's own, without what would let it act on this, or this on it."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("GIT_", "DVC_", "MLREPRO_", "MAKE", "MFLAGS", "PRE_COMMIT"))
        }
        home = self.top / "home"
        home.mkdir()
        (home / "gitconfig").write_text(GITCONFIG)
        own = {
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "GIT_CONFIG_GLOBAL": str(home / "gitconfig"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "PRE_COMMIT_HOME": str(home / "pre-commit"),
            "DVC_GLOBAL_CONFIG_DIR": str(home / "dvc-global"),
            "DVC_SYSTEM_CONFIG_DIR": str(home / "dvc-system"),
            "DVC_SITE_CACHE_DIR": str(home / "dvc-site"),
            "DVC_NO_ANALYTICS": "1",
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_STATE_HOME": str(home / "state"),
        }
        return kept | own

    def say(self, text: str) -> None:
        """What comes next, and why."""
        print(f"\n{text}\n", flush=True)

    def enter(self, name: str) -> None:
        """Go to a folder beside the present one."""
        print(f"$ cd {'' if self.folder == self.top else '../'}{name}", flush=True)
        self.folder = self.top / name

    def run(self, line: str, expect: Sequence[int] = (0,)) -> str:
        """Run one command line, show it with what it says, and give that back."""
        print(f"$ {line}", flush=True)
        argv = shlex.split(line)
        done = subprocess.run(
            [self.program(argv[0]), *argv[1:]],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        for said in done.stdout.splitlines():
            print(f"  {said}", flush=True)
        if done.returncode not in expect:
            sys.exit(f"error: `{line}` ended with exit code {done.returncode}")
        return done.stdout

    def program(self, name: str) -> str:
        """The program that a name means: one of this environment first."""
        if name == "python":
            return sys.executable
        return shutil.which(name, path=self.env["PATH"]) or name

    def remember(self, version: str) -> None:
        """Note the md5 of every file, and give the commit its tag."""
        self.run(f"git tag {version}")
        self.versions[version] = self.md5s()

    def md5s(self) -> dict[str, str]:
        """The md5 of every file of the snapshot in the present folder."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder)
            if path.is_file() and not NOT_COMPARED.intersection(name.parts):
                found[str(name)] = hashlib.md5(path.read_bytes()).hexdigest()
        return found

    def compare(self, version: str) -> None:
        """Hold every file against what was there at ``version``; show those that ever change."""
        then, now = self.versions[version], self.md5s()
        print(f"\n  {'file':<29} {'md5 at ' + version:<33} md5 now")
        quiet = 0
        for name in sorted(then | now):
            before, after = then.get(name, "(not there)"), now.get(name, "(not there)")
            same = before == after
            self.compared += 1
            if same:
                self.compared_bytes += (self.folder / name).stat().st_size
            else:
                self.different.append(f"{name} at {version}")
            if same and len({md5s.get(name) for md5s in self.versions.values()}) == 1:
                quiet += 1
                continue
            print(f"  {name:<29} {before:<33} {after:<33} {'the same' if same else 'DIFFERENT'}")
        print(f"  and {quiet} files that no version changes: the same\n")


def main() -> int:
    """Run the demonstration; the exit code is 1 where anything came back otherwise than it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the folder there")
    keep = parser.parse_args().keep
    began = time.monotonic()
    top = Path(tempfile.mkdtemp(prefix="mlrepro-demo-")).resolve()
    proven = False
    try:
        demo = Demo(top)
        first_version(demo)
        two_changes(demo)
        elsewhere(demo)
        proven = conclude(demo, time.monotonic() - began)
    finally:
        if keep or not proven:
            print(f"\nAll of it is still in {top}", flush=True)
        else:
            shutil.rmtree(top, ignore_errors=True)
    return 0 if proven else 1


def first_version(demo: Demo) -> None:
    """A project with three tables and a model, set up and committed."""
    demo.say("1. A project: code in git, data and a model through mlrepro.")
    demo.run("git init project")
    demo.enter("project")
    (demo.folder / "train.py").write_text(TRAIN)
    (demo.folder / "models").mkdir()
    (demo.folder / "README.md").write_text("# Which tag does a project get?\n")
    shutil.copy(HERE / "generate_data.py", demo.folder)
    demo.run("python generate_data.py")
    demo.run("python train.py")
    demo.run("mlrepro init")
    tables = "data/projects.csv data/tags.csv data/labeled_projects.csv"
    demo.run(f"mlrepro track {tables} models/tagger.json")
    demo.run("git add --all")
    demo.run("git commit --quiet -m 'First version'")
    demo.remember("v1")


def two_changes(demo: Demo) -> None:
    """An edit of code and data together, and one of data alone."""
    demo.say("2. More data, a stricter model: code and data are edited, then git alone is called.")
    train = demo.folder / "train.py"
    train.write_text(TRAIN.replace("MIN_COUNT = 1", "MIN_COUNT = 2"))
    demo.run("python generate_data.py --projects 360")
    demo.run("python train.py")
    demo.run("git commit -am 'More projects, rare words left out'")
    demo.remember("v2")

    demo.say(
        "3. Data alone is edited. git looks for changes before it calls the hook, so it takes the\n"
        "   same command twice: the first stages the new pointer, the second commits it."
    )
    tags = demo.folder / "data" / "tags.csv"
    tags.write_text(tags.read_text().replace("mlops", "operations"))
    demo.run("git commit -am 'Call the tag by its full name'", expect=(1,))
    demo.run("git commit -am 'Call the tag by its full name'")
    demo.remember("v3")


def elsewhere(demo: Demo) -> None:
    """A clone in another folder: the newest version, then every other one."""
    demo.say("4. Elsewhere: a clone has code and pointers; pull brings the data and checks it.")
    demo.folder = demo.top
    print("$ cd ..")
    demo.run("git clone --quiet project clone")
    demo.enter("clone")
    demo.run("mlrepro init")
    demo.run("mlrepro pull")
    demo.compare("v3")

    demo.say("5. Back to the first version, with nothing but git: data and model follow.")
    demo.run("git checkout --quiet v1")
    demo.compare("v1")
    demo.run("git checkout --quiet v2")
    demo.compare("v2")

    demo.say("6. And the proof for all commits at once.")
    demo.run("mlrepro verify --all --deep")


def conclude(demo: Demo, seconds: float) -> bool:
    """Say what was proven, or what was not; gives back whether it was."""
    if demo.different:
        print(f"\nNOT PROVEN: {len(demo.different)} of {demo.compared} files came back different:")
        for name in demo.different:
            print(f"  {name}")
        return False
    print(
        f"\nProven: {len(demo.versions)} commits brought back in a clone, {demo.compared} of"
        f" {demo.compared} files ({demo.compared_bytes:,} bytes) equal by md5 to what was there;"
        f" {seconds:.1f} s."
    )
    return True


if __name__ == "__main__":
    sys.exit(main())
