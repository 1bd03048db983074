r"""Command line flags from a dataclass, so that a setting stands once."""
import argparse
import ast
import dataclasses
import inspect
import math
import os
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from .utils import str2bool

T = TypeVar('T')

# More is of no use, or can only overflow.
MAX_NUMBER = 10_000

EXPECTED = {
    bool: 'true or false', int: 'a whole number', float: 'a finite number',
    str: 'text', int | str: 'a whole number or auto',
    tuple[float, ...]: 'numbers separated by commas',
    tuple[str, ...]: 'a list of texts'}


def heading(cls: type) -> str:
    r"""The first line of a class's docstring, as a title."""
    return _doc(cls).partition('\n')[0].rstrip('.')


def argument_help(cls: type) -> dict[str, str]:
    r"""The `Args:` entries of a class's docstring by name."""
    doc = _doc(cls)
    section = re.search(r'^Args:\n(.*?)(?=^\S|\Z)', doc, re.DOTALL | re.M)
    entries = re.findall(
        r'^    ([\w, ]+): (.*?)(?=^    \w|\Z)', section[1] if section else '',
        re.DOTALL | re.M)
    return {
        name.strip(): ' '.join(text.split())
        for names, text in entries for name in names.split(',')
    }


def _doc(cls: type) -> str:
    r"""A class's docstring, which `python -OO` takes from it."""
    if sys.flags.optimize < 2:
        return inspect.getdoc(cls) or ''
    try:
        source = textwrap.dedent(inspect.getsource(cls))
        return ast.get_docstring(ast.parse(source).body[0]) or ''
    except (OSError, SyntaxError):
        return ''


def parse(name: str, kind: object, text: object) -> object:
    r"""A flag's or a file's value in the type of a field.

    Raises:
        ValueError: it cannot be read as that type.
    """
    try:
        if kind is bool:
            return str2bool(str(text))
        if kind in (tuple[float, ...], tuple[str, ...]):
            return _several(typing.get_args(kind)[0], text)
        if kind is str and isinstance(text, (list, tuple)):
            return ','.join(map(str, text))
        if kind == int | str:
            return text if text == 'auto' else int(str(text))
        # By its text, as 17.5 is not a whole number and True is none at all.
        value = kind(str(text))
        if kind is float and not math.isfinite(value):
            raise ValueError
        return value
    except (TypeError, ValueError, argparse.ArgumentTypeError) as error:
        raise ValueError(
            f'{name} is {text!r}, expected {EXPECTED[kind]}.') from error


def _several(kind: type, text: object) -> tuple:
    r"""A list's items as they are, a text's between its commas.

    A text that names a file as it is names that one.
    """
    if isinstance(text, (list, tuple)):
        return tuple(kind(part) for part in text)
    if kind is str and os.path.lexists(str(text)):
        return (str(text),)
    parts = [part.strip() for part in str(text).split(',')]
    if kind is str:
        return tuple(filter(None, parts))
    return tuple(kind(part) for part in parts)


class _Repeated(argparse.Action):
    r"""A flag's text or, where the flag stands several times, a list."""

    def __call__(self, parser, namespace, value, option_string=None):
        before = getattr(namespace, self.dest)
        if isinstance(before, str):
            before = [before]
        setattr(namespace, self.dest,
                [*before, value] if isinstance(before, list) else value)


def choice(default: str | None, allowed: Iterable[str]) -> dataclasses.Field:
    r"""A field that takes one of a few names."""
    return dataclasses.field(
        default=default, metadata={'choices': tuple(allowed)})


def switch() -> dataclasses.Field:
    r"""A field that is off, and whose flag takes no value."""
    return dataclasses.field(default=False, metadata={'switch': True})


def unbounded(default: int | None) -> dataclasses.Field:
    r"""A field whose own check says how far it may go."""
    return dataclasses.field(default=default, metadata={'unbounded': True})


def ranged(default: float, low: float, high: float) -> dataclasses.Field:
    r"""A field that takes numbers from `low` to `high`, both included."""
    return dataclasses.field(
        default=default, metadata={'range': (low, high)})


def path(several: bool = False) -> dataclasses.Field:
    r"""A field that names a file to be read, or several."""
    return dataclasses.field(
        default=() if several else None, metadata={'path': True})


def path_names(cls: type) -> list[str]:
    r"""The fields made by `path`."""
    return [f.name for f in dataclasses.fields(cls) if 'path' in f.metadata]


def names(*classes: type) -> list[str]:
    r"""The fields of settings."""
    return [f.name for cls in classes for f in dataclasses.fields(cls)]


def check_choices(settings: object) -> None:
    r"""Check every field made by `choice`.

    Raises:
        ValueError: a value that is not one of the allowed.
    """
    for field in dataclasses.fields(settings):
        allowed = field.metadata.get('choices')
        value = getattr(settings, field.name)
        if allowed and value not in (*allowed, field.default):
            raise ValueError(
                f'{field.name} is {value!r}, allowed: {", ".join(allowed)}.')


def check_ranges(settings: object) -> None:
    r"""Check every field made by `ranged`.

    Raises:
        ValueError: a value outside its range.
    """
    for field in dataclasses.fields(settings):
        if 'range' not in field.metadata:
            continue
        low, high = field.metadata['range']
        value = getattr(settings, field.name)
        if not low <= value <= high:
            raise ValueError(
                f'{field.name} is {value}, allowed is {low} to {high}.')


def kinds(cls: type) -> dict[str, object]:
    r"""The type of each field's values, whether or not it may be None."""
    found = {}
    for name, hint in typing.get_type_hints(cls).items():
        parts = [part for part in typing.get_args(hint)
                 if part not in (type(None), ...)]
        optional = type(None) in typing.get_args(hint)
        found[name] = parts[0] if optional else hint
    return {f.name: found[f.name] for f in dataclasses.fields(cls)}


def add_flags(
    group: argparse._ActionsContainer,
    cls: type,
    defaults: Mapping[str, object] | None = None,
) -> None:
    r"""One flag for each field that has none yet.

    Args:
        defaults: to be shown by name, in place of the fields' own.
    """
    known = {action.dest for action in group._actions}
    texts, types = argument_help(cls), kinds(cls)
    for field in dataclasses.fields(cls):
        if field.name in known:
            continue
        kind = types[field.name]
        text = texts.get(field.name, '').rstrip('.')
        default = _shown((defaults or {}).get(field.name, field.default))
        switched = 'switch' in field.metadata
        if default and not switched:
            text += f' (default: {default})'
        if switched:
            how = {'action': 'store_true'}
        elif kind is bool:  # may stand alone or have its value
            how = {'type': str2bool, 'nargs': '?', 'const': True}
        elif kind == tuple[str, ...]:
            how = {'action': _Repeated}
        else:
            how = {'choices': field.metadata.get('choices'),
                   'type': kind if kind in (int, float) else None}
        group.add_argument(
            f'--{field.name}', default=field.default,
            help=text.replace('%', '%%'), **how)


def _shown(default: object) -> str:
    if isinstance(default, tuple):
        return ','.join(map(_shown, default))
    if isinstance(default, bool):
        return str(default).lower()
    return '' if default is None else str(default)


def given_flags(
    parse: Callable[..., argparse.Namespace],
    argv: Sequence[str],
    settings: Iterable[str],
) -> tuple[dict[str, object], argparse.Namespace]:
    r"""The named settings that a command line gives, and all other flags.

    Args:
        parse: a parser's `parse_args`, or one like it.
    """
    absent, settings = object(), list(settings)
    values = vars(parse(
        argv, argparse.Namespace(**dict.fromkeys(settings, absent))))
    given = {name: values.pop(name) for name in settings}
    return ({name: value for name, value in given.items()
             if value is not absent}, argparse.Namespace(**values))


def build(cls: type[T], given: Mapping[str, object]) -> T:
    r"""The settings with the given values, parsed.

    Args:
        given: by name, as a command line, a file or a caller has them; names
            of other settings are passed over, None means the default.

    Raises:
        ValueError: a value that its field's type cannot take, or a number
            beyond `MAX_NUMBER`.
    """
    types, values = kinds(cls), {}
    for field in dataclasses.fields(cls):
        name, value = field.name, given.get(field.name)
        if value is None:
            continue
        values[name] = parse(name, types[name], value)
        if types[name] in (int, float) and 'unbounded' not in field.metadata \
                and abs(values[name]) > MAX_NUMBER:
            raise ValueError(
                f'{name} is {value}, allowed is -{MAX_NUMBER} to '
                f'{MAX_NUMBER}.')
    return cls(**values)
