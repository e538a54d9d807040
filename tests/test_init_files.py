"""init beside files of the user's: what it adds to each, and that it never changes a line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from building import git
from working import NEW, Work, snapshot


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work.make(tmp_path / "repo")


def valid_yaml(work: Work) -> list[str]:
    """The ids of all hooks, as pre-commit itself reads its file."""
    from pre_commit.clientlib import load_config

    config = load_config(str(work.path(".pre-commit-config.yaml")))
    return [hook["id"] for repo in config["repos"] for hook in repo["hooks"]]


MAKEFILES = [
    ("", "Makefile", True),
    ("all:\n\ttrue\n", "Makefile", True),
    ("all:\n\ttrue", "Makefile", True),
    ("dvc:\n\techo own\n", "Makefile", False),
    (".PHONY: dvc\ndvc: all\n\techo own\nall: ;\n", "Makefile", False),
    ("dvc := value\nall: ;\n", "Makefile", True),
    ("all dvc:\n\techo own\n", "Makefile", False),
    ("all: ;\n", "GNUmakefile", True),
    ("all: ;\n", "makefile", True),
]


@pytest.mark.parametrize(("text", "name", "added"), MAKEFILES)
def test_a_makefile_of_the_users_own(work: Work, text: str, name: str, added: bool) -> None:
    work.write(name, text)
    done = work.init()
    after = work.read(name).decode()
    assert after.startswith(text)
    assert (after != text) == added
    assert any("dvc" in line for line in done.advice) != added
    assert {"Makefile", "GNUmakefile", "makefile"} & set(os.listdir(work.root)) == {name}
    said = work.make_dvc()
    assert ("own" in said) != added
    work.init()
    assert work.read(name).decode() == after


HOOK = "{id: a, name: a, entry: a, language: system}"
PRE_COMMIT = {
    "indented": f"repos:\n  - repo: local\n    hooks:\n      - {HOOK}\n",
    "flush": f"repos:\n- repo: local\n  hooks:\n  - {HOOK}\n",
    "deep": f"repos:\n    -   repo: local\n        hooks:\n        -   {HOOK}\n",
    "no last newline": f"repos:\n- repo: local\n  hooks:\n  - {HOOK}",
    "keys first": "default_stages: [pre-commit]\nfail_fast: true\n\nrepos:  # ours\n\n  # first\n"
    f"  - repo: local\n    hooks:\n      - {HOOK}\n\n# the end\n",
    "repos not last": f"repos:\n  - repo: local\n    hooks:\n      - {HOOK}\n\n# about this\n"
    "fail_fast: false\n",
    "empty list": "repos: []\n",
    "empty list first": "repos: []  \nfail_fast: false\n",
    "with a start": f"# a\n---\nrepos:\n- repo: local\n  hooks:\n  - {HOOK}\n",
    "crlf": f"repos:\r\n- repo: local\r\n  hooks:\r\n  - {HOOK}\r\n",
}
PRE_COMMIT_KEPT = {
    "flow": f"repos: [{{repo: local, hooks: [{HOOK}]}}]\n",
    "ours": "repos:\n- repo: local\n  hooks:\n  - id: dvc\n    name: a\n    entry: a\n"
    "    language: system\n",
    "with an end": f"repos:\n- repo: local\n  hooks:\n  - {HOOK}\n...\n",
    "quoted": f'"repos":\n- repo: local\n  hooks:\n  - {HOOK}\n',
}


SHAPES = [
    pytest.param(name, marks=pytest.mark.slow) if at % 2 else name
    for at, name in enumerate(PRE_COMMIT)
]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_pre_commit_config_of_the_users_own(work: Work, shape: str) -> None:
    text = PRE_COMMIT[shape]
    work.write(".pre-commit-config.yaml", text)
    work.init(hooks=None)
    after = work.read(".pre-commit-config.yaml").decode()
    left = iter(after.splitlines())
    kept = [line for line in text.splitlines() if not line.startswith("repos: []")]
    assert all(line in left for line in kept)  # all of them, in this order
    assert valid_yaml(work) == (["dvc"] if "empty" in shape else ["a", "dvc"])
    assert not work.init(hooks=None).changed


@pytest.mark.parametrize("shape", PRE_COMMIT_KEPT)
def test_a_pre_commit_config_that_is_not_touched(work: Work, shape: str) -> None:
    text = PRE_COMMIT_KEPT[shape]
    work.write(".pre-commit-config.yaml", text)
    done = work.init(hooks=None)
    assert work.read(".pre-commit-config.yaml").decode() == text
    assert valid_yaml(work) == (["dvc"] if shape == "ours" else ["a"])
    assert bool(done.advice) == (shape != "ours")
    assert all("repos:" in line for line in done.advice)


REQUIREMENTS = [
    ("", True), ("pandas\n", True), ("pandas", True), ("dvc\n", False), ("DVC>=3\n", False),
    ("dvc[s3]==3.50 ; python_version > '3'\n", False), ("  dvc ~= 3.1\n", False),
    ("dvc-s3\ndvclive==3\n", True), ("# dvc\n", True), ("dvc @ https://x/y.whl\n", False),
]  # fmt: skip


@pytest.mark.parametrize(("text", "added"), REQUIREMENTS)
def test_requirements(work: Work, text: str, added: bool) -> None:
    import dvc

    work.write("requirements.txt", text)
    done = work.init()
    after = work.read("requirements.txt").decode()
    assert after.startswith(text)
    assert (f"dvc=={dvc.__version__}" in after.splitlines()) == added
    assert ("requirements.txt" in done.changed) == added
    assert "requirements.txt" not in work.staged


def test_no_requirements_are_made(work: Work) -> None:
    work.init()
    assert not work.path("requirements.txt").exists()


HIDING = {
    "data": {".gitignore": "data/\n"},
    "data without slash": {".gitignore": "/data\n"},
    "what is in data": {".gitignore": "data/*\n"},
    "everything": {".gitignore": "*\n"},
    "pointers": {".gitignore": "*.dvc\n"},
    "deep": {".gitignore": "**/data/**\n"},
    "config": {".gitignore": "config\n.dvc\n"},
    "dot files": {".gitignore": ".*\n"},
    "nested": {"data/.gitignore": "*\n", "data/raw/keep.txt": "k"},
    "exclude": {".git/info/exclude": "data/\n*.dvc\n"},
    "no last newline": {".gitignore": "data/"},
}


LESS = ("data without slash", "what is in data", "deep", "config", "no last newline")
CASES = [one if one not in LESS else pytest.param(one, marks=pytest.mark.slow) for one in HIDING]


@pytest.mark.parametrize("case", [*CASES, "global"])
def test_rules_that_hide_what_git_has_to_see(work: Work, case: str, private_machine: Path) -> None:
    if case == "global":
        (private_machine / "ignored").write_text("data\n*.dvc\nMakefile\n")
        git(work.root, "config", "core.excludesFile", str(private_machine / "ignored"))
    files = HIDING.get(case, {})
    for name, text in files.items():
        work.write(name, text)
    kept = {"data/big.csv": "raw", "data/raw/other.bin": "raw"}
    for name, text in kept.items():
        work.write(name, text)
    hidden = set(work.raw)
    work.init(hooks=None)
    for name, text in files.items():
        assert work.read(name).decode().startswith(text)
    named = {*NEW, "data/any.csv.dvc"} - {".gitignore"}
    work.write("data/any.csv.dvc", "")
    listed = work.git("check-ignore", "--no-index", *sorted(named), check=False).stdout
    assert listed == ""
    work.path("data/any.csv.dvc").unlink()
    assert set(work.raw) <= {*hidden, *files}  # nothing that was hidden shows now
    assert NEW - {".gitignore"} <= work.staged
    before = snapshot(work.root)
    assert work.init(hooks=None).changed == ()
    assert snapshot(work.root) == before
    for name in kept:
        assert work.track(name).exit_code == 0
        work.write("data/raw/new.bin", "raw")
    assert [name for name in work.raw if name in kept] == []
    assert {"data/big.csv.dvc", "data/raw/other.bin.dvc"} <= work.staged
