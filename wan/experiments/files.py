r"""Experiment files: the settings of one edit in YAML."""
import difflib
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

import yaml

from ..edit_config import EditConfig
from ..refdrop.config import RefConfig

# The names of the original experiment files, and ours.
ALIASES = {
    'video': {'video_path': 'src_video'},
    'flowalign': {
        'target_guidance_scale': 'sample_guide_scale',
        'zeta_scale': 'fg_zeta_scale',
        'flag_attnmask': 'use_mask',
        'use_reference_attention': 'use_reference',
        'num_inference_steps': 'sample_steps',
        'seed': 'base_seed',
    },
}
KEYS = {
    'video': (
        'src_video', 'src_mask', 'source_prompt', 'target_prompt',
        'source_blend', 'target_blend', 'target_image', 'target_mask',
        'n_prompt', 'size', 'frame_num', 'fit'),
    'flowalign': (
        *(f.name for cls in (EditConfig, RefConfig) for f in fields(cls)),
        'use_mask', 'use_reference', 'ref_preset', 'ref_bank', 'base_seed'),
}
PATHS = ('src_video', 'src_mask', 'target_image', 'target_mask')


def experiment_flags(path: str | Path) -> list[str]:
    r"""An experiment file as flags of generate.py, to be put before others.

    Paths in it are taken from the working directory or, if nothing is there,
    from the file's own folder.

    Raises:
        ValueError: no YAML of the sections `video` and `flowalign`, or an
            unknown key; the nearest known one is named.
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
            f'{path} must have the sections {", ".join(KEYS)}, each with '
            f'keys and values.')
    flags = []
    for section, entries in content.items():
        _check_known(path, section, KEYS)
        for key, value in entries.items():
            _check_known(path, key, (*ALIASES[section], *KEYS[section]))
            name = ALIASES[section].get(key, key)
            if value is not None:
                text = _located(path, value) if name in PATHS else value
                flags.append(f'--{name}={_text(text)}')
    return flags


def _check_known(path: Path, key: str, allowed: Iterable[str]) -> None:
    if key not in allowed:
        near = difflib.get_close_matches(str(key), allowed, 1, 0)
        raise ValueError(
            f'{path}: unknown key {key!r}; did you mean {near[0]!r}?')


def _text(value: object) -> str:
    return ','.join(map(str, value)) if isinstance(value, list) else str(value)


def _located(path: Path, value: object) -> list[str]:
    return [
        str(beside) if not Path(name).exists()
        and (beside := path.parent / name).exists() else name
        for name in _text(value).split(',')
    ]
