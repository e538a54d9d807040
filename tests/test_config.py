"""config/config.py: what is used of it, how it may look, and what is said when it is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlrepro import config, literal
from mlrepro.config import Config
from mlrepro.errors import ConfigError

ROOT = "/home/me/project"
ENVIRON = {"HOME": "/home/me", "STORE": "/mnt/store"}
HEAD = "import os\nfrom pathlib import Path\nBASE_DIR = Path(__file__).parent.parent.absolute()\n"

# A config as the course that this tool follows has it: logging, MLflow and all.
COURSE = """\
import logging.config
import os
import sys
from pathlib import Path

import mlflow
import pretty_errors  # NOQA: F401 (imported but unused)
from rich.logging import RichHandler

# Repository
AUTHOR = "Ada"
REPO = "MLOps"

# Directories
BASE_DIR = Path(__file__).parent.parent.absolute()
CONFIG_DIR = Path(BASE_DIR, "config")
DATA_DIR = Path(BASE_DIR, "data")
STORES_DIR = Path(BASE_DIR, "stores")
LOGS_DIR = Path(BASE_DIR, "logs")

# Stores
MODEL_REGISTRY = Path(STORES_DIR, "model")
BLOB_STORE = Path(STORES_DIR, "blob")

# Create dirs
DATA_DIR.mkdir(parents=True, exist_ok=True)
MODEL_REGISTRY.mkdir(parents=True, exist_ok=True)
for folder in (LOGS_DIR, BLOB_STORE):
    folder.mkdir(parents=True, exist_ok=True)

mlflow.set_tracking_uri("file://" + str(MODEL_REGISTRY.absolute()))

ACCEPTED_TAGS = ["nlp", "cv"]
logging_config = {"version": 1, "root": {"level": logging.DEBUG}}
logging.config.dictConfig(logging_config)
logger = logging.getLogger()
logger.handlers[0] = RichHandler(markup=True)
"""


def load(text: str) -> Config:
    return config.load(ROOT, ENVIRON, HEAD + text)


def failure(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert caught.value.path == "config/config.py"
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value


def write(root: Path, text: str | bytes) -> Path:
    file = root / "config" / "config.py"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


@pytest.mark.parametrize(
    ("value", "store"),
    [
        ('Path(BASE_DIR, "stores", "blob")', f"{ROOT}/stores/blob"),
        ('BASE_DIR / "stores" / "blob"', f"{ROOT}/stores/blob"),
        ('os.path.join(os.path.dirname(os.path.dirname(__file__)), "s")', f"{ROOT}/s"),
        ('"stores/blob"', f"{ROOT}/stores/blob"),
        ('Path("stores/blob")', f"{ROOT}/stores/blob"),
        ('"./stores//x/../blob/"', f"{ROOT}/stores/blob"),
        ('"../elsewhere"', "/home/me/elsewhere"),
        ('"~/store"', "/home/me/store"),
        ('Path("~/store")', "/home/me/store"),
        ('Path.home() / "store"', "/home/me/store"),
        ('"/mnt/a b/ü"', "/mnt/a b/ü"),
        ('os.environ["STORE"]', "/mnt/store"),
        ('os.getenv("NOT_SET", "/mnt/other")', "/mnt/other"),
        ('"file:///mnt/a%20b"', "/mnt/a b"),
        ('"file://localhost/mnt"', "/mnt"),
        ('"s3://bucket/a/../b"', "s3://bucket/a/../b"),
        ('"S3://Bucket/x"', "s3://Bucket/x"),
        ('f"gs://{BASE_DIR.name}/x"', "gs://project/x"),
        ('"ssh://me@host/path"', "ssh://me@host/path"),
        ('"webdavs://host:8080/x"', "webdavs://host:8080/x"),
    ],
)
def test_the_blob_store_is_an_absolute_path_or_a_url(value: str, store: str) -> None:
    found = load(f"BLOB_STORE = {value}")
    assert found.blob_store == store
    assert found.is_url == ("://" in store)


def test_only_the_blob_store_is_needed() -> None:
    found = load('BLOB_STORE = "/mnt"')
    assert found == Config("/mnt", (), "data", 5_000_000, has_file=False)


def test_a_config_with_imports_that_are_not_installed_is_read() -> None:
    found = config.load(ROOT, ENVIRON, COURSE)
    assert (found.blob_store, found.data_dir) == (f"{ROOT}/stores/blob", "data")
    names = literal.read_names(COURSE, f"{ROOT}/config/config.py", ENVIRON).values
    assert names["ACCEPTED_TAGS"] == ["nlp", "cv"]
    assert str(names["MODEL_REGISTRY"]) == f"{ROOT}/stores/model"
    assert {"mlflow", "logger", "logging_config", "folder", "Path"}.isdisjoint(names)


@pytest.mark.parametrize(
    ("value", "track"),
    [
        ("[]", ()),
        ('["data/*.csv", "models/**/*.pt", "data/*.csv"]', ("data/*.csv", "models/**/*.pt")),
        ('("data/x", Path("a") / "b")', ("data/x", "a/b")),
        ('{"b", "a"}', ("a", "b")),
        ('[BASE_DIR / "data" / "*.csv"]', ("data/*.csv",)),
        ('[str(Path(BASE_DIR, "data", "**"))]', ("data/**",)),
        ('["./data/../x/"]', ("x",)),
        ('["data/[ab]?.csv", "!x", "ü *"]', ("data/[ab]?.csv", "!x", "ü *")),
    ],
)
def test_track_is_a_list_of_patterns_inside_the_repository(
    value: str, track: tuple[str, ...]
) -> None:
    assert load(f'BLOB_STORE = "/mnt"\nTRACK = {value}').track == track


@pytest.mark.parametrize(
    ("value", "folder"),
    [
        ('Path(BASE_DIR, "data")', "data"),
        ('"raw/data"', "raw/data"),
        ('"/mnt/data"', "/mnt/data"),
        ('"../data"', "/home/me/data"),
        ("BASE_DIR", "."),
        ('str(BASE_DIR) + "-data"', f"{ROOT}-data"),
    ],
)
def test_the_data_folder_is_relative_where_it_lies_inside(value: str, folder: str) -> None:
    assert load(f'BLOB_STORE = "/mnt"\nDATA_DIR = {value}').data_dir == folder


@pytest.mark.parametrize("value", ["10 * 1024 * 1024", "10_485_760", "1.048576e7", "2**20 * 10"])
def test_the_limit_is_a_number_of_bytes(value: str) -> None:
    found = load(f'BLOB_STORE = "/mnt"\nMAX_GIT_FILE_BYTES = {value}')
    assert found.max_git_file_bytes == 10 * 2**20
    assert type(found.max_git_file_bytes) is int


@pytest.mark.parametrize(
    ("line", "about"),
    [
        ("BLOB_STORE = None", "must be a path or a URL"),
        ("BLOB_STORE = 3", "must be a path or a URL"),
        ('BLOB_STORE = ["/mnt"]', "must be a path or a URL"),
        ('BLOB_STORE = ""', "is empty"),
        ('BLOB_STORE = "  "', "is empty"),
        ('BLOB_STORE = "/mnt\\n"', "control character"),
        ('BLOB_STORE = "/mnt\\0"', "control character"),
        ('BLOB_STORE = Path("s3://bucket/x")', "s3:// as a string"),
        ('BLOB_STORE = "file://host/x"', "with a host"),
        ("BLOB_STORE = BASE_DIR", "a folder of its own"),
        ('BLOB_STORE = "."', "a folder of its own"),
        ('BLOB_STORE = BASE_DIR / ".git" / "x"', "a folder of its own"),
        ('TRACK = "data/*.csv"', "must be a list"),
        ("TRACK = None", "must be a list"),
        ('TRACK = ["a", 1]', "must be a list of strings"),
        ('TRACK = [""]', "is empty"),
        ('TRACK = ["../x"]', "not inside the repository: ../x"),
        ('TRACK = ["/etc/*"]', "not inside the repository: /etc/*"),
        ('TRACK = ["data/.."]', "not inside the repository"),
        ("DATA_DIR = 1", "must be a path"),
        ("MAX_GIT_FILE_BYTES = True", "whole number"),
        ('MAX_GIT_FILE_BYTES = "5"', "whole number"),
        ("MAX_GIT_FILE_BYTES = 1.5", "whole number"),
        ("MAX_GIT_FILE_BYTES = 1e999", "whole number"),
        ("MAX_GIT_FILE_BYTES = 0", "larger than 0"),
        ("MAX_GIT_FILE_BYTES = -1", "larger than 0"),
    ],
)
def test_a_value_that_cannot_be_is_named(line: str, about: str) -> None:
    error = failure(f'BLOB_STORE = "/mnt"\n{line}')
    assert error.code == "config-invalid"
    assert error.message.startswith(f"{line.partition(' ')[0]} in config/config.py ")
    assert about in error.message


def test_a_missing_blob_store_is_told() -> None:
    error = failure("STORE = '/mnt'")
    assert error.code == "config-no-blob-store"
    assert "BLOB_STORE = " in error.hint


@pytest.mark.parametrize(
    "line",
    [
        "BLOB_STORE = read_from_vault()",
        "from settings import BLOB_STORE",
        "from settings import *",
        "BLOB_STORE = Path.cwd() / 'stores'",
        'BLOB_STORE = os.environ["NOT_SET"]',
    ],
)
def test_a_form_that_is_not_read_is_shown_with_its_line(line: str) -> None:
    error = failure(f"A = 1\n{line}\n")
    assert error.code == "config-unreadable"
    assert "config/config.py line 5" in error.message
    assert line in error.message
    assert ("os.environ.get" if "NOT_SET" in line else "Path(__file__)") in error.hint


def test_every_name_that_is_used_must_be_readable() -> None:
    error = failure('BLOB_STORE = "/mnt"\nTRACK = find_files()\n')
    assert error.code == "config-unreadable"
    assert error.message.startswith("TRACK cannot be read from config/config.py line 5")


def test_a_syntax_error_is_told_with_its_line() -> None:
    error = failure("BLOB_STORE = (\n")
    assert error.code == "config-syntax"
    assert "config/config.py line 4" in error.message


def test_the_file_is_read_from_the_repository(tmp_path: Path) -> None:
    write(tmp_path, b"# coding: latin-1\nBLOB_STORE = 'b\xe9'\r\n")
    found = config.load(str(tmp_path), ENVIRON)
    assert found == Config(f"{tmp_path}/bé", has_file=True)
    other = config.load(str(tmp_path), ENVIRON, 'BLOB_STORE = "/other"')
    assert (other.blob_store, other.has_file) == ("/other", True)


@pytest.mark.parametrize("folder", [True, False])
def test_a_missing_file_points_to_init(tmp_path: Path, folder: bool) -> None:
    if folder:
        (tmp_path / "config").mkdir()
    else:
        (tmp_path / "config").write_text("")
    with pytest.raises(ConfigError) as caught:
        config.load(str(tmp_path), ENVIRON)
    assert (caught.value.code, caught.value.hint) == ("config-missing", "mlrepro init")


def test_what_is_not_a_file_of_the_repository_is_refused(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside.py"
    (root / "config").mkdir(parents=True)
    outside.write_text('BLOB_STORE = "/mnt"')
    place = root / "config" / "config.py"
    makers = [place.mkdir, lambda: os.mkfifo(place), lambda: place.symlink_to(outside)]
    for make in makers:
        make()
        with pytest.raises(ConfigError) as caught:
            config.load(str(root), ENVIRON)
        assert caught.value.code == "config-invalid"
        place.rmdir() if place.is_dir() else place.unlink()
    place.symlink_to(root / "config" / "base.py")
    (root / "config" / "base.py").write_text('BLOB_STORE = "/mnt"')
    assert config.load(str(root), ENVIRON).blob_store == "/mnt"


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    write(tmp_path, b"#" * 3_000_000)
    with pytest.raises(ConfigError, match="256 KiB") as caught:
        config.load(str(tmp_path), ENVIRON)
    assert caught.value.code == "config-syntax"


def test_the_template_is_read_and_runs_to_the_same_values(tmp_path: Path) -> None:
    file = write(tmp_path, config.TEMPLATE)
    found = config.load(str(tmp_path), ENVIRON)
    assert found == Config(f"{tmp_path}/stores/blob", has_file=True)
    namespace: dict[str, object] = {"__file__": str(file), "__name__": "config"}
    exec(compile(config.TEMPLATE, str(file), "exec"), namespace)
    for name, value in literal.read_names(config.TEMPLATE, str(file), ENVIRON).values.items():
        assert str(value) == str(namespace[name])
    assert list(tmp_path.iterdir()) == [tmp_path / "config"]  # running it makes nothing
