"""A secret goes through every door of the program, and comes out of none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from building import Repo
from fake_commands import Commands
from hooked import Hooked
from mlrepro import redaction

SECRET = "hunter2-hunter2"
URL = f"https://bob:{SECRET}@host/x"
LOUD = (
    f"{URL} s3://key:a/{SECRET}@bucket/p https://h/x?sv=1&sig={SECRET}&se=2 "
    f"AccountName=a;AccountKey={SECRET};EndpointSuffix=x AKIA{'Q' * 16}"
)


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


@pytest.mark.parametrize("flags", [[], ["-v"], ["--json"], ["--json", "-v"], ["-q"]])
def test_results_steps_and_errors(commands: Commands, flags: list[str]) -> None:
    commands.write(
        "push",
        f"""
        options.reporter.step({LOUD!r})
        options.reporter.note({LOUD!r})
        wrong = errors.StoreError({LOUD!r}, {LOUD!r}, path={URL!r})
        lost = Some(path={URL!r}, oid="0" * 32, commit="", author={LOUD!r}, date="")
        return Fake(
            errors=(wrong,), json=(("url", {LOUD!r}),),
            fields=(("stored", Some(count=0, bytes=0)), ("missing", (lost,))),
        )
        """,
    )
    line = commands.run("push", *flags)
    assert line.code == 1
    assert SECRET not in line.out + line.err and "AKIAQ" not in line.out + line.err
    assert "/bob:***@host/x" in line.out + line.err
    if "--json" in flags:
        assert line.envelope["data"]["url"].startswith("https://bob:***@host/x s3://key:***@bucket")


def test_the_name_of_a_setting_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", set())
    redaction.know_arguments(["--secret", "access_key_id", "--secret=session_token"])
    assert redaction.shown("access_key_id, session_token") == "access_key_id, session_token"
    redaction.know_arguments(["--password", "access_key_id", "--secret", SECRET])
    assert redaction.shown(f"access_key_id, {SECRET}") == "***, ***"


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_what_the_environment_and_the_line_hold(commands: Commands, flags: list[str]) -> None:
    body = f"raise errors.StoreError('the server says: {SECRET} is no good')"
    commands.write("push", body)
    env = commands.environ(AWS_SECRET_ACCESS_KEY=SECRET)
    line = commands.run("push", *flags, env=env)
    assert "the server says: *** is no good" in line.out + line.err
    assert SECRET not in line.out + line.err
    for wrong in (["--secret-key", SECRET], [f"--password={SECRET}"]):
        line = commands.run("push", *flags, *wrong)
        assert line.code == 2
        assert SECRET not in line.out + line.err


def test_a_bug(commands: Commands) -> None:
    commands.write("push", f"raise RuntimeError({LOUD!r})")
    line = commands.run("push", "--json", "-v", URL, env=commands.environ(API_TOKEN=SECRET))
    assert line.code == 3 and SECRET not in line.out + line.err
    (log,) = (commands.base / "home/state/mlrepro/log").iterdir()
    assert "RuntimeError" in log.read_text() and SECRET not in log.read_text()


def test_a_hook(plain: Hooked) -> None:
    repo: Repo = plain
    url = f"https://bob:{SECRET}@127.0.0.1:1/x"
    text = repo.read(".dvc/config").decode()
    lines = [f"    url = {url}" if "url = " in line else line for line in text.splitlines()]
    repo.write(".dvc/config", "\n".join(lines) + "\n")
    done = repo.git("commit", "--quiet", "-a", "-m", "x", check=False)
    assert done.returncode == 1
    assert "secret" in done.stderr and SECRET not in done.stdout + done.stderr
    told = repo.mlrepro("push", "-v")
    assert told.exit_code == 1 and SECRET not in told.stdout + told.stderr


def test_what_is_known_is_found_as_json_writes_it() -> None:
    secret = 'qu"ote\\é' + "7" * 10
    redaction.know(secret, "short")
    try:
        assert redaction.shown(f"a {secret} b short") == "a *** b short"
        assert redaction.shown(json.dumps({"x": secret})) == '{"x": "***"}'
    finally:
        redaction._known.clear()


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/a@b:c",
        "https://host:80/a:b@c",
        "https://me:<password>@host/x",
        "data/token: its content 0123 is in neither cache nor store",
        "git clone ssh://me@host:22/x && cd 'a:b@c'",
    ],
)
def test_messages_of_our_own_stay_whole(text: str) -> None:
    assert redaction.shown(text) == text
