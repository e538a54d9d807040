"""The levels of DVC's config: where they lie, how they merge, and what they say."""

from __future__ import annotations

import os
import sys

from mlrepro import dvcini, plainfile
from mlrepro.dvcini import (
    ROTATE as ROTATE,
    find_secrets as find_secrets,
    load_text as load_text,
    remote_section as remote_section,
    set_values as set_values,
)
from mlrepro.errors import ConfigError, PathError

# On the hook's no-change path: no regular expression, no configobj, no DVC.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LEVELS = ("system", "global", "repo", "local")  # each shadows those before it
MAX_BYTES = 1 << 20


# The keys whose values DVC resolves against the folder of the file that holds them
# (dvc.config.Config._map_dirs).
_PATH_KEYS = {
    "cache": ("dir",),
    "remote": (
        "url",
        "gdrive_user_credentials_file",
        "gdrive_service_account_json_file_path",
        "credentialpath",
        "configpath",
        "keyfile",
        "cert_path",
        "key_path",
    ),
    "machine": ("startup_script", "setup_script"),
}


class DvcConfig:
    """The levels of one DVC repository, merged.

    ``sections`` maps a section to its keys and values, as text. A section is named in lower case,
    as ``core`` or ``remote "storage"``; paths among the values are already absolute.
    """

    __slots__ = ("_levels", "dvc_dir", "sections")

    def __init__(
        self,
        dvc_dir: str,
        sections: dict[str, dict[str, str]],
        levels: dict[tuple[str, str], str],
    ) -> None:
        self.dvc_dir = dvc_dir
        self.sections = sections
        self._levels = levels

    @property
    def remote_name(self) -> str:
        """The default remote's name, or "" where none is set."""
        return self.sections.get("core", {}).get("remote", "").lower()

    def remote(self, name: str = "") -> dict[str, str]:
        """The options of a remote, by default of the default one; ``url`` is absolute or a URL.

        Raises ConfigError ``dvc-remote-missing`` where there is no such remote, or it has no url.
        """
        name = (name or self.remote_name).lower()
        options = self.sections.get(remote_section(name), {})
        if not options.get("url"):
            what = f"DVC has no remote {name!r}." if name else "DVC has no default remote."
            raise ConfigError(what, "mlrepro init", code="dvc-remote-missing")
        return dict(options)

    @property
    def cache_dir(self) -> str:
        """The cache folder. ConfigError ``dvc-config-unknown`` where the cache is not a folder."""
        cache = self.sections.get("cache", {})
        folder = cache.get("dir") or os.path.join(self.dvc_dir, "cache")
        if cache.get("local") or _is_url(folder):
            raise dvcini.not_read(".dvc/config", 0, "its cache is not a local folder")
        return folder

    def level_of(self, section: str, key: str) -> str:
        """The level that sets this value (one of ``LEVELS``), or "" where none does."""
        return self._levels.get((dvcini.section_name(section), key.lower()), "")


def load(dvc_dir: str, environ: Mapping[str, str]) -> DvcConfig:
    """Read and merge all levels, as DVC 3 does; a file that is absent counts as empty.

    Raises ConfigError ``dvc-config-unknown`` for a file that says more than is understood here, so
    that DVC itself must be asked, and ``dvc-config-unreadable`` for one that cannot be opened.
    """
    dvc_dir = os.path.abspath(dvc_dir)
    sections: dict[str, dict[str, str]] = {}
    levels: dict[tuple[str, str], str] = {}
    for level, path in config_files(dvc_dir, environ).items():
        # Messages name the tracked file as people know it, wherever the clone lies.
        name = path if level in LEVELS[:2] else ".dvc/" + os.path.basename(path)
        for section, values in load_text(text_of(level, path, name), name).items():
            known = _PATH_KEYS.get(section.partition(" ")[0], ())
            merged = sections.setdefault(section, {})
            for key, value in values.items():
                is_path = key in known
                merged[key] = _resolve(os.path.dirname(path), value, environ) if is_path else value
                levels[section, key] = level
    return DvcConfig(dvc_dir, sections, levels)


def config_files(dvc_dir: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Where each level's file lies, whether or not it is there (dvc.dirs, platformdirs' Unix).

    Homebrew's own system-wide folder is not looked into.
    """
    mac = sys.platform == "darwin"
    site = [part for part in environ.get("XDG_CONFIG_DIRS", "").split(":") if part[:1] == "/"]
    site.append("/Library/Application Support" if mac else "/etc/xdg")
    user = environ.get("XDG_CONFIG_HOME", "")
    if user[:1] != "/":
        user = os.path.join(_home(environ), "Library/Application Support" if mac else ".config")
    folders = {
        "system": environ.get("DVC_SYSTEM_CONFIG_DIR") or os.path.join(site[0], "dvc"),
        "global": environ.get("DVC_GLOBAL_CONFIG_DIR") or os.path.join(user, "dvc"),
    }
    files = {level: os.path.abspath(f"{folder}/config") for level, folder in folders.items()}
    files["repo"] = os.path.join(dvc_dir, "config")
    files["local"] = os.path.join(dvc_dir, "config.local")
    return files


def _is_url(value: str) -> bool:
    scheme, colon, _ = value.partition("://")
    return bool(colon) and scheme.replace("_", "a").isalnum()  # re.match(r"\w+://"), as DVC has it


def _resolve(folder: str, value: str, environ: Mapping[str, str]) -> str:
    """A path value as DVC takes it: relative to the folder of its file, ``~`` is home."""
    if _is_url(value) or value[:1] == "/":
        return value
    expanded = value
    if (value == "~" or value.startswith("~/")) and "HOME" in environ:
        expanded = environ["HOME"].rstrip("/") + value[1:] or "/"
    elif value.startswith("~"):
        expanded = os.path.expanduser(value)
    if expanded[:1] == "/":
        return expanded
    return os.path.abspath(os.path.join(folder, value))


def _home(environ: Mapping[str, str]) -> str:
    """The home folder: ``HOME`` where it is absolute, else what the system says."""
    home = environ.get("HOME", "")
    if home[:1] == "/":
        return home
    import pwd  # rare: only where HOME is not set

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return "/"


def text_of(level: str, path: str, name: str) -> str:
    """A config file's text, "" where there is none; ``name`` is used in messages.

    The two files of a repository may have come with it: no link is followed there. Raises
    ConfigError.
    """
    try:
        if level in LEVELS[:2]:
            data = plainfile.read_at(os.path.realpath(path), name, MAX_BYTES + 1)
        else:
            root, folder = os.path.split(os.path.dirname(path))
            data = plainfile.read(root, f"{folder}/{os.path.basename(path)}", MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except PathError as error:
        code = "dvc-config-unreadable"
        raise ConfigError(error.message, error.hint, code, path=name) from error
    except OSError as error:
        raise ConfigError(
            f"{name} cannot be opened: {error.strerror or error}.",
            f"ls -l {name}",
            "dvc-config-unreadable",
            path=name,
        ) from error
    if len(data) > MAX_BYTES:
        raise dvcini.not_read(name, 0, "it is larger than 1 MiB")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise dvcini.not_read(name, 0, "it is not UTF-8") from error
