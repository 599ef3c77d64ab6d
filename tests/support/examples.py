"""Examples in docstrings: finds them, and checks their calls against the real signatures without running them.

>>> examples(ast.parse('"Adds.\\\\n\\\\n    total = add(1, 2)"'))
['total = add(1, 2)']
>>> import textwrap
>>> problems("textwrap.indent('a', prefx='b')", vars(textwrap) | {"textwrap": textwrap}, {})
["textwrap.indent('a', prefx='b'): missing a required argument: 'prefix'"]

An example may use names that it does not define (`store`, `progress`): such a name stands for an instance of the class
of that name, if the module knows one (`Store`), and for anything else otherwise. `...` or `…` in a call stands for
arguments that are left out.
"""

import ast
import builtins
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

_OURS = ("huggingtweets", "pipeline", "serve", "tests", "textwrap")
_UNKNOWN = inspect.Signature.empty  # a value of which nothing is known


def examples(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """The indented blocks of a docstring, dedented; doctests (`>>>`) are not among them."""
    if ast.get_docstring(node) is None:
        return []
    margin = " " * node.body[0].col_offset
    docstring = ast.get_docstring(node, clean=False) or ""
    blocks, lines = [], []
    for line in [*(line.removeprefix(margin) for line in docstring.splitlines()), "end"]:
        if line.startswith("    ") or (lines and not line):
            lines.append(line)
        elif lines:
            blocks.append(textwrap.dedent("\n".join(lines)).strip())
            lines = []
    return [block for block in blocks if not block.startswith(">>>")]


def parsed(example: str) -> ast.Module | None:
    """An example as Python; None if it is something else."""
    try:
        return ast.parse(example.replace("…", "..."))
    except SyntaxError:
        return None


def problems(example: str, namespace: Mapping[str, Any], everything: Mapping[str, list[Any]]) -> list[str]:
    """The calls and attributes of an example that do not fit what they name.

    `namespace`: of the module that the example is in; `everything`: our public functions and classes by name, for what
    the module does not import itself.
    """
    tree = parsed(example)
    assert tree is not None, f"not Python: {example}"
    reader = _Reader(namespace, everything)
    reader.visit(tree)
    return reader.problems


class _Instance:
    """Some value of a type."""

    def __init__(self, hint: Any):
        self.hint = hint


class _Reader(ast.NodeVisitor):
    """Follows an example from top to bottom; `known` is what its names stand for."""

    def __init__(self, namespace: Mapping[str, Any], everything: Mapping[str, list[Any]]):
        self.namespace, self.everything = namespace, everything
        self.known: dict[str, Any] = {}
        self.problems: list[str] = []

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.known[alias.asname or alias.name.partition(".")[0]] = __import__(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = __import__(node.module or "", fromlist=["x"])
        for alias in node.names:
            if hasattr(module, alias.name):
                self.known[alias.asname or alias.name] = getattr(module, alias.name)
            else:
                self.problems.append(f"{ast.unparse(node)}: {node.module} has no {alias.name}")

    def visit_Assign(self, node: ast.Assign) -> None:
        value = self.value(node.value)
        for target in node.targets:
            self.bind(target, value)

    def visit_With(self, node: ast.With) -> None:
        for item in node.items:
            value = self.value(item.context_expr)
            if item.optional_vars:
                self.bind(item.optional_vars, _entered(value))
        self.visit_body(node.body)

    visit_AsyncWith = visit_With

    def visit_For(self, node: ast.For) -> None:
        self.bind(node.target, _element(self.value(node.iter)))
        self.visit_body(node.body)

    visit_AsyncFor = visit_For

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            self.value(base)
        self.known[node.name] = _UNKNOWN

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.known[node.name] = _UNKNOWN

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_body(self, body: list[ast.stmt]) -> None:
        for statement in body:
            self.visit(statement)

    def visit_Expr(self, node: ast.Expr) -> None:
        self.value(node.value)

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.expr):
            self.value(node)
        else:
            super().generic_visit(node)

    def bind(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.known[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List):
            parts = typing.get_args(value.hint) if isinstance(value, _Instance) else ()
            whole = len(parts) == len(target.elts) and typing.get_origin(value.hint) is tuple
            for i, one in enumerate(target.elts):
                self.bind(one, _Instance(parts[i]) if whole else _UNKNOWN)
        else:
            self.value(target)

    def value(self, node: ast.expr) -> Any:
        """What an expression stands for: an object of ours, an _Instance, or _UNKNOWN."""
        match node:
            case ast.Name():
                return self.named(node.id)
            case ast.Attribute():
                return self.attribute(node)
            case ast.Call():
                return self.called(node)
            case ast.Subscript():
                self.value(node.slice)
                return _element(self.value(node.value), by_key=True)
            case ast.Await():
                return self.value(node.value)
            case ast.Constant():
                return _Instance(type(node.value))
        for child in ast.iter_child_nodes(node):
            self.visit(child)
        return _UNKNOWN

    def named(self, name: str) -> Any:
        for names in (self.known, self.namespace, vars(builtins)):
            if name in names:
                return names[name]
        class_name = "".join(part.capitalize() for part in name.split("_"))
        of_that_name = self.namespace.get(class_name)
        return _Instance(of_that_name) if inspect.isclass(of_that_name) else _UNKNOWN

    def attribute(self, node: ast.Attribute) -> Any:
        owner, name = self.value(node.value), node.attr
        if isinstance(owner, types.ModuleType):
            if not hasattr(owner, name):
                self.problems.append(f"{ast.unparse(node)}: {owner.__name__} has no {name}")
            return getattr(owner, name, _UNKNOWN)
        kind = _class_of(owner)
        if kind is None or not _is_ours(kind):
            return _UNKNOWN
        hint = _hints(kind).get(name, _UNKNOWN)
        if hint is not _UNKNOWN:
            return _Instance(hint)
        member = inspect.getattr_static(kind, name, _UNKNOWN)
        if member is _UNKNOWN:
            if not _sets(kind, name):
                self.problems.append(f"{ast.unparse(node)}: {kind.__name__} has no {name}")
            return _UNKNOWN
        if isinstance(member, property) and member.fget:
            return _Instance(_hints(member.fget).get("return", _UNKNOWN))
        return _Method(kind, member) if isinstance(owner, _Instance) else getattr(kind, name)

    def called(self, node: ast.Call) -> Any:
        for part in (*node.args, *(keyword.value for keyword in node.keywords)):
            self.value(part)
        function = self.value(node.func)
        if function is _UNKNOWN and isinstance(node.func, ast.Name) and node.func.id not in self.known:
            candidates = self.everything.get(node.func.id, [])
            if not candidates:
                self.problems.append(f"{ast.unparse(node)}: there is no {node.func.id}")
                return _UNKNOWN
            function = min(candidates, key=lambda one: bool(_mismatch(one, node)))
        if _is_ours(function):
            mismatch = _mismatch(function, node)
            if mismatch:
                self.problems.append(f"{ast.unparse(node)}: {mismatch}")
        return _result(function)


class _Method:
    """A method taken from an instance."""

    def __init__(self, kind: type, member: Any):
        plain = isinstance(member, types.FunctionType)
        self.function = member if plain else getattr(member, "__func__", member)
        self.bound = plain or isinstance(member, classmethod)
        self.__module__ = kind.__module__


def _is_ours(value: Any) -> bool:
    module = getattr(value, "__module__", None) or ""
    return not isinstance(value, _Instance) and module.partition(".")[0] in _OURS


def _class_of(value: Any) -> type | None:
    """The class whose attributes an expression has."""
    if isinstance(value, _Instance):
        value = _optional(value.hint)
        value = typing.get_origin(value) or value
    return value if inspect.isclass(value) else None


def _optional(hint: Any) -> Any:
    """`X` of `X | None`."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        some = [one for one in typing.get_args(hint) if one is not type(None)]
        return some[0] if len(some) == 1 else _UNKNOWN
    return hint


def _hints(value: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(value)
    except (NameError, TypeError, AttributeError):
        return {}


def _sets(kind: type, name: str) -> bool:
    """Whether a class of ours, or one that it inherits from, sets this attribute on its instances."""
    if issubclass(kind, BaseModel):
        return name in kind.model_fields
    for one in kind.__mro__:
        if _is_ours(one) and re.search(rf"\bself\.{name}\b[^=\n]*=|\b{name}:", inspect.getsource(one)):
            return True
        if not _is_ours(one) and one is not object and not one.__module__.startswith(("typing", "builtins", "abc")):
            return True  # another package's base class: its instances may have any attribute
    return False


def _mismatch(function: Any, node: ast.Call) -> str:
    """Why a call does not fit what it calls; an empty string if it does."""
    left_out = any(isinstance(one, ast.Starred) or _is_ellipsis(one) for one in node.args)
    if left_out or any(keyword.arg is None for keyword in node.keywords):
        return ""
    bound = isinstance(function, _Method) and function.bound
    function = function.function if isinstance(function, _Method) else function
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        return ""
    try:
        signature.bind(*[None] * (len(node.args) + bound), **{str(one.arg): None for one in node.keywords})
    except TypeError as error:
        return str(error)
    return ""


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _result(function: Any) -> Any:
    """What a call gives."""
    if inspect.isclass(function):
        return _Instance(function)
    if isinstance(function, _Method):
        function = function.function
    hint = _hints(function).get("return", _UNKNOWN) if callable(function) else _UNKNOWN
    if hint is typing.Self:
        return _UNKNOWN
    return _UNKNOWN if hint is _UNKNOWN else _Instance(hint)


def _element(value: Any, by_key: bool = False) -> Any:
    """What iterating over a value gives, or looking up a key in it."""
    hint = _optional(value.hint) if isinstance(value, _Instance) else _UNKNOWN
    arguments = typing.get_args(hint)
    if not arguments or typing.get_origin(hint) is tuple:
        return _UNKNOWN
    mapping = inspect.isclass(typing.get_origin(hint)) and issubclass(typing.get_origin(hint), Mapping)
    return _Instance(arguments[-1] if mapping and by_key else arguments[0])


def _entered(value: Any) -> Any:
    """What `with` gives: a context manager's own, or what a generator function yields."""
    kind = _class_of(value)
    if kind is None:
        return _UNKNOWN
    if "Iterator" in kind.__name__ or "Generator" in kind.__name__:
        return _element(value)
    enter = getattr(kind, "__enter__", None) or getattr(kind, "__aenter__", None)
    hint = _hints(enter).get("return", _UNKNOWN) if enter else _UNKNOWN
    return value if hint is typing.Self else _Instance(hint) if hint is not _UNKNOWN else _UNKNOWN
