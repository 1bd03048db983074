r"""Experiment files times values to try: the name of every point."""
import difflib
import hashlib
import itertools
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

MAX_LABEL = 40
MAX_NAME_BYTES = 200
MAX_POINTS = 10_000
# Files beside the folders of the experiments.
TAKEN = ('index.html', 'results.csv', 'report.json')

Point = Mapping[str, str]
S = TypeVar('S')


def read_sweeps(
    texts: Sequence[str], keys: Mapping[str, str]
) -> dict[str, list[str]]:
    r"""The values to try by setting.

    Args:
        texts: 'key=a,b,c', or 'key=a;b,c' where a value has commas.
        keys: those of experiment files, and the settings they mean.

    Raises:
        ValueError: another form, an unknown key, or anything given twice.
    """
    sweeps = {}
    for text in texts:
        key, equals, values = text.partition('=')
        if not equals:
            raise ValueError(
                f'Sweep {text!r} must read key=value,value,...')
        if key not in keys:
            near = difflib.get_close_matches(key, keys, 1, 0)[0]
            raise ValueError(
                f'Sweep of an unknown key {key!r}; did you mean {near!r}?')
        name = keys[key]
        if name in sweeps:
            raise ValueError(f'Two sweeps give {name}.')
        separator = ';' if ';' in values else ','
        sweeps[name] = [value.strip() for value in values.split(separator)]
        if len(set(sweeps[name])) < len(sweeps[name]):
            raise ValueError(f'Sweep {text!r} has a value twice.')
    return sweeps


def grid(
    sources: Sequence[S],
    sweeps: Mapping[str, Sequence[str]],
    label: Callable[[S], str] = lambda file: Path(file).stem,
) -> dict[str, tuple[S, Point]]:
    r"""Every experiment file, or product, at every point of the sweeps, by
    name.

    A name reads 'watch_to_bracelet__ref_c=0.2__ref_layers=deep' and does not
    depend on what else is run, so that finished work is found again.

    Args:
        label: how a source is called in it.

    Raises:
        ValueError: two sources of one name, or too many points.
    """
    points = math.prod([len(sources), *map(len, sweeps.values())])
    if points > MAX_POINTS:
        raise ValueError(
            f'The sweeps make {points} experiments, allowed are {MAX_POINTS}.')
    jobs = {}
    for source, values in itertools.product(
            sources, itertools.product(*sweeps.values())):
        point = dict(zip(sweeps, values, strict=True))
        name = _short('__'.join([
            _label(label(source)),
            *(f'{key}={_label(value)}' for key, value in point.items())]))
        if name in jobs:
            raise ValueError(
                f'{jobs[name][0]} and {source} would both be named {name!r}; '
                f'rename one of them.')
        jobs[name] = source, point
    return jobs


def _label(value: str) -> str:
    r"""The value as part of a file name; what is not shown becomes a hash."""
    label = re.sub(r'[^\w.,+-]+', '-', value).strip('.')[:MAX_LABEL]
    if label == value and label.casefold() not in TAKEN:
        return label
    return f'{label}~{_hash(value)}'


def _short(name: str) -> str:
    r"""A name that a file system takes; what is cut becomes a hash."""
    if len(os.fsencode(name)) <= MAX_NAME_BYTES:
        return name
    cut = os.fsencode(name)[:MAX_NAME_BYTES].decode(errors='ignore')
    return f'{cut}~{_hash(name)}'


def _hash(text: str) -> str:
    data = text.encode(errors='surrogatepass')
    return hashlib.sha256(data).hexdigest()[:6]
