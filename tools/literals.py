r"""Values of Python expressions, found by reading them and never by running."""
import ast
import enum
import operator
from collections.abc import Mapping
from types import MappingProxyType

import torch


class Symbol(str):
    r"""An expression known by its text only, such as `torch.bfloat16`."""

    __repr__ = str.__str__


ANY = Symbol('(not compared)')

_ALIASES = {
    'torch.float': 'torch.float32',
    'torch.half': 'torch.float16',
    'torch.double': 'torch.float64',
}
_ARITHMETIC = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}


def evaluate(node: ast.expr, names: Mapping = MappingProxyType({})):
    r"""The value of literals, of sums and products of numbers, of `names`,
    their entries and copies; what is beyond that becomes a `Symbol`.

    Lists become tuples, so that `[1, 2]` and `(1, 2)` compare equal.

    Args:
        node: an expression.
        names: values of the names the expression may use.
    """
    match node:
        case ast.Constant():
            return node.value
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.Tuple() | ast.List():
            return tuple(evaluate(x, names) for x in node.elts)
        case ast.Dict():
            return _dict(zip(node.keys, node.values, strict=True), names)
        case ast.UnaryOp(op=ast.USub()):
            value = evaluate(node.operand, names)
            if isinstance(value, (int, float)):
                return -value
        case ast.BinOp():
            value = _arithmetic(node, names)
            if value is not None:
                return value
        case ast.Attribute():
            value = evaluate(node.value, names)
            if isinstance(value, dict) and node.attr in value:
                return value[node.attr]
        case ast.Call():
            value = _call(node, names)
            if value is not None:
                return value
    text = ast.unparse(node)
    return Symbol(_ALIASES.get(text, text))


def plain(value):
    r"""A value of a running program in the form `evaluate` gives."""
    if isinstance(value, (list, tuple)):
        return tuple(plain(x) for x in value)
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (torch.dtype, enum.Enum)):
        return Symbol(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return Symbol(repr(value))


def _dict(items, names) -> dict:
    out = {}
    for key, value in items:
        value = evaluate(value, names)
        if key is not None:
            out[key if isinstance(key, str) else evaluate(key, names)] = value
        elif isinstance(value, dict):
            out |= value
    return out


def _arithmetic(node, names):
    left, right = evaluate(node.left, names), evaluate(node.right, names)
    known = not isinstance(left, Symbol) and not isinstance(right, Symbol)
    numbers = all(isinstance(x, (int, float)) for x in (left, right))
    joined = isinstance(node.op, ast.Add) and type(left) is type(right)
    if known and type(node.op) in _ARITHMETIC and (numbers or joined):
        return _ARITHMETIC[type(node.op)](left, right)
    return None


def _call(node, names):
    args = [evaluate(x, names) for x in node.args]
    match ast.unparse(node.func).rpartition('.')[2], args:
        case 'dict' | 'EasyDict', _:
            positional = [(None, x) for x in node.args]
            return _dict(
                positional + [(k.arg, k.value) for k in node.keywords], names)
        case 'copy' | 'deepcopy', [dict() as value]:
            return dict(value)
        case 'keys', [] if isinstance(node.func, ast.Attribute):
            value = evaluate(node.func.value, names)
            return tuple(value) if isinstance(value, dict) else None
        case 'list' | 'tuple', [tuple() | dict() as value]:
            return tuple(value)
        case 'float', [str() as value] if value.strip('-') in ('inf', 'nan'):
            return float(value)
    return None
