"""The value of one Python expression, worked out from its syntax tree without running it."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

from mlrepro import purecalls
from mlrepro.purecalls import MAX_INT_BITS, MAX_ITEMS, NotRead, Symbol, Value, Variables

MAX_DEPTH = 80  # expressions inside one another; far below Python's own limit
MAX_STEPS = 500_000  # nodes and values looked at in one file

_TEXTS = (str, PurePosixPath)
_BUILTINS = frozenset({"bool", "dict", "float", "int", "len", "list", "str", "tuple"})
_WOULD_FAIL = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

_NUMERIC: dict[type[ast.AST], Callable[[int | float, int | float], Value]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


class TooMuch(Exception):
    """The file asks for more work than any config needs."""


class Expressions:
    """Reads expressions against the names known so far.

    ``names`` maps a name to its value, to a Symbol for what was imported, or to a NotRead for one
    that is bound to something that could not be read.
    """

    def __init__(self, names: dict[str, Value], variables: Variables) -> None:
        self.names = names
        self.variables = variables
        self._depth = 0
        self._steps = 0

    def value(self, node: ast.expr) -> Value:
        """The expression's value, perhaps a Symbol. Raises NotRead, and TooMuch for the file."""
        self.spend(1)
        reader = _READERS.get(type(node))
        if reader is None:
            raise NotRead(f"{_form(node)} is not read")
        if self._depth >= MAX_DEPTH:
            raise NotRead("it is nested too deeply")
        self._depth += 1
        try:
            found = reader(self, node)
            if isinstance(found, Symbol):
                return purecalls.CONSTANTS.get(found.name, found)
            return found if isinstance(node, ast.Name) else self._bounded(found)
        except _WOULD_FAIL as error:
            raise NotRead(f"it would fail: {str(error)[:200]}") from error
        finally:
            self._depth -= 1

    def plain(self, node: ast.expr) -> Value:
        """As ``value``, but never a Symbol: what stands for no value raises NotRead."""
        found = self.value(node)
        if isinstance(found, Symbol):
            raise NotRead(f"{found.name} is not a plain value")
        return found

    def spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise TooMuch

    def _bounded(self, value: Value) -> Value:
        """The value, unless it is larger than anything a config needs."""
        if isinstance(value, int) and value.bit_length() > MAX_INT_BITS:
            raise NotRead("the number is too large")
        if isinstance(value, _TEXTS):
            purecalls.bounded(str(value))
        if isinstance(value, (list, tuple, set, dict)):
            # Counted with everything inside it, as it would be when written out: a list of the same
            # list twice, and so on, doubles at each line.
            todo: list[tuple[Value, int]] = [(value, 1)]
            size = 0
            while todo:
                part, depth = todo.pop()
                inside: Iterable[Value] = ()
                if isinstance(part, dict):
                    inside = [*part.keys(), *part.values()]
                elif isinstance(part, (list, tuple, set)):
                    inside = part
                todo += [(item, depth + 1) for item in inside]
                size += 1 + (len(str(part)) // 64 if isinstance(part, _TEXTS) else 0)
                if size + len(todo) > MAX_ITEMS or depth > MAX_DEPTH:
                    raise NotRead("it holds too many values")
            self.spend(size)
        return value

    def _constant(self, node: ast.Constant) -> Value:
        if node.value is None or isinstance(node.value, (str, int, float)):
            return node.value
        raise NotRead(f"a constant of type {type(node.value).__name__} is not read")

    def _name(self, node: ast.Name) -> Value:
        if node.id not in self.names:
            if node.id in _BUILTINS:
                return Symbol(node.id)
            raise NotRead(f"{node.id} is not assigned before it in this file")
        found = self.names[node.id]
        if isinstance(found, NotRead):
            reason = str(found)
            if not reason.startswith("it uses "):
                reason = f"it uses {node.id}, and {reason}"
            raise NotRead(reason)
        return found

    def _attribute(self, node: ast.Attribute) -> Value:
        owner = self.value(node.value)
        if isinstance(owner, Symbol):
            return Symbol(f"{owner.name}.{node.attr}")
        return purecalls.attribute(owner, node.attr)

    def _call(self, node: ast.Call) -> Value:
        named: dict[str, Value] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                raise NotRead("a call with ** is not read")
            named[keyword.arg] = self.plain(keyword.value)
        args = self._items(node.args)
        if isinstance(node.func, ast.Attribute):
            owner = self.value(node.func.value)
            if not isinstance(owner, Symbol):
                return purecalls.method(owner, node.func.attr, args, named, self.variables)
            return purecalls.call(f"{owner.name}.{node.func.attr}", args, named, self.variables)
        function = self.value(node.func)
        if not isinstance(function, Symbol):
            raise NotRead("a call of something other than a known function is not read")
        return purecalls.call(function.name, args, named, self.variables)

    def _subscript(self, node: ast.Subscript) -> Value:
        inner = node.value
        if isinstance(inner, ast.Attribute) and inner.attr == "parents":
            path, index = self.value(inner.value), self.plain(node.slice)
            if isinstance(path, PurePosixPath) and isinstance(index, int):
                return path.parents[index]
        owner = self.value(inner)
        if isinstance(owner, Symbol) and owner.name == "os.environ":
            return self.variables.require(self.plain(node.slice))
        key = self.plain(node.slice)
        if isinstance(owner, dict):
            return owner[key]
        if isinstance(owner, (str, list, tuple)) and isinstance(key, int):
            found: Value = owner[key]
            return found
        raise NotRead("something that has no items is indexed")

    def _list(self, node: ast.List) -> Value:
        return self._items(node.elts)

    def _tuple(self, node: ast.Tuple) -> Value:
        return tuple(self._items(node.elts))

    def _set(self, node: ast.Set) -> Value:
        return set(self._items(node.elts))

    def _items(self, nodes: Iterable[ast.expr]) -> list[Value]:
        items: list[Value] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                more = self.plain(node.value)
                if not isinstance(more, (list, tuple)):
                    raise NotRead("only a list or tuple is unpacked with *")
                items += more
            else:
                items.append(self.plain(node))
        return items

    def _dict(self, node: ast.Dict) -> Value:
        found: dict[Value, Value] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                more = self.plain(value)
                if not isinstance(more, dict):
                    raise NotRead("only a dict is unpacked with **")
                found.update(more)
            else:
                found[self.plain(key)] = self.plain(value)
        return found

    def _joined(self, node: ast.JoinedStr) -> Value:
        return purecalls.joined([purecalls.text_of(self.plain(part)) for part in node.values])

    def _formatted(self, node: ast.FormattedValue) -> Value:
        value = self.plain(node.value)
        if node.conversion not in (-1, ord("s")):
            raise NotRead("an f-string with ! is read with !s only")
        text = purecalls.text_of(value)
        if node.format_spec is None:
            return text
        spec = self.plain(node.format_spec)
        if not isinstance(spec, str) or len(spec) > 4:  # short: the width is part of it
            raise NotRead("a long format after : in an f-string is not read")
        return format(text if node.conversion == ord("s") else value, spec)

    def _operation(self, node: ast.BinOp) -> Value:
        left, right = self.plain(node.left), self.plain(node.right)
        kind = type(node.op)
        if kind is ast.Div and any(isinstance(side, PurePosixPath) for side in (left, right)):
            return purecalls.divided(left, right)
        if kind is ast.Mod and isinstance(left, str):
            return purecalls.percent(left, right)
        if isinstance(left, (int, float)) and isinstance(right, (int, float)):
            if kind is ast.Pow and isinstance(left, int) and isinstance(right, int):
                if abs(left) > 1024 or not 0 <= right <= MAX_INT_BITS:
                    raise NotRead("the number is too large")
                return int(left**right)
            if kind in _NUMERIC:
                return _NUMERIC[kind](left, right)
        if kind is ast.Add:
            if isinstance(left, str) and isinstance(right, str):
                return purecalls.joined((left, right))
            if isinstance(left, list) and isinstance(right, list):
                return left + right
            if isinstance(left, tuple) and isinstance(right, tuple):
                return left + right
        raise NotRead("an operation on these values is not read")

    def _sign(self, node: ast.UnaryOp) -> Value:
        value = self.plain(node.operand)
        if isinstance(node.op, ast.Not):
            return not value
        if isinstance(value, (int, float)) and isinstance(node.op, ast.USub):
            return -value
        if isinstance(value, (int, float)) and isinstance(node.op, ast.UAdd):
            return +value
        raise NotRead("an operation on this value is not read")

    def _either(self, node: ast.BoolOp) -> Value:
        wanted = isinstance(node.op, ast.Or)
        for part in node.values:
            value = self.plain(part)
            if bool(value) is wanted:
                break
        return value

    def _choice(self, node: ast.IfExp) -> Value:
        return self.plain(node.body if self.plain(node.test) else node.orelse)

    def _comparison(self, node: ast.Compare) -> Value:
        if len(node.ops) > 1:
            raise NotRead("a chain of comparisons is not read")
        (operation,), (side,) = node.ops, node.comparators
        left, right = self.plain(node.left), self.value(side)
        if not isinstance(operation, (ast.In, ast.NotIn)):
            return _equals(operation, left, right)
        if isinstance(right, Symbol) and right.name == "os.environ":
            found = self.variables.get(left) is not None
        elif isinstance(right, str):
            found = operator.contains(right, left)
        elif isinstance(right, (list, tuple, set, dict)) and _is_scalar(left):
            found = left in right
        else:
            raise NotRead("what is looked for, or in what, is not read")
        return found is isinstance(operation, ast.In)


def _equals(operation: ast.cmpop, left: Value, right: Value) -> bool:
    """One comparison of plain values: ==, !=, is None, is not None."""
    if not (_is_scalar(left) and _is_scalar(right)):
        raise NotRead("only strings, numbers, paths and None are compared")
    if isinstance(operation, (ast.Is, ast.IsNot)) and right is None:
        return (left is None) is isinstance(operation, ast.Is)
    if isinstance(operation, (ast.Eq, ast.NotEq)):
        return (left == right) is isinstance(operation, ast.Eq)
    raise NotRead("only ==, !=, in and is None are compared")


def _is_scalar(value: Value) -> bool:
    return value is None or isinstance(value, (str, int, float, PurePosixPath))


def _form(node: ast.AST) -> str:
    """What an expression is called in a message."""
    names = {
        ast.Await: "await",
        ast.GeneratorExp: "a generator",
        ast.Lambda: "a lambda",
        ast.ListComp: "a comprehension",
        ast.DictComp: "a comprehension",
        ast.SetComp: "a comprehension",
        ast.NamedExpr: "an assignment inside an expression (:=)",
    }
    return names.get(type(node), f"an expression of the form {type(node).__name__}")


_READERS: dict[type[ast.expr], Callable[..., Value]] = {
    ast.Attribute: Expressions._attribute,
    ast.BinOp: Expressions._operation,
    ast.BoolOp: Expressions._either,
    ast.Call: Expressions._call,
    ast.Compare: Expressions._comparison,
    ast.Constant: Expressions._constant,
    ast.Dict: Expressions._dict,
    ast.FormattedValue: Expressions._formatted,
    ast.IfExp: Expressions._choice,
    ast.JoinedStr: Expressions._joined,
    ast.List: Expressions._list,
    ast.Name: Expressions._name,
    ast.Set: Expressions._set,
    ast.Subscript: Expressions._subscript,
    ast.Tuple: Expressions._tuple,
    ast.UnaryOp: Expressions._sign,
}
