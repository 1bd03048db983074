r"""Experiment files: the settings of one job in YAML."""
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from ..jobs.task import Task
from ..utils.flags import kinds, parse, path_names


def experiment_task(
    tasks: Mapping[str, Task], wanted: str | None = None
) -> str:
    r"""The task of an experiment file, the first that has any if not given.

    Raises:
        ValueError: the wanted task has none.
    """
    able = [name for name, row in tasks.items() if row.experiment]
    if wanted not in (None, *able):
        raise ValueError(
            f'Task {wanted} has no experiment files; allowed: '
            f'{", ".join(able)}.')
    return wanted or able[0]


def read_experiment(path: str | Path, row: Task) -> dict[str, object]:
    r"""The settings that an experiment file gives, by name.

    Paths in it are taken from the working directory or, if nothing is there,
    from the file's own folder.

    Raises:
        ValueError: no YAML of the task's sections, or an unknown key; the
            nearest known one is named.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f'Cannot read {path}: {reason}') from error
    if not isinstance(content, dict) or not all(
            isinstance(part, dict) for part in content.values()):
        raise ValueError(
            f'{path} must have the sections {", ".join(row.experiment)}, '
            f'each with keys and values.')
    files = {name: kinds(cls)[name]
             for cls in row.kinds for name in path_names(cls)}
    given = {}
    for title, entries in content.items():
        _check_known(path, title, row.experiment)
        section = row.experiment[title]
        for key, value in entries.items():
            _check_known(path, key, (*section.aliases, *section.keys))
            name = section.aliases.get(key, key)
            if name in given:
                raise ValueError(f'{path} gives {name} twice.')
            if value is not None:
                given[name] = value if name not in files else _located(
                    path, parse(name, files[name], value))
    return given


def sweep_keys(row: Task) -> dict[str, str]:
    r"""Every key of a task's experiment files, and the setting it means."""
    return {
        **{key: key for section in row.experiment.values()
           for key in section.keys},
        **{alias: key for section in row.experiment.values()
           for alias, key in section.aliases.items()}}


def _check_known(path: Path, key: str, allowed: Iterable[str]) -> None:
    if key not in allowed:
        near = difflib.get_close_matches(str(key), allowed, 1, 0)
        raise ValueError(
            f'{path}: unknown key {key!r}; did you mean {near[0]!r}?')


def _located(path: Path, value: str | tuple[str, ...]):
    r"""A file's name, or several, each where it is."""
    if isinstance(value, tuple):
        return tuple(_located(path, name) for name in value)
    beside = path.parent / value
    return str(beside) if not Path(value).exists() and beside.exists() \
        else value
