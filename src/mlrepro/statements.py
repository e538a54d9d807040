"""What the statements of a Python file bind at module level, followed without running them."""

from __future__ import annotations

import ast
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator

from mlrepro.expression import Expressions
from mlrepro.purecalls import NotRead, Symbol, Value, Variables

MAX_NESTING = 25  # blocks inside one another
MAX_CHAIN = 50  # links of name.part[0].part

_ANY = "*"  # stands for every name
_ENVIRON = "os.environ"  # stands for all environment variables
_DOTENV = ".env"  # stands for those that are not set
_DYNAMIC = frozenset({"exec", "globals", "locals"})
_PURE = frozenset({"copy", "count", "get", "index", "items", "keys", "values"})
# What these hold is not part of the module's own run, or was looked at as a whole.
_CLOSED = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.Import, ast.ImportFrom,
)  # fmt: skip
_MAY_RAISE = "an exception may have come before it"
# What `from … import *` binds, for the modules that are known.
_STARS = {"os": os.__all__, "os.path": os.path.__all__, "pathlib": pathlib.__all__}


class Statements:
    """Follows statements in order, and gives a name up rather than guess.

    ``bound`` maps each name to its value, to a Symbol for what was imported, or to a NotRead;
    ``line_of`` has, for each name that the file binds, the line that did it last.
    """

    def __init__(self, bound: dict[str, Value], variables: Variables) -> None:
        self.bound = bound
        self.line_of: dict[str, int] = {}
        self._variables = variables
        self._expressions = Expressions(bound, variables)
        self._nesting = 0
        self._sure = True  # False once something may have raised an exception

    def run(self, body: Iterable[ast.stmt]) -> None:
        """Follow these statements. Raises TooMuch for a file that is far too large."""
        self._nesting += 1
        for node in body:
            self._expressions.spend(1)
            if self._nesting > MAX_NESTING:
                self._give_up([node], "it is nested too deeply")
            else:
                self._statement(node)
        self._nesting -= 1

    def spoil_globals(self, tree: ast.Module) -> None:
        """Give up every name that a function declares ``global``: a call of it may set it."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Global):
                for name in node.names:
                    self._bind(name, NotRead("a function may set it (global)"), node.lineno)

    def _statement(self, node: ast.stmt) -> None:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            self._assignment(node)
        elif isinstance(node, ast.AugAssign):
            self._augmented(node)
        elif isinstance(node, ast.Expr):
            self._expression(node)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            self._import(node)
        elif isinstance(node, ast.If):
            self._if(node)
        elif isinstance(node, ast.Try):
            self._try(node)
        elif isinstance(node, ast.With):
            self._with(node)
        elif isinstance(node, ast.Delete) and all(isinstance(t, ast.Name) for t in node.targets):
            for name, _, _ in _effects([node]):
                self.bound.pop(name, None)
                self.line_of.pop(name, None)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            self._bind(node.name, NotRead("it is a function or a class"), node.lineno)
        elif not isinstance(node, (ast.Pass, ast.Global)):
            self._give_up([node], "it is set in a loop or block that is not read")

    def _value(self, node: ast.expr) -> Value:
        """The expression's value, or a NotRead; a Symbol where it is another name for one."""
        try:
            return self._expressions.value(node)
        except NotRead as reason:
            # It may have effects of its own: an assignment with :=, a call of load_dotenv().
            self._give_up([node], "it is changed by a call or expression that is not read")
            return reason

    def _bind(self, name: str, value: Value, line: int) -> None:
        self.bound[name] = value
        self.line_of[name] = line

    def _assignment(self, node: ast.Assign | ast.AnnAssign) -> None:
        if node.value is None:
            return  # only an annotation
        value = self._value(node.value)
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            self._assign(target, value, node)

    def _assign(self, target: ast.expr, value: Value, node: ast.stmt) -> None:
        if isinstance(target, ast.Name):
            self._bind(target.id, value, node.lineno)
        elif isinstance(target, (ast.Tuple, ast.List)) and len(target.elts) == _length(value):
            for part, item in zip(target.elts, value, strict=True):  # type: ignore[call-overload]
                self._assign(part, item, node)
        elif isinstance(target, ast.Subscript) and self._is_environ(target.value):
            key = self._value(target.slice)
            if isinstance(key, str):
                self._variables.set(key, value if isinstance(value, str) else None)
            else:
                self._variables.forget()
        else:
            reason = str(value) if isinstance(value, NotRead) else "its assignment is not read"
            self._give_up([target], reason)

    def _augmented(self, node: ast.AugAssign) -> None:
        if not isinstance(node.target, ast.Name):
            self._give_up([node], "its assignment is not read")
            return
        name = node.target.id
        old = self.bound.get(name)
        new = self._value(ast.BinOp(ast.Name(name, ast.Load()), node.op, node.value))
        if isinstance(old, (list, dict, set)):
            if id(old) in self._containers(new):
                new = NotRead("it would hold itself")
            self._give_up_sharing({id(old)}, node.lineno)  # it is changed in place
        self._bind(name, new, node.lineno)

    def _expression(self, node: ast.Expr) -> None:
        call = node.value
        if isinstance(call, ast.Constant):
            return  # a docstring
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            owner, method = call.func.value, call.func.attr
            more: ast.expr | None = None
            if isinstance(owner, ast.Name) and isinstance(self.bound.get(owner.id), list):
                if method == "append" and len(call.args) == 1:
                    more = ast.List(call.args, ast.Load())
                elif method == "extend" and len(call.args) == 1:
                    more = call.args[0]
                if more is not None:
                    added = ast.AugAssign(owner, ast.Add(), more)
                    self._augmented(ast.copy_location(added, node))
                    return
            if method == "setdefault" and self._is_environ(owner) and len(call.args) == 2:
                key, value = map(self._value, call.args)
                if isinstance(key, str) and isinstance(value, str):
                    self._variables.set_default(key, value)
                    return
        self._value(call)
        self._sure = False

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        module = ""
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
        for alias in node.names:
            source = f"{module}.{alias.name}" if module else alias.name
            if alias.name == _ANY and module in _STARS:
                for name in _STARS[module]:
                    self._bind(name, Symbol(f"{module}.{name}"), node.lineno)
            elif alias.name == _ANY:
                self._give_up([node], f"from {module} import * may replace it")
            elif alias.asname or module:
                self._bind(alias.asname or alias.name, Symbol(source), node.lineno)
            else:
                top = source.partition(".")[0]
                self._bind(top, Symbol(top), node.lineno)
            if source.partition(".")[0] not in sys.stdlib_module_names:
                self._sure = False  # it may not be installed

    def _if(self, node: ast.If) -> None:
        while True:
            if _asks_for_main(node.test):
                outcome: Value = False  # the file is read as if imported
            else:
                outcome = self._value(node.test)
            if isinstance(outcome, (NotRead, Symbol)):
                self._give_up([node], "it is set under a condition that is not read")
                return
            if not outcome and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
                node = node.orelse[0]  # elif: as many as there are
                continue
            self.run(node.body if outcome else node.orelse)
            return

    def _try(self, node: ast.Try) -> None:
        if not node.handlers or self._guarded(node.body):
            self.run([*([] if node.handlers else node.body), *node.orelse])
        else:
            self._give_up([*node.handlers, *node.orelse], _MAY_RAISE)
        self.run(node.finalbody)

    def _with(self, node: ast.With) -> None:
        for item in node.items:
            self._value(item.context_expr)
            if item.optional_vars is not None:
                self._give_up([item.optional_vars], "it is set by a with block")
        managers = {_last_name(item.context_expr) for item in node.items}
        if "suppress" in managers:
            self._guarded(node.body)
        else:
            self.run(node.body)

    def _guarded(self, body: list[ast.stmt]) -> bool:
        """Follow a block that an exception may end early; whether all of it is sure to run."""
        before, self._sure = self._sure, True
        for count, statement in enumerate(body):
            self.run([statement])
            if not self._sure:
                inside = isinstance(statement, (ast.If, ast.Try, ast.With))
                self._give_up(body[count + (not inside) :], _MAY_RAISE)
                break
        sure, self._sure = self._sure, before and self._sure
        return sure

    def _give_up(self, nodes: Iterable[ast.AST], reason: str) -> None:
        """Give up whatever these statements or expressions may bind or change."""
        self._sure = False
        for name, changed, line in list(_effects(nodes)):
            self._expressions.spend(1)
            old = self.bound.get(name)
            if name == _DOTENV:
                self._variables.may_have_more()
            elif name == _ENVIRON or (changed and isinstance(old, Symbol) and old.name == _ENVIRON):
                self._variables.forget()
            elif name == _ANY:
                self._expressions.spend(len(self.line_of))
                for other in [*self.line_of, _ANY]:
                    self._bind(other, NotRead(reason), line)
            elif not changed:
                self._bind(name, NotRead(reason), line)
            elif isinstance(old, (list, tuple, dict, set)):
                self._give_up_sharing(self._containers(old), line)
                self._bind(name, NotRead(reason), line)

    def _give_up_sharing(self, changed: set[int], line: int) -> None:
        """Give up the names whose value holds one of these lists, dicts and sets."""
        for name in list(self.line_of):
            if changed & self._containers(self.bound[name]):
                self._bind(name, NotRead("it shares a value that is changed in place"), line)

    def _containers(self, value: Value) -> set[int]:
        """The identities of the lists, dicts and sets in a value."""
        found: set[int] = set()
        todo = [value]
        while todo:
            part = todo.pop()
            self._expressions.spend(1)
            if isinstance(part, (list, dict, set)):
                found.add(id(part))
            if isinstance(part, dict):
                todo += part.values()
            elif isinstance(part, (list, tuple)):
                todo += part
        return found

    def _is_environ(self, node: ast.expr) -> bool:
        try:
            found = self._expressions.value(node)
        except NotRead:
            return False
        return isinstance(found, Symbol) and found.name == _ENVIRON


def _effects(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, bool, int]]:
    """What the syntax may bind or change: name, whether only changed in place, line."""
    todo: list[tuple[ast.AST, int]] = [(node, getattr(node, "lineno", 0)) for node in nodes]
    while todo:
        node, around = todo.pop()
        line = getattr(node, "lineno", around)
        for name, changed in _own_effects(node):
            yield name, changed, line
        if _only_reads_globals(node):
            continue
        if not isinstance(node, _CLOSED):
            todo += [(child, line) for child in ast.iter_child_nodes(node)]


def _own_effects(node: ast.AST) -> Iterator[tuple[str, bool]]:
    """As ``_effects``, for one node without what is inside it."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0], False
    elif isinstance(node, ast.Name):
        if node.id in _DYNAMIC:
            yield _ANY, False
        elif _is_target(node):
            yield node.id, False
    elif isinstance(node, ast.Call):
        last = _last_name(node)
        if "dotenv" in last:
            yield _DOTENV, False
        elif last not in _PURE:
            yield _owner(node.func), True
    elif isinstance(node, (ast.Subscript, ast.Attribute)) and _is_target(node):
        yield _owner(node), True
    for attribute in ("name", "rest"):  # except … as name, case name, def name, class name
        name = getattr(node, attribute, None)
        if isinstance(name, str):
            yield name, False


def _only_reads_globals(node: ast.AST) -> bool:
    """Whether a node is such as ``globals().items()`` or ``globals()[name]``, which set nothing."""
    inner: ast.AST | None = None
    if isinstance(node, ast.Subscript) and not _is_target(node):
        inner = node.value
    elif isinstance(node, ast.Call) and not node.args and isinstance(node.func, ast.Attribute):
        inner = node.func.value if node.func.attr in _PURE else None
    return isinstance(inner, ast.Call) and _last_name(inner) in ("globals", "locals")


def _is_target(node: ast.Name | ast.Attribute | ast.Subscript) -> bool:
    return not isinstance(node.ctx, ast.Load)


def _owner(node: ast.AST) -> str:
    """The name that an expression such as ``name.part[0].part`` begins with, or ""."""
    if isinstance(node, (ast.Attribute, ast.Subscript)) and _last_name(node.value) == "environ":
        return _ENVIRON
    for _ in range(MAX_CHAIN):
        if isinstance(node, ast.Call):
            node = node.func
        elif isinstance(node, (ast.Attribute, ast.Subscript)):
            node = node.value
        else:
            return node.id if isinstance(node, ast.Name) else ""
    return _ANY


def _last_name(node: ast.AST) -> str:
    """The last name of what is called: ``suppress`` of ``contextlib.suppress(OSError)``."""
    if isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _asks_for_main(test: ast.expr) -> bool:
    """Whether a condition is ``__name__ == "__main__"``."""
    if not (isinstance(test, ast.Compare) and len(test.ops) == 1):
        return False
    sides = [test.left, test.comparators[0]]
    names = [side.id for side in sides if isinstance(side, ast.Name)]
    texts = [side.value for side in sides if isinstance(side, ast.Constant)]
    return isinstance(test.ops[0], ast.Eq) and names == ["__name__"] and texts == ["__main__"]


def _length(value: Value) -> int:
    return len(value) if isinstance(value, (list, tuple)) else -1
