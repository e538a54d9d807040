"""DVC's config as data: whatever is read here, DVC reads alike; what is written, DVC reads back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from mlrepro import dvcconfig
from mlrepro.dvcconfig import load_text, remote_section, set_values
from mlrepro.errors import ConfigError

USUAL = """\
# ours
[core]
    remote = storage
    autostage = false   # git stages
['remote "storage"']
    url = ../../stores/blob

['remote "cloud"']
    url = s3://bucket/a#b
    profile = "team, one"
[cache]
\ttype = copy
"""


def flat(conf: dict[str, Any]) -> dict[str, dict[str, str]]:
    """DVC's nested config with sections named as here; the empty ones left out."""
    found = {}
    for section, values in conf.items():
        if section in ("remote", "machine", "db"):
            found.update({f'{section} "{name}"': dict(part) for name, part in values.items()})
        else:
            found[section] = dict(values) if isinstance(values, dict) else values
    return {section: values for section, values in found.items() if values}


def dvc_text(text: str, folder: Path) -> dict[str, dict[str, str]]:
    """What DVC reads from one config file."""
    from dvc.config import Config

    file = folder / "config"
    file.write_text(text, encoding="utf-8", newline="")
    return flat(Config.load_file(str(file)))


def filled(sections: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    return {section: values for section, values in sections.items() if values}


def refused(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_text(text)
    assert caught.value.code == "dvc-config-unknown"
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "# only a comment",
        USUAL,
        USUAL.replace("\n", "\r\n"),
        "[core]\nremote=a",
        "[ core ] # x ]\n  'remote' = 'a' # b, c\n",
        '[remote "a b"]\nurl = x\n[ "cache" ]\ndir = "~/x"\n',
        "['remote \"A\"']\nURL = X y  z\n",
        "[core]\nempty =\nquoted = ''\ncomment = # x\nboth = \"a # 'b'\"\nit = it's \"so\"\n",
        "[core]\na-b.c_d = é ü 日本\n",
        "['remote \"über\"']\nurl = %s %% $x ${y} [z]\n",
        "[state]\n[core]\n[cache]\n",
        "[core]\n= x\n".replace("= x", "k = = x == y"),
    ],
)
def test_what_dvc_writes_is_read(text: str, tmp_path: Path) -> None:
    assert filled(load_text(text)) == dvc_text(text, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "remote = x",
        "[core",
        "[core] x",
        "[[core]]\n",
        "[core]\n[[nested]]\n",
        "[core]\nremote\n",
        "[core]\n= x\n",
        "[core]\nremote = a, b\n",
        "[core]\nremote = ,\n",
        "[core]\nremote = 'a\n",
        "[core]\nremote = 'a' b\n",
        "[core]\nremote = 'a'b'\n",
        "[core]\nremote = '''a'''\n",
        '[core]\nremote = """a\nb"""\n',
        "[core]\na = b\nb = %(a)s\n",
        "[core]\na = b\na = c\n",
        "[core]\na = b\nA = c\n",
        "[core]\n[core]\n",
        "[core]\n[Core]\n",
        "['remote \"a\"']\n['remote \"A\"']\n",
        "[remote]\nurl = x\n",
        "['remote \"\"']\nurl = x\n",
        "['remote a']\nurl = x\n",
        "[core]\na = b\x0bc\n",
        "[core]\na = b\u2028[cache]\n",
        "[core]\na = \xa0b\n",
        "\ufeff[core]\n",
        "[core]\na = 'b' # it's, c\n",
        "<<<<<<< ours\n[core]\n=======\n>>>>>>> theirs\n",
    ],
)
def test_what_is_outside_the_grammar_is_left_to_dvc(text: str) -> None:
    refused(text)


def test_a_refusal_names_file_and_line() -> None:
    error = refused("[core]\n\n  remote = a, b\n")
    assert error.message.startswith(".dvc/config line 3 ")
    assert "merge conflict" in refused("[core]\n<<<<<<< HEAD\n").message


_LINE = st.text("[]\"'=#, \tab%(s)\\u.é", max_size=14)
_PARTS = st.one_of(
    _LINE,
    st.sampled_from(["[core]", "['remote \"a\"']", '[remote "b"]', "[cache] # c", "[ 'core' ]"]),
    st.tuples(st.sampled_from(["url", "'url'", "Dir", "a b"]), _LINE).map(" = ".join),
    st.text("ab'\"#,= ", max_size=8).map(lambda v: f'k = "{v}"'),
)


@given(st.lists(_PARTS, max_size=6).map("\n".join))
def test_nothing_is_read_otherwise_than_dvc_reads_it(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    try:
        found = load_text(text)
    except ConfigError:
        refused(text)
        return
    assert filled(found) == dvc_text(text, tmp_path_factory.mktemp("one"))


@pytest.fixture
def dvc_dir(tmp_path: Path) -> Path:
    """A DVC folder with a file at each level, each of which sets some of the same keys."""
    folder = tmp_path / "repo" / ".dvc"
    folder.mkdir(parents=True)
    system = Path(os.environ["DVC_SYSTEM_CONFIG_DIR"])
    system.mkdir()
    (system / "config").write_text("[core]\nremote = sys\n[cache]\ndir = shared\n")
    Path(os.environ["DVC_GLOBAL_CONFIG_DIR"], "config").write_text(
        "[core]\nremote = user\nanalytics = false\n"
        "['remote \"mine\"']\nurl = blobs\nkeyfile = ~/k\n"
    )
    (folder / "config").write_text(USUAL + "['remote \"abs\"']\nurl = /mnt/../x\nport = 2\n")
    (folder / "config.local").write_text(
        "[core]\nREMOTE = Cloud\n['remote \"cloud\"']\nsecret_access_key = 'a#b'\nkeyfile = ../k\n"
        "['remote \"home\"']\nurl = ~/blobs\n['remote \"who\"']\nurl = ~nobody-here/x\n"
    )
    return folder


def test_the_levels_merge_as_in_dvc(dvc_dir: Path) -> None:
    from dvc.config import Config

    found = dvcconfig.load(str(dvc_dir), os.environ)
    assert found.sections == flat(Config(str(dvc_dir), validate=False))
    assert found.remote_name == "cloud"
    assert found.remote()["url"] == "s3://bucket/a"
    assert found.remote("STORAGE")["url"] == str(dvc_dir.parent.parent / "stores" / "blob")
    home = Path(os.environ["HOME"])
    assert found.remote("home")["url"] == str(home / "blobs")
    assert found.remote("mine")["url"] == str(home / "dvc-global" / "blobs")
    assert found.cache_dir == str(Path(os.environ["DVC_SYSTEM_CONFIG_DIR"], "shared"))
    levels = [found.level_of("core", key) for key in ("remote", "analytics", "autostage", "no")]
    assert levels == ["local", "global", "repo", ""]
    assert found.level_of('Remote "cloud"', "KEYFILE") == "local"
    assert found.level_of(remote_section("cloud"), "url") == "repo"


def test_without_any_file_all_is_default(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "etc")}
    found = dvcconfig.load(str(tmp_path / ".dvc"), environ)
    assert (found.sections, found.remote_name) == ({}, "")
    assert found.cache_dir == str(tmp_path / ".dvc" / "cache")
    for name in ("", "x"):
        with pytest.raises(ConfigError) as caught:
            found.remote(name)
        assert caught.value.code == "dvc-remote-missing"


@pytest.mark.parametrize(
    "text", ["[cache]\ndir = s3://x/y\n", "[cache]\nlocal = storage\n"], ids=["url", "by name"]
)
def test_a_cache_that_is_no_folder_is_left_to_dvc(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    found = dvcconfig.load(str(tmp_path), {"HOME": str(tmp_path)})
    with pytest.raises(ConfigError) as caught:
        assert found.cache_dir
    assert caught.value.code == "dvc-config-unknown"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"XDG_CONFIG_HOME": "/x/home", "XDG_CONFIG_DIRS": "/x/one:/x/two"},
        {"XDG_CONFIG_HOME": "", "XDG_CONFIG_DIRS": ""},
        {"DVC_GLOBAL_CONFIG_DIR": "/x/global", "DVC_SYSTEM_CONFIG_DIR": ""},
        {"DVC_GLOBAL_CONFIG_DIR": "", "DVC_SYSTEM_CONFIG_DIR": "/x/system", "HOME": "/x/me"},
    ],
)
def test_the_levels_lie_where_dvc_has_them(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.config import Config

    for name in list(os.environ):
        if name.startswith(("XDG_", "DVC_")):
            monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert dvcconfig.config_files("/r/.dvc", os.environ) == Config("/r/.dvc", validate=False).files


def test_home_is_found_without_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    files = dvcconfig.config_files("/r/.dvc", {})
    assert files["global"].startswith(os.path.expanduser("~") + "/")


def test_what_cannot_be_opened_or_understood_is_told(tmp_path: Path) -> None:
    place, environ = tmp_path / "config", {"HOME": str(tmp_path)}
    for make, code in (
        (place.mkdir, "dvc-config-unreadable"),
        (lambda: os.mkfifo(place), "dvc-config-unreadable"),
        (lambda: place.write_bytes(b"[core]\nremote = \xff\n"), "dvc-config-unknown"),
        (lambda: place.write_bytes(b"#" * (dvcconfig.MAX_BYTES + 1)), "dvc-config-unknown"),
    ):
        make()
        with pytest.raises(ConfigError) as caught:
            dvcconfig.load(str(tmp_path), environ)
        assert (caught.value.code, caught.value.path) == (code, ".dvc/config")
        place.rmdir() if place.is_dir() else place.unlink()
    place.write_bytes(b"#" * dvcconfig.MAX_BYTES)
    assert dvcconfig.load(str(tmp_path), environ).sections == {}


def test_a_new_file_is_as_dvc_writes_it(tmp_path: Path) -> None:
    from dvc.config import Config

    (tmp_path / "config").touch()
    with Config(str(tmp_path), validate=False).edit("repo", validate=False) as conf:
        conf["core"]["remote"] = "storage"
        conf["cache"]["type"] = "copy"
        conf["remote"]["storage"] = {"url": "s3://b/x, y", "profile": "a#b"}
    text = set_values("", "core", {"remote": "storage"})
    text = set_values(text, "cache", {"type": "copy"})
    text = set_values(text, remote_section("Storage"), {"url": "s3://b/x, y", "profile": "a#b"})
    assert sorted(text.splitlines()) == sorted((tmp_path / "config").read_text().splitlines())
    assert filled(load_text((tmp_path / "config").read_text())) == load_text(text)


def test_an_edit_keeps_every_other_line(tmp_path: Path) -> None:
    text = set_values(USUAL, "core", {"remote": "cloud", "autostage": "false"})
    assert text == USUAL.replace("= storage", "= cloud")
    text = set_values(text, remote_section("storage"), {"url": "/mnt/a, b", "verify": "true"})
    assert '    url = "/mnt/a, b"\n    verify = true\n\n[' in text
    text = set_values(text, "cache", {"type": None, "dir": "x"})
    assert text.endswith("[cache]\n\tdir = x\n")
    text = set_values(text, "cache", {"dir": None})
    assert "cache" not in text
    assert set_values(text, "cache", {"dir": None}) == text
    assert "# ours\n" in text
    assert "# git stages\n" in text
    assert dvc_text(text, tmp_path) == load_text(text)


@pytest.mark.parametrize(
    ("text", "values", "after"),
    [
        ("[a]\nk = v", {"n": "w"}, "[a]\nk = v\nn = w\n"),
        ("[b]\nk = v", {"n": "w"}, "[b]\nk = v\n[a]\n    n = w\n"),
        ("[a]\r\n  k = v\r\n", {"n": "w", "k": "x"}, "[a]\r\n  k = x\r\n  n = w\r\n"),
        ("[a]\n\n[b]\n", {"n": "w"}, "[a]\n    n = w\n\n[b]\n"),
        ("[a]\nK=v #c\n", {"k": "w"}, "[a]\nK= w #c\n"),
        ("[a]\nk =# c\n", {"k": "w"}, "[a]\nk = w# c\n"),
        ("[a]\n k = v # it's\n", {"k": "a,b"}, '[a]\n # it\'s\n k = "a,b"\n'),
        ("[a]\nk = v\n# c\n", {"k": None}, "# c\n"),
        ("[a]\nk = v\n", {"k": ""}, '[a]\nk = ""\n'),
        ("", {"k": None}, ""),
    ],
)
def test_an_edit_line_by_line(
    text: str, values: dict[str, str | None], after: str, tmp_path: Path
) -> None:
    assert set_values(text, "a", values) == after
    assert filled(load_text(after)) == dvc_text(after, tmp_path)


def writable(value: str) -> bool:
    mixed = "'" in value and '"' in value
    return value.isprintable() and "%(" not in value and not mixed


@given(
    values=st.dictionaries(
        st.sampled_from(["url", "dir", "profile"]),
        st.one_of(st.text("ab #,'\"=[]%{}~/\\", max_size=12), st.text(max_size=12), st.none()),
    ),
    section=st.sampled_from(["core", "cache", remote_section("storage"), remote_section("b#1")]),
    text=st.sampled_from(["", USUAL, USUAL.replace("\n", "\r\n"), USUAL.rstrip()]),
)
def test_dvc_reads_back_what_is_set(
    tmp_path_factory: pytest.TempPathFactory,
    values: dict[str, str | None],
    section: str,
    text: str,
) -> None:
    try:
        after = set_values(text, section, values)
    except ConfigError:
        assert any(value and not writable(value) for value in values.values())
        return
    expected = load_text(text)
    for key, value in values.items():
        if value is None:
            expected.get(section, {}).pop(key, None)
        else:
            expected.setdefault(section, {})[key] = value
    assert dvc_text(after, tmp_path_factory.mktemp("one")) == filled(expected)
    assert load_text(after) == filled(expected)


@pytest.mark.parametrize("value", ["a\nb", "a\0", "%(x)s", "'a\"", "a,'\"b", "\xa0"])
def test_a_value_that_dvc_would_read_otherwise_is_refused(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        set_values("", "core", {"password": value})
    assert caught.value.code == "dvc-config-value"
    assert value not in caught.value.message  # it may be a secret


@pytest.mark.parametrize("section", ["", "a b", "remote", 'remote ""', 'remote "a\nb"', "[core]"])
def test_a_section_that_dvc_does_not_have_is_refused(section: str) -> None:
    with pytest.raises(ConfigError) as caught:
        set_values("", section, {"k": "v"})
    assert caught.value.code == "dvc-config-value"
