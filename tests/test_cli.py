"""The contract of the command line: envelope, exit codes, global flags, paths, streams."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fake_commands import NOTHING_STORED, Commands
from mlrepro import cli, parser
from mlrepro.call import parse_plain

if TYPE_CHECKING:
    from pathlib import Path

MODULE = [sys.executable, "-m", "mlrepro"]


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    made = Commands(tmp_path)
    made.write("push", NOTHING_STORED)
    return made


def test_the_envelope_of_success(commands: Commands) -> None:
    commands.write(
        "status", "return Fake(json=(('clean', True), ('files', [{'path': 'a', 'state': 'x'}])))"
    )
    line = commands.run("status", "--json")
    assert line.envelope == {
        "version": 1,
        "command": "status",
        "status": "ok",
        "exit_code": 0,
        "data": {"clean": True, "files": [{"path": "a", "state": "x"}]},
        "errors": [],
    }
    assert list(line.envelope) == ["version", "command", "status", "exit_code", "data", "errors"]
    assert (line.code, line.err) == (0, "")


def test_the_envelope_of_findings_and_of_errors(commands: Commands) -> None:
    commands.write(
        "push", "return Fake(errors=(errors.BlobMissing('Gone: a', 'get it', path='a'),))"
    )
    line = commands.run("push", "--json")
    found = {"code": "blob-missing", "message": "Gone: a", "hint": "get it", "path": "a"}
    assert line.envelope["errors"] == [found]
    assert (line.envelope["status"], line.envelope["exit_code"], line.code) == ("findings", 1, 1)
    commands.write("push", "raise errors.StoreError('No store.', 'mlrepro init', oid='ab')")
    line = commands.run("--json", "push")
    failed = {"code": "store-failed", "message": "No store.", "hint": "mlrepro init", "oid": "ab"}
    assert line.envelope == {
        "version": 1,
        "command": "push",
        "status": "error",
        "exit_code": 1,
        "data": {},
        "errors": [failed],
    }
    assert (line.code, line.err) == (1, "error: No store.\n  hint: mlrepro init\n")


USAGE = [
    (["--nope"], ""),
    pytest.param(["push", "--nope"], "push", marks=pytest.mark.slow),
    pytest.param(["frobnicate"], "", marks=pytest.mark.slow),
    ([], ""),
    pytest.param(["resolve", "--ours"], "resolve", marks=pytest.mark.slow),
    pytest.param(["resolve", "a"], "resolve", marks=pytest.mark.slow),
    pytest.param(["resolve", "a", "--ours", "--theirs"], "resolve", marks=pytest.mark.slow),
    (["push", "-j", "many"], "push"),
    pytest.param(["push", "-j", "-1"], "push", marks=pytest.mark.slow),
    pytest.param(["push", "-C"], "push", marks=pytest.mark.slow),
    (["-C", "no-such-folder", "push"], "push"),
    pytest.param(["-q", "push", "-v"], "push", marks=pytest.mark.slow),
    pytest.param(["push", "-q", "-v"], "push", marks=pytest.mark.slow),
    (["hook"], "hook"),
    pytest.param(["hook", "--explain", "pre-push"], "hook", marks=pytest.mark.slow),
    (["init", "--hooks", "husky"], "init"),
]


@pytest.mark.parametrize(("arguments", "verb"), USAGE)
def test_wrong_usage(commands: Commands, arguments: list[str], verb: str) -> None:
    for name in ("init", "resolve"):
        commands.write(name, "raise AssertionError")
    for given in ([*arguments, "--json"], ["--json", *arguments]):
        if given[-2:] == ["-C", "--json"]:
            continue  # that is a folder of this name
        line = commands.run(*given)
        assert (line.code, line.envelope["exit_code"]) == (2, 2)
        assert line.envelope["status"] == "error"
        assert line.envelope["command"] == verb
        assert [error["code"] for error in line.envelope["errors"]] == ["usage"]
        assert line.envelope["errors"][0]["hint"]
    if arguments:
        line = commands.run(*arguments)
        assert (line.code, line.out) == (2, "")
        message, hint = line.err.splitlines()
        assert message.startswith("error: ")
        assert hint.startswith("  hint: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["-C", "sub", "-j", "3", "-y", "--dry-run", "track", "a"],
        ["track", "a", "-C", "sub", "-j3", "--yes", "--dry-run"],
        ["--dry-run", "-C", "..", "track", "-y", "-C", "repo/sub", "--jobs", "3", "a"],
    ],
)
def test_global_flags_before_and_after_the_verb(commands: Commands, arguments: list[str]) -> None:
    (commands.repo / "sub").mkdir()
    seen = "options.jobs, options.dry_run, options.yes, args['paths'], os.getcwd(), project.cwd"
    commands.write("track", f"raise errors.Refused(repr(({seen})))", head="import os")
    message = commands.run("--json", *arguments).envelope["errors"][0]["message"]
    here = str(commands.repo / "sub")
    assert message == repr((3, True, True, ["a"], here, here))


PLAIN = (
    "track",
    "track a b",
    "status",
    "status --json",
    "-q track x",
    "push HEAD main -v",
    "pull --dry-run -y",
    "--verbose pull a --yes",
    "--json --quiet push",
    "log",
    "log a --json",
    "config",
    "config HEAD",
    "diff",
    "diff HEAD~1 HEAD data",
)
NOT_PLAIN = (
    "",
    "-q",
    "track -- a",
    "status a",
    "track -j 1",
    "-q -v track",
    "pull --force",
    "x",
    "log a b",
)


def test_the_plain_parser_agrees_with_the_full_one(monkeypatch: pytest.MonkeyPatch) -> None:
    known = ["track", "push", "pull", "status", "hook", "log", "diff", "config"]
    monkeypatch.setattr(parser, "registered", lambda: known)
    for line in PLAIN:
        plain = parse_plain(line.split())
        assert plain is not None
        assert plain == parser.parse(line.split())
    for line in NOT_PLAIN:
        assert parse_plain(line.split()) is None


@pytest.mark.parametrize(
    "arguments", [["--version"], ["--help"], ["push", "--help"], ["hook", "--help"]]
)
def test_help_and_version_outside_a_repository(commands: Commands, arguments: list[str]) -> None:
    outside = commands.base / "empty"
    for start in (MODULE, commands.argv()):
        done = subprocess.run(
            [*start, *arguments],
            cwd=outside,
            env=commands.environ(),
            capture_output=True,
            check=True,
        )
        assert done.stdout.startswith((b"mlrepro ", b"Usage: mlrepro "))
        assert not done.stderr
    line = commands.run(*arguments, "--json", cwd=outside)
    assert line.envelope["data"]["text"].startswith(("mlrepro ", "Usage: mlrepro "))


def test_no_arguments_show_the_help(commands: Commands) -> None:
    line = commands.run()
    assert (line.code, line.out[:14], line.err) == (2, "Usage: mlrepro", "")


def test_shell_completion_outside_a_repository(commands: Commands) -> None:
    env = commands.environ(
        _MLREPRO_COMPLETE="complete_bash", COMP_WORDS="mlrepro pu", COMP_CWORD="1"
    )
    line = commands.run(cwd=commands.base / "empty", env=env)
    assert line.out.split() == ["push", "pull"]


def test_outside_a_repository(commands: Commands) -> None:
    line = commands.run("push", "--json", cwd=commands.base / "empty")
    assert (line.code, line.envelope["errors"][0]["code"]) == (1, "not-a-repository")


def test_in_a_folder_that_is_gone(commands: Commands) -> None:
    gone = commands.base / "gone"
    gone.mkdir()
    script = f'cd {gone} && rmdir {gone} && exec "$@"'
    argv = ["sh", "-c", script, "sh", *commands.argv("push", "--json")]
    done = subprocess.run(argv, env=commands.environ(), capture_output=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["errors"][0]["code"]) == (1, "folder-gone")


def test_a_hook_goes_through_its_own_door(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    taken: list[list[str]] = []

    def door(arguments: list[str]) -> int:
        taken.append(arguments)
        return 5

    monkeypatch.setattr("mlrepro.hook.main", door)
    monkeypatch.chdir(commands.repo)
    raw = ["pre-push", "--json", "-q", "--", "--explain"]
    assert cli.main(["hook", *raw]) == 5
    assert cli.main(["-C", ".", "hook", *raw]) == 5
    assert taken == [raw, raw]
    assert capfd.readouterr().out == ""
    assert cli.main(["--json", "hook", "post-merge"]) == 5
    assert json.loads(capfd.readouterr().out)["exit_code"] == 5


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import mlrepro.cli", {"dvc", "pydantic", "typer", "rich", "click"}),
        ("import mlrepro.parser, mlrepro.render", {"dvc", "pydantic"}),
        ("from mlrepro.cli import main; main(['push'])", {"dvc", "pydantic", "typer", "rich"}),
    ],
)
def test_what_is_not_imported(commands: Commands, statement: str, absent: set[str]) -> None:
    fakes = f"mlrepro.commands.__path__.insert(0, {str(commands.base / 'fakes')!r})"
    code = f"import sys, mlrepro.commands; {fakes}; {statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=commands.repo,
        env=commands.environ(),
        capture_output=True,
        check=True,
    )
    assert not absent & set(done.stdout.decode().splitlines()[-1].split())
