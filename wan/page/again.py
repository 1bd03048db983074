r"""Settings out of a result, and a command line out of settings."""
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


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


def settings_of(file: str | Path, folder: str | Path) -> Again:
    r"""The settings that a record holds, or an mp4, mov or png result.

    The file may be anybody's: only known settings with values that their task
    takes are read from it, and of files only those in a folder.

    Args:
        folder: of the visitor's uploads.

    Raises:
        ValueError: it is none of these, or names what is not known here.
    """
    raise NotImplementedError


def command(task: str, settings: Mapping[str, object]) -> str:
    r"""The same run as a line for a shell: `python generate.py --task ...`.

    Args:
        settings: by name; those that are the defaults are left out.
    """
    raise NotImplementedError
