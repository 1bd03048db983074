r"""Settings out of a result, and a command line out of settings."""
import difflib
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ..configs import WAN_CONFIGS
from ..jobs.origin import MAX_RECORD_BYTES
from ..jobs.task import Task
from ..tasks import TASKS
from ..utils.ffmpeg import input_args, run_ffmpeg
from ..utils.flags import build, kinds, names, parse, path_names
from ..utils.image import open_image
from ..utils.plain_files import open_plain
from ..utils.video import probe
from .uploads import lies_in

# A model that is asked for by its name alone is no file.
BARE = re.compile(r'[A-Za-z0-9][\w.-]*')
COMMENT = re.compile(r'^comment=((?:[^\n\\]|\\.)*)', re.MULTILINE | re.DOTALL)


class Again(NamedTuple):
    r"""What a result was made with.

    Args:
        task: its name.
        settings: by name, those that are not the defaults. The machine's own
            (`Runtime`) and its folders are not among them.
        missing: settings whose files are not here and are to be given again.
    """
    task: str
    settings: Mapping[str, object]
    missing: tuple[str, ...]


def settings_of(
    file: str | Path, folders: str | Path | Sequence[str | Path]
) -> Again:
    r"""The settings that a record holds, or an mp4, mov or png result.

    The file may be anybody's: only known settings with values that their task
    takes are read from it, and of files only those in given folders.

    Args:
        folders: of the visitor's uploads, and of what all may name.

    Raises:
        ValueError: it is none of these, or names what is not known here.
    """
    file = Path(file)
    told = _arguments(file)
    task = told.get('task')
    if not isinstance(task, str) or task not in TASKS:
        raise ValueError(
            f'{file.name} is of task {str(task)[:60]!r}, known are '
            f'{", ".join(TASKS)}.')
    row = TASKS[task]
    _check_known(file, row, told)
    if isinstance(folders, (str, Path)):
        folders = [folders]
    files = {name for kind in row.settings for name in path_names(kind)}
    settings, missing = {}, []
    for name, value in _differing(task, {
            name: told[name] for name in ('base_seed', *names(*row.settings))
            if name in told}).items():
        if name in files and not all(
                named_here(name, one, folders) for one in (
                    value if isinstance(value, tuple) else (value,))):
            missing.append(name)
        else:
            settings[name] = value
    for kind in row.kinds:
        build(kind, settings)
    return Again(task, settings, tuple(missing))


def named_here(
    name: str, value: str, folders: Iterable[str | Path]
) -> bool:
    r"""Whether a setting that names a file may have a value: something in
    these folders or, of a language model, a plain name."""
    return lies_in(value, folders) or (
        name == 'prompt_extend_model' and bool(BARE.fullmatch(value))
        and not Path(value).exists())


def _arguments(file: Path) -> dict[str, object]:
    r"""What a file tells of its making.

    Raises:
        ValueError: nothing that is known here.
    """
    suffix = file.suffix.lower()
    if suffix == '.json':
        with open_plain(file, MAX_RECORD_BYTES) as opened:
            text = opened.read(MAX_RECORD_BYTES)
    elif suffix == '.png':
        open_image(file)  # within the limits
        with Image.open(file, formats=['PNG']) as image:
            image.load()
            text = str(image.text.get('comment', ''))
    else:
        probe(file)
        said = run_ffmpeg([
            *input_args(file), '-f', 'ffmetadata', 'pipe:1']).stdout
        found = COMMENT.search(said.decode('utf-8', 'replace'))
        text = found and re.sub(r'\\(.)', r'\1', found[1], flags=re.DOTALL)
    try:
        told = json.loads(text or '')['arguments']
        if not isinstance(told, dict):
            raise TypeError
        return told
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(
            f'{file.name} tells no settings: a result of this program is '
            f'needed (mp4, mov or png), or the .json beside it.') from error


def _check_known(file: Path, row: Task, told: Mapping[str, object]) -> None:
    known = {'task', 'experiment_key', *names(*row.kinds)}
    for name in told:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1, 0)[0]
            raise ValueError(
                f'{file.name} has a setting {str(name)[:60]!r}, which is not '
                f'known here; the nearest is {near!r}.')


def _differing(
    task: str, settings: Mapping[str, object]
) -> dict[str, object]:
    r"""The settings that are not the defaults, in their own types.

    Raises:
        ValueError: a value that its setting cannot take.
    """
    row = TASKS[task]
    usual = {**{field.name: field.default
                for kind in row.kinds for field in fields(kind)},
             **row.defaults({}, WAN_CONFIGS.get(task, {}))}
    types = {name: kind for cls in row.kinds
             for name, kind in kinds(cls).items()}
    found = {}
    for name, value in settings.items():
        if value in (None, '', (), []):
            continue
        value = parse(name, types[name], value)
        if value != usual[name]:
            found[name] = value
    return found


def command(task: str, settings: Mapping[str, object]) -> str:
    r"""The same run as a line for a shell: `python generate.py --task ...`.

    Args:
        settings: by name; those that are the defaults are left out.

    Raises:
        ValueError: a value that its setting cannot take.
    """
    flags, files = [], {
        name for kind in TASKS[task].kinds for name in path_names(kind)}
    switches = {field.name for kind in TASKS[task].kinds
                for field in fields(kind) if 'switch' in field.metadata}
    for name, value in _differing(task, settings).items():
        if name in switches:
            flags.append(f'--{name}')
            continue
        several = value if name in files and isinstance(value, tuple) \
            else (_text(value),)
        for text in several:
            # What begins with a dash would be read as a flag.
            flags += [f'--{name}={text}'] if text.startswith('-') \
                else [f'--{name}', text]
    return shlex.join(['python', 'generate.py', '--task', task, *flags])


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ','.join(map(_text, value))
    return str(value)
