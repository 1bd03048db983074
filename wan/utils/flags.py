r"""Command line flags from a dataclass, so that a setting stands once."""
import argparse
import dataclasses
import inspect
import math
import re
from typing import TypeVar

from .utils import str2bool

T = TypeVar('T')

EXPECTED = {
    bool: 'true or false', int: 'a whole number', float: 'a finite number',
    str: 'text', tuple[float, ...]: 'numbers separated by commas'}


def argument_help(cls: type) -> dict[str, str]:
    r"""The `Args:` entries of a class's docstring by name."""
    doc = inspect.getdoc(cls) or ''
    section = re.search(r'^Args:\n(.*?)(?=^\S|\Z)', doc, re.DOTALL | re.M)
    entries = re.findall(
        r'^    ([\w, ]+): (.*?)(?=^    \w|\Z)', section[1] if section else '',
        re.DOTALL | re.M)
    return {
        name.strip(): ' '.join(text.split())
        for names, text in entries for name in names.split(',')
    }


def parse(name: str, kind: object, text: object) -> object:
    r"""A flag's or a file's value in the type of a field.

    Raises:
        ValueError: it cannot be read as that type.
    """
    try:
        if kind is bool:
            return str2bool(text if isinstance(text, bool) else str(text))
        if kind == tuple[float, ...]:
            parts = text if isinstance(text, (list, tuple)) \
                else str(text).split(',')
            return tuple(float(part) for part in parts)
        value = kind(text)
        if kind is float and not math.isfinite(value):
            raise ValueError
        return value
    except (TypeError, ValueError, argparse.ArgumentTypeError) as error:
        raise ValueError(
            f'{name} is {text!r}, expected {EXPECTED[kind]}.') from error


def add_flags(group: argparse._ActionsContainer, cls: type) -> None:
    r"""One flag for each field that has none yet; unset flags are None."""
    known = {a.dest for a in group._actions}
    texts = argument_help(cls)
    for field in dataclasses.fields(cls):
        if field.name not in known:
            default = field.default
            if isinstance(default, tuple):
                default = ','.join(f'{x:g}' for x in default)
            text = texts[field.name].rstrip('.').replace('%', '%%')
            # A switch may stand alone or have its value.
            switch = {'nargs': '?', 'const': True} if field.type is bool \
                else {}
            group.add_argument(
                f'--{field.name}', help=f'{text} (default: {default})',
                **switch)


def settings(args: argparse.Namespace, cls: type) -> dict[str, object]:
    r"""The fields of a dataclass that the command line has set, parsed.

    Raises:
        ValueError: a value that its field's type cannot take.
    """
    return {
        field.name: parse(f'--{field.name}', field.type, value)
        for field in dataclasses.fields(cls)
        if (value := getattr(args, field.name, None)) is not None
    }
