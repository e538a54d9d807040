"""Follows the opcodes of a pickle with inert stand-ins: nothing is imported, called or built.

What each opcode does is told by ``pickletools`` of the standard library and by PEP 3154.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable
from typing import IO, Any, Protocol, cast

from mlrepro.models.reading import Unreadable

MAX_STEPS = 1_000_000  # opcodes of one file
MAX_KEPT = 1 << 16  # bytes of a text or number; of longer ones only the length is known
MAX_TEXTS = 32 << 20  # bytes of memory for all texts and numbers that are kept
MAX_CLASSES = 10_000

_FREE = 32  # bytes of a number that is not counted: its steps are

# How the length of an argument is written, by the n of its pickletools.ArgumentDescriptor.
_LENGTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_BY_CODE = {op.code: op for op in pickletools.opcodes}
_TEXTS = frozenset({"BINUNICODE", "BINUNICODE8", "SHORT_BINUNICODE"})
_NAMES = frozenset({"GLOBAL", "INST"})
_OLD_TEXTS = frozenset({"BINSTRING", "SHORT_BINSTRING"})


class Source(Protocol):
    """Where the bytes come from: a file, or one that is unpacked on the way."""

    def read(self, count: int, /) -> bytes: ...
    def readline(self, count: int, /) -> bytes: ...


class Global:
    """A class or function that the pickle names, such as ``collections.OrderedDict``."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Made:
    """What calling ``what`` with ``args`` would make; ``state``: what it would be given after."""

    __slots__ = ("args", "pairs", "state", "what")

    def __init__(self, what: object, args: object) -> None:
        self.what = what
        self.args = args if isinstance(args, tuple) else ()
        self.pairs: list[tuple[object, object]] = []
        self.state: object = None

    @property
    def name(self) -> str:
        """The name of what is called, "" for what is no Global."""
        return self.what.name if isinstance(self.what, Global) else ""


class Pairs:
    """A dict, whose keys need not be what Python takes for keys."""

    __slots__ = ("pairs",)

    def __init__(self, items: Iterable[object] = ()) -> None:
        flat = list(items)
        self.pairs: list[tuple[object, object]] = list(zip(flat[::2], flat[1::2], strict=False))

    def get(self, key: str) -> object:
        """The value under a text; None where there is none."""
        return next((value for name, value in reversed(self.pairs) if name == key), None)


class Kept:
    """What torch.save keeps beside the pickle, such as the numbers of a tensor."""

    __slots__ = ("id",)

    def __init__(self, id_: object) -> None:
        self.id = id_


class Long:
    """A text or bytes too long to be kept."""

    __slots__ = ("length",)

    def __init__(self, length: int) -> None:
        self.length = length


class _Mark:
    __slots__ = ()


class Opcodes:
    """Follows one pickle from ``source``; several in a row share what was counted.

    ``classes``: every class and function named, in order. ``on_build``: called with each object
    that has got its state, since joblib writes the numbers of an array right behind that.
    """

    def __init__(self, source: Source, on_build: Callable[[Made], None] | None = None) -> None:
        self._source = source
        self._on_build = on_build
        self._left = MAX_STEPS
        self._room = MAX_TEXTS
        self.classes: dict[str, None] = {}
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def follow(self) -> object:
        """What the pickle is, in stand-ins. Raises Unreadable where its bytes are none."""
        self._stack, self._marks, self._memo = [], [], {}
        try:
            while True:
                self._left -= 1
                if self._left < 0:
                    raise Unreadable(f"only its first {MAX_STEPS:,} steps were followed")
                code = self._source.read(1)
                op = _BY_CODE.get(code.decode("latin-1"))
                if op is None:
                    raise Unreadable("it is no pickle, or ends too early")
                if op.name == "STOP":
                    return self._stack.pop()
                self._step(op)
        except (IndexError, KeyError, TypeError, ValueError, OverflowError):
            raise Unreadable("it is no pickle, or ends too early") from None

    def skip(self, count: int) -> None:
        """Pass over bytes that are no opcodes."""
        while count > 0:
            done = len(self._source.read(min(count, 1 << 20)))
            if not done:
                raise Unreadable("it ends too early")
            count -= done

    def read(self, count: int) -> bytes:
        """A few bytes that are no opcodes."""
        return self._source.read(count)

    def _argument(self, op: pickletools.OpcodeInfo) -> Any:
        if op.arg is None:
            return None
        width = _LENGTHS.get(op.arg.n)
        if width is None:
            argument = op.arg.reader(cast("IO[bytes]", self))
            return argument if op.name in _NAMES else self._counted(argument)
        length = int.from_bytes(self._whole(width), "little")
        if length > MAX_KEPT or length > self._room:
            self.skip(length)
            return Long(length)
        data = self._whole(length)
        if op.name in _TEXTS:
            return self._counted(data.decode("utf-8", "surrogatepass"))
        if op.name in _OLD_TEXTS:
            return self._counted(data.decode("latin-1"))
        if op.name in ("LONG1", "LONG4"):
            return self._counted(int.from_bytes(data, "little", signed=True))
        return self._counted(data)

    def _counted(self, kept: Any) -> Any:
        """The text or number itself, or its length alone where there is no room left for it."""
        size = kept.__sizeof__()
        if size <= _FREE:
            return kept
        self._room -= size
        return kept if self._room >= 0 else Long(size)

    def _whole(self, count: int) -> bytes:
        data = self._source.read(count)
        if len(data) != count:
            raise ValueError
        return data

    def readline(self) -> bytes:
        """One line, as pickletools reads its arguments, but not without end."""
        return self._source.readline(MAX_KEPT)

    def _step(self, op: pickletools.OpcodeInfo) -> None:
        argument = self._argument(op)
        action = _ACTIONS.get(op.name)
        if action is not None:
            action(self, argument)
        elif op.name in _PUTS:
            self._memo[len(self._memo) if argument is None else argument] = self._stack[-1]
        elif op.name in _GETS:
            self._stack.append(self._memo[argument])
        elif op.name in _CONSTANTS:
            self._stack.append(_CONSTANTS[op.name])
        elif op.arg is not None and op.name not in _NOTHING:
            self._stack.append(argument)
        elif op.name not in _NOTHING:
            raise ValueError

    def _since_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._marks.pop()
        return items

    def _mark(self, _: object) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _global(self, argument: str) -> None:
        self._name(argument.replace(" ", ".", 1))

    def _stack_global(self, _: object) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError
        self._name(f"{module}.{name}")

    def _name(self, name: str) -> None:
        kept = self._counted(name[:1000])
        if isinstance(kept, Long):
            kept = ""
        elif len(self.classes) < MAX_CLASSES:
            self.classes[kept] = None
        self._stack.append(Global(kept))

    def _call(self, _: object) -> None:
        args = self._stack.pop()
        self._stack.append(Made(self._stack.pop(), args))

    def _call_with_names(self, _: object) -> None:
        self._stack.pop()
        self._call(None)

    def _instance(self, argument: str) -> None:
        args = tuple(self._since_mark())
        self._global(argument)
        self._stack.append(Made(self._stack.pop(), args))

    def _object(self, _: object) -> None:
        what, *args = self._since_mark()
        self._stack.append(Made(what, tuple(args)))

    def _build(self, _: object) -> None:
        state = self._stack.pop()
        made = self._stack[-1]
        if isinstance(made, Made):
            made.state = state
            if self._on_build is not None:
                self._on_build(made)

    def _tuple(self, count: int) -> None:
        items = tuple(self._stack[len(self._stack) - count :])
        if len(items) != count:
            raise ValueError
        del self._stack[len(self._stack) - count :]
        self._stack.append(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, (Made, Pairs)):
            target.pairs += zip(items[::2], items[1::2], strict=False)

    def _set_item(self, _: object) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set_items([key, value])

    def _append(self, items: list[Any]) -> None:
        if isinstance(self._stack[-1], list):
            self._stack[-1] += items

    def _persistent(self, _: object) -> None:
        self._stack.append(Kept(self._stack.pop()))

    def _pop(self, _: object) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._since_mark()

    def _pop_mark(self, _: object) -> None:
        self._since_mark()

    def _push(self, value: object) -> None:
        self._stack.append(value)


_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_NOTHING = frozenset({"PROTO", "FRAME", "READONLY_BUFFER"})
_CONSTANTS: dict[str, object] = {
    "NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (), "NEXT_BUFFER": None,
}  # fmt: skip
_ACTIONS: dict[str, Callable[[Opcodes, Any], None]] = {
    "MARK": Opcodes._mark,
    "POP": Opcodes._pop,
    "POP_MARK": Opcodes._pop_mark,
    "DUP": lambda self, _: self._push(self._stack[-1]),
    "GLOBAL": Opcodes._global,
    "STACK_GLOBAL": Opcodes._stack_global,
    "EXT1": lambda self, _: self._name("copyreg.extension"),
    "EXT2": lambda self, _: self._name("copyreg.extension"),
    "EXT4": lambda self, _: self._name("copyreg.extension"),
    "REDUCE": Opcodes._call,
    "NEWOBJ": Opcodes._call,
    "NEWOBJ_EX": Opcodes._call_with_names,
    "INST": Opcodes._instance,
    "OBJ": Opcodes._object,
    "BUILD": Opcodes._build,
    "EMPTY_LIST": lambda self, _: self._push([]),
    "EMPTY_DICT": lambda self, _: self._push(Pairs()),
    "EMPTY_SET": lambda self, _: self._push([]),
    "LIST": lambda self, _: self._push(self._since_mark()),
    "TUPLE": lambda self, _: self._push(tuple(self._since_mark())),
    "FROZENSET": lambda self, _: self._push(tuple(self._since_mark())),
    "DICT": lambda self, _: self._push(Pairs(self._since_mark())),
    "TUPLE1": lambda self, _: self._tuple(1),
    "TUPLE2": lambda self, _: self._tuple(2),
    "TUPLE3": lambda self, _: self._tuple(3),
    "APPEND": lambda self, _: self._append([self._stack.pop()]),
    "APPENDS": lambda self, _: self._append(self._since_mark()),
    "ADDITEMS": lambda self, _: self._append(self._since_mark()),
    "SETITEM": Opcodes._set_item,
    "SETITEMS": lambda self, _: self._set_items(self._since_mark()),
    "PERSID": lambda self, argument: self._push(Kept(argument)),
    "BINPERSID": Opcodes._persistent,
}
