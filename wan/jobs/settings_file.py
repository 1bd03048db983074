r"""Experiment files: the settings of one job in YAML."""
import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from ..utils.flags import kinds, parse, path_names
from .task import Section, Task

MAX_BYTES = 2**20
MAX_VALUES = 10_000
HINTS = (
    ('mapping values', ': a text with a colon needs quotes'),
    ('escape', ': in double quotes a backslash starts an escape, in single '
     'ones it does not'),
    ("'\\t'", ': lines are indented by blanks'),
)


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
    r"""The settings that an experiment file gives, see `read_settings`."""
    return read_settings(path, row.experiment, row.kinds)


def read_settings(
    path: str | Path,
    sections: Mapping[str, Section],
    classes: Iterable[type],
    apart: bool = False,
) -> dict[str, object]:
    r"""The settings that a file gives, by name.

    Paths in it are taken from the working directory or, if nothing is there,
    from the file's own folder.

    Args:
        sections: that the file may have.
        classes: of the settings, which tell what names a file.
        apart: take paths from the file's own folder only.

    Raises:
        ValueError: no YAML of these sections, or an unknown key; the nearest
            known one is named.
    """
    path = Path(path)
    content = _content(path)
    if not isinstance(content, dict) or not all(
            isinstance(part, dict) for part in content.values()):
        raise ValueError(
            f'{path} must have the sections {", ".join(sections)}, '
            f'each with keys and values.')
    files = {name: kinds(cls)[name]
             for cls in classes for name in path_names(cls)}
    given = {}
    for title, entries in content.items():
        _check_known(path, title, sections)
        section = sections[title]
        for key, value in entries.items():
            _check_known(path, key, (*section.aliases, *section.keys))
            name = section.aliases.get(key, key)
            if name in given:
                raise ValueError(f'{path} gives {name} twice.')
            if value is not None:
                given[name] = value if name not in files else located(
                    path.parent, name, files[name], value, apart)
    return given


class _Loader(yaml.SafeLoader):
    r"""Refuses what YAML leaves open: a key that stands twice."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f'{key.value} stands twice',
                    problem_mark=key.start_mark)
            seen.add(key.value if isinstance(key.value, str) else None)
        return super().construct_mapping(node, deep)


def _content(path: Path) -> object:
    r"""What is in a YAML file of a sane size.

    Raises:
        ValueError: anything else, with the line where it is known.
    """
    try:
        if not path.is_file():
            raise ValueError('it is not an existing, regular file')
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f'it has more than {MAX_BYTES} bytes')
        content = yaml.load(path.read_text(encoding='utf-8'), _Loader)
        _check_extent(content)
        return content
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = error.problem or error.context
        hint = next((hint for part, hint in HINTS if part in problem), '')
        raise ValueError(
            f'Cannot read {path}, line {line}: {problem}{hint}.') from error
    except OSError as error:
        raise ValueError(f'Cannot read {path}: {error.strerror}.') from error
    except RecursionError as error:
        raise ValueError(f'Cannot read {path}: it is too deep.') from error
    except Exception as error:  # YAML's tags raise any kind on other values
        reason = (str(error).splitlines() or [''])[0]
        raise ValueError(f'Cannot read {path}: {reason}.') from error


def _check_extent(content: object) -> None:
    r"""Check that a file is not, by aliases, longer than it looks."""
    left, count = [content], 0
    while left:
        value = left.pop()
        count += 1
        if count > MAX_VALUES:
            raise ValueError(f'it has more than {MAX_VALUES} values')
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, (list, tuple, set)):
            left += value


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


def located(
    folder: Path, name: str, kind: object, value: object, apart: bool = False
) -> str | tuple[str, ...]:
    r"""The value of a setting that names a file, or several, each where it
    is: in the working directory or, if nothing is there, in a folder.

    Args:
        kind: of the setting's values, one text or several.
        apart: in that folder only.
    """
    whole = _place(folder, value, apart) if isinstance(value, str) else None
    if whole and os.path.lexists(whole):
        return whole if kind is str else (whole,)
    found = parse(name, kind, value)
    if isinstance(found, tuple):
        return tuple(_place(folder, one, apart) for one in found)
    return _place(folder, found, apart)


def _place(folder: Path, value: str, apart: bool) -> str:
    beside = str(folder / value)
    if apart:
        return beside
    return beside if not os.path.exists(value) and os.path.exists(beside) \
        else value
