r"""Files of strangers: looked into, then kept under a name that is safe."""
from pathlib import Path

KINDS = ('video', 'image', 'mask', 'table', 'record')


def accept(file: str | Path, kind: str, folder: str | Path) -> Path:
    r"""Take a file over, under its own name as far as that is safe.

    The same file is kept once, in a folder that its content names.

    Args:
        file: where the server has put it.
        kind: of `KINDS`; a mask is a video or an image, a record the .json
            beside a result or the result itself.
        folder: of all uploads of a visitor.

    Raises:
        ValueError: it is none of its kind, or larger than the command line
            allows, in one sentence.
    """
    raise NotImplementedError
