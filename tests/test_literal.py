"""Reading a Python file as text gives what running it would give, or gives the name up."""

from __future__ import annotations

import os
import warnings
from pathlib import PurePath, PurePosixPath
from types import ModuleType
from unittest.mock import patch

import pytest
from hypothesis import given, strategies as st

from mlrepro.literal import Names, read_names

FILE = "/home/me/project/config/config.py"
NAMES = {"A", "B", "C", "D", "E"}
ENVIRON = {"HOME": "/home/me", "STORE": "/mnt/store", "EMPTY": "", "TRACKED": "a,b"}
HEAD = """\
import os, sys
import os.path as osp
import pathlib
import typing
from os import environ, getenv, path
from os.path import join, dirname as up
from pathlib import Path, Path as P, PurePath
from typing import TYPE_CHECKING
"""


def read(source: str, environ: dict[str, str] | None = None) -> Names:
    return read_names(source, FILE, ENVIRON if environ is None else environ)


def executed(source: str) -> dict[str, object]:
    """What running the source really gives, paths as PurePosixPath."""
    namespace: dict[str, object] = {"__file__": FILE, "__name__": "config.config"}
    with patch.dict(os.environ, ENVIRON, clear=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as for (0)[0]
        exec(compile(source, FILE, "exec", dont_inherit=True), namespace)
    return {
        name: _pure(value)
        for name, value in namespace.items()
        if not name.startswith("__") and not isinstance(value, (ModuleType, type))
        if not callable(value) and value is not os.environ and name != "TYPE_CHECKING"
    }


def _pure(value: object, around: tuple[int, ...] = ()) -> object:
    if isinstance(value, PurePath):
        return PurePosixPath(value)
    if id(value) in around:
        return "a value inside itself"
    around = (*around, id(value))
    if isinstance(value, dict):
        return {_pure(key, around): _pure(item, around) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return type(value)(_pure(item, around) for item in value)
    return value


EXPRESSIONS = """\
1
-2.5
True
None
"text"
"two " 'parts'
("a", "b")
["a", ("b", 1), {"c": None}]
{"a", "b"}
{"a": 1, **{"b": [2]}}
[*("x", "y"), "z"]
Path("data")
Path("a", "b/../c", "d")
Path()
P("/srv") / "blob"
"/srv" / P("blob")
pathlib.Path("/srv/x")
pathlib.PurePath("/srv") / "x"
Path(__file__)
Path(__file__).parent
Path(__file__).parent.parent
Path(__file__).parents[0]
Path(__file__).parents[1]
Path(__file__).parents[-1]
Path(__file__).parent.parent.absolute()
Path(__file__).resolve().parent.parent / "stores" / "blob"
Path(__file__).resolve(strict=False).parents[1]
Path(__file__).absolute().parents[2].joinpath("x", "y")
(Path(__file__).parent / ".." / "stores").resolve()
Path(__file__).parent / ".."
Path(__file__).name
Path(__file__).stem
Path(__file__).suffix
Path(__file__).with_name("other.py")
Path(__file__).with_suffix(".txt")
Path(__file__).with_stem("x")
Path(__file__).relative_to("/home/me")
Path("/a/b").is_relative_to("/a")
Path("/a").is_absolute()
Path("/a b").as_uri()
Path("/a/b").as_posix()
Path("~/x").expanduser()
Path("x/~").expanduser()
Path.home()
Path.home() / ".store"
pathlib.Path.home()
str(Path("/a") / "b")
str(1.5)
os.path.join("a", "b", Path("c"))
os.path.join("/a", "/b", "c")
osp.join(osp.dirname(__file__), "..", "x")
path.dirname(path.dirname(path.abspath(__file__)))
up(up(__file__))
join("/a", "b")
os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
os.path.realpath(__file__)
os.path.normpath("/a//b/../c/.")
os.path.basename(__file__)
os.path.splitext(__file__)[0]
os.path.expanduser("~/data")
os.path.expanduser("~")
os.path.expanduser("a~")
os.fspath(Path("/a"))
os.sep.join(["a", "b"])
os.environ["STORE"]
os.environ.get("STORE")
os.environ.get("NOT_SET")
os.environ.get("NOT_SET", "/x")
environ.get("NOT_SET", default="/x")
environ["STORE"] + "/x"
os.getenv("STORE", "/x")
getenv("NOT_SET") or "/y"
getenv("EMPTY") or getenv("STORE") or "/y"
Path(getenv("STORE", "/x")) / "blob"
getenv("TRACKED").split(",")
"STORE" in os.environ
"NOT_SET" not in environ
"/a" if "STORE" in os.environ else "/b"
"/a" if os.environ.get("NOT_SET") else "/b"
"a" if getenv("STORE") == "/mnt/store" else "b"
"a" if getenv("NOT_SET") is None else "b"
getenv("STORE") is not None and "yes"
not getenv("EMPTY")
f"{Path('/a')}/b/{1}"
f"{'x'!s:>5}|{3:02d}|{2.5:.2f}"
f"s3://{getenv('STORE')}/x"
"%s/%d/%%" % ("a", 3)
"%s" % Path("/a")
"{}/{}".format("a", Path("b"))
"{0}/{name}/{{}}/{0}".format("a", name="b")
"a" + "b" + str(3)
" /x/ ".strip().rstrip("/")
"a-b".replace("-", "/").upper().lower().title()
"/".join(("a", "b"))
"s3://b".startswith(("s3://", "gs://"))
"prefix-x".removeprefix("prefix-")
["a"] + ["b"]
("a",) + ("b",)
["a", "b"][-1]
{"a": {"b": "c"}}["a"]["b"]
{"a": 1}.get("z", 2)
"abc"[1]
5 * 1024 * 1024
2 ** 20
5e6
int(5e6)
10_000_000 // 3
7 % 4
1 / 4
int("12") + int(True)
float("2.5")
bool("")
len(["a", "b"])
list(("a", "b"))
tuple(["a"])
dict(a=1, b="c")
"b" in ["a", "b"]
"a" in "cat"
TYPE_CHECKING
""".splitlines()

PROGRAMS = {
    "names before": "A = Path('/a')\nB = A / 'b'\nC = D = B\nE: str = str(C)\nF: int\n",
    "rebound": "A = 'x'\nA = A + 'y'\n",
    "augmented": "A = 'x'\nA += 'y'\nB = Path('/b')\nB /= 'c'\nN = 2\nN *= 3\n",
    "list grows": "A = ['x']\nA += ['y']\nA.append('z')\nA.extend(['q'])\nB = A\n",
    "unpacking": "A, (B, C) = 'a', ['b', 'c']\n[D, E] = A, B\n",
    "condition known": "A = 'x'\nif A == 'x':\n  B = 1\nelif A:\n  B = 2\nelse:\n  B = 3\n",
    "elif": "if getenv('NOT_SET'):\n  B = 1\nelif getenv('STORE'):\n  B = 2\nelse:\n  B = 3\n",
    "type checking": "if TYPE_CHECKING:\n  A = missing\nelse:\n  A = 1\n"
    "if not typing.TYPE_CHECKING:\n  B = 2\n",
    "main": "A = 1\nif __name__ == '__main__':\n  A = 2\n",
    "try": "try:\n  import os\n  A = Path('/a')\nexcept OSError:\n  A = None\nelse:\n  B = A\n"
    "finally:\n  C = 1\n",
    "with": "import contextlib\nwith contextlib.suppress(OSError):\n  A = 1\n",
    "deleted": "A = 1\nB = 2\ndel A\n",
    "environment set": "os.environ['X'] = '/x'\nenviron.setdefault('X', '/y')\n"
    "environ.setdefault('Y', '/y')\nA = getenv('X')\nB = environ['Y']\n",
    "functions inside": "def f():\n  A = 2\nclass C:\n  A = 3\nA = 1\n",
    "side effects": "import logging\nA = Path('/a')\nlogging.getLogger('x').setLevel(30)\n"
    "A.exists()\nassert A\n",
    "star imports": "from os.path import *\nfrom pathlib import *\n"
    "A = join('a', 'b')\nB = Path(A)\n",
    "scalars are compared as in Python": "A = 1 == True\nB = Path('a') == 'a'\nC = 'x' != 'y'\n",
    "windows line ends": "A = 1\r\nB = (\r\n  'x'\r\n)\r\n",
    "not indexed": "A = [1, 2]\nB = A[0] if A else None\nfor A2 in []:\n  pass\nelse:\n  pass\n",
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_has_the_value_that_running_it_gives(expression: str) -> None:
    source = f"{HEAD}X = {expression}\n"
    found, expected = read(source).values["X"], executed(source)["X"]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=list(PROGRAMS))
def test_a_program_binds_what_running_it_binds(program: str) -> None:
    found, expected = read(HEAD + program), executed(HEAD + program)
    assert found.values.items() <= expected.items()
    assert not NAMES & expected.keys() - found.values.keys()


UNREADABLE = {
    "A = open('x').read()": "open",
    "A = Path.cwd() / 'x'": "folder that Python is started in",
    "A = Path('x').absolute()": "folder that Python is started in",
    "A = Path('x').resolve()": "folder that Python is started in",
    "A = os.path.abspath('x')": "folder that Python is started in",
    "A = os.getcwd()": "folder that Python is started in",
    "A = Path('/x').exists()": "exists",
    "A = os.environ['NOT_SET']": "NOT_SET is not set",
    "A = missing": "missing is not assigned",
    "B = missing\nA = f'{B}/x'": "it uses B, and missing is not assigned",
    "import torch\nA = torch.device": "torch.device",
    "from settings import A": "settings.A",
    "import a.b as A": "a.b",
    "A = [x for x in 'ab']": "comprehension",
    "A = (B := 1)": ":=",
    "A = lambda: 1": "lambda",
    "A = 1\nA = f()": "f is not assigned",
    "A = 1\nfrom settings import *": "import *",
    "A = 1\nif f():\n  A = 2": "condition",
    "if f():\n  A = 2\nelse:\n  A = 2": "condition",
    "if f():\n  from x import A": "condition",
    "A = 1\nif f():\n  del A": "condition",
    "A = 1\nwhile True:\n  A = 2": "loop",
    "A = 1\nfor A in f():\n  pass": "loop",
    "A = []\nfor x in 'ab':\n  A.append(x)": "loop",
    "A = []\nB = A\nB.append(1)": "in place",
    "A = {'x': []}\nA['x'].append(1)": "changed by a call",
    "A = {}\nA['x'] = 1": "assignment",
    "A = ['b', 'a']\nA.sort()": "changed by a call",
    "A = [[]]\nB = A[0]\nB.sort()": "in place",
    "A = []\nif f():\n  A += [1]": "condition",
    "A = []\nA.append(f())": "f is not assigned",
    "try:\n  import torch\n  A = 1\nexcept ImportError:\n  A = 2": "exception",
    "try:\n  A = os.environ['NOT_SET']\nexcept KeyError:\n  A = 'x'": "exception",
    "A = 0\ntry:\n  if 1:\n    f()\n    A = 1\nexcept NameError:\n  pass": "exception",
    "import contextlib\nwith contextlib.suppress(Exception):\n  f()\n  A = 1": "exception",
    "with open('x') as A:\n  pass": "with block",
    "A = 1\ndef f():\n  global A\n  A = 2\nf()": "global",
    "A = 1\nglobals()['A'] = 2": "not read",
    "A = 1\nglobals().update(A=2)": "not read",
    "A = 1\ng = globals()\ng['A'] = 2": "not read",
    "A = 1\nfill(globals())": "not read",
    "A = 1\nexec('A = 2')": "not read",
    "A = 1\nif f():\n  exec('A = 2')": "condition",
    "A, B = f()": "f is not assigned",
    "A, *B = [1, 2, 3]": "assignment",
    "A, B = 'ab'": "assignment",
    "def A(): pass": "function",
    "class A: pass": "class",
    "A = os.path.join": "os.path.join",
    "from dotenv import load_dotenv\nload_dotenv()\nA = os.getenv('NOT_SET', 'x')": ".env",
    "if f():\n  load_dotenv()\nA = os.getenv('NOT_SET', 'x')": ".env",
    "os.environ['X'] = f()\nA = os.getenv('X')": "by the file itself",
    "os.environ[f()] = 'x'\nA = os.getenv('STORE')": "by the file itself",
    "os.environ.update(f())\nA = os.getenv('STORE')": "by the file itself",
    "env = os.environ\nif f():\n  env['STORE'] = 'x'\nA = os.getenv('STORE')": "by the file itself",
    "match f():\n  case A:\n    pass": "loop or block",
    "A = 1 / 0": "would fail",
    "A = 'x' + 1": "operation",
    "A = Path(1)": "path",
    "A = b'x'": "bytes",
    "A = 1j": "complex",
    "A = f'{1!r}'": "f-string",
    "A = '%r' % 'x'": "%s",
    "A = '{0.x}'.format(1)": "plain fields",
    "A = {[]: 1}": "would fail",
    "A = Path('/').parents[3]": "would fail",
    "A = __name__": "__name__",
    "A = f'{[]}'": "strings, numbers and paths",
    "A = 1 < 2": "compared",
}


@pytest.mark.parametrize(("program", "why"), UNREADABLE.items())
def test_what_is_not_read_is_given_up_with_its_line_and_reason(program: str, why: str) -> None:
    found = read(HEAD + program)
    assert "A" not in found.values
    stopped = found.unreadable["A"]
    assert why in stopped.reason
    source = (HEAD + program).splitlines()
    assert source[stopped.line - 1].strip() == stopped.source
    assert stopped.line > HEAD.count("\n")


def test_a_name_survives_what_does_not_concern_it() -> None:
    found = read(
        HEAD + "import mlflow, logging.config\n"
        "A = Path('/a')\nB = {'version': 1}\nos.makedirs(A, exist_ok=True)\n"
        "logging.config.dictConfig(B)\nmlflow.set_tracking_uri('file://' + str(A))\n"
        "logger = logging.getLogger()\nlogger.handlers[0] = mlflow.Handler()\n"
        "for d in [A]:\n  d.mkdir()\n"
        "try:\n  A.mkdir()\nexcept OSError:\n  pass\n"
        "keys = [k for k, v in globals().items() if k.isupper()]\nE = globals()['A']\n"
        "C = os.environ['NOT_SET'].strip()\nD = os.environ['STORE']\n"
    )
    assert found.values == {"A": PurePosixPath("/a"), "B": {"version": 1}, "D": "/mnt/store"}


def test_the_environment_is_the_one_given() -> None:
    assert read("import os\nA = os.environ['X']", {"X": "/x"}).values == {"A": "/x"}
    assert "A" in read("from pathlib import Path\nA = Path.home()", {}).unreadable


def test_a_star_import_is_told_of() -> None:
    assert read("from settings import *\nA = 1").unreadable["*"].line == 1


_NAMES = st.sampled_from(["A", "B", "C"])
_LEAVES = st.one_of(
    st.integers(-3, 3).map(repr), st.text("ab/.~%{}", max_size=3).map(repr), _NAMES,
    st.sampled_from(["None", "True", "[]", "{}", "()", "Path('/a')", "__file__"]),
)  # fmt: skip


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(inner, inner)
    return st.one_of(
        pair.map(lambda p: f"({p[0]} + {p[1]})"),
        pair.map(lambda p: f"({p[0]} / {p[1]})"),
        pair.map(lambda p: f"({p[0]} % {p[1]})"),
        pair.map(lambda p: f"[{p[0]}, {p[1]}]"),
        pair.map(lambda p: f"({p[0]} or {p[1]})"),
        pair.map(lambda p: f"({p[0]} if {p[1]} else None)"),
        pair.map(lambda p: f"os.path.join({p[0]}, {p[1]})"),
        pair.map(lambda p: f"Path({p[0]}, {p[1]})"),
        pair.map(lambda p: f"'{{}}-{{}}'.format({p[0]}, {p[1]})"),
        pair.map(lambda p: f"{{{p[0]}: {p[1]}}}"),
        inner.map(lambda p: f"str({p})"),
        inner.map(lambda p: f"f'{{ {p} }}'" if "'" not in p else p),
        inner.map(lambda p: f"({p}).parent"),
        inner.map(lambda p: f"os.path.dirname({p})"),
        inner.map(lambda p: f"({p}).strip('a/')"),
        inner.map(lambda p: f"({p})[0]"),
    )


_VALUES = st.recursive(_LEAVES, _grown, max_leaves=4)
_STATEMENTS = st.one_of(
    st.tuples(_NAMES, _VALUES).map(lambda s: f"{s[0]} = {s[1]}"),
    st.tuples(_NAMES, _VALUES).map(lambda s: f"{s[0]} += {s[1]}"),
    st.tuples(_NAMES, _VALUES).map(lambda s: f"{s[0]}.append({s[1]})"),
    st.tuples(_NAMES, _NAMES, _VALUES).map(lambda s: f"{s[0]}, {s[1]} = {s[2]}"),
    st.tuples(_NAMES, _VALUES).map(lambda s: f"if {s[1]}:\n  {s[0]} = 1\nelse:\n  {s[0]} = 'b'"),
    st.tuples(_NAMES, _VALUES).map(
        lambda s: f"try:\n  {s[0]} = {s[1]}\nexcept Exception:\n  {s[0]} = 0"
    ),
    _NAMES.map(lambda s: f"del {s}"),
    _NAMES.map(lambda s: f"{s}.sort()"),
    st.tuples(_NAMES, _VALUES).map(lambda s: f"{s[0]}[0] = {s[1]}"),
    st.tuples(_NAMES, _VALUES).map(lambda s: f"{s[0]}.extend({s[1]})"),
    st.tuples(_NAMES, _VALUES).map(lambda s: f"for {s[0]} in {s[1]}:\n  B = 1"),
    st.tuples(_NAMES, _VALUES).map(lambda s: f"if sys.argv:\n  {s[0]} += {s[1]}"),
)


@given(st.lists(_STATEMENTS, max_size=6))
def test_no_value_is_ever_wrong(statements: list[str]) -> None:
    # Each statement stands in a block of its own, so that those after one that fails run too.
    blocks = [
        f"try:\n  {s.replace(chr(10), chr(10) + '  ')}\nexcept Exception: pass\n"
        for s in statements
    ]
    source = HEAD + "A, B, C = 'a', ['b'], Path('c')\n" + "".join(blocks)
    found, expected = read(source), executed(source)
    for name, value in found.values.items():
        assert value == expected[name]
        assert type(value) is type(expected[name])
    assert not expected.keys() - found.values.keys() - found.unreadable.keys()
