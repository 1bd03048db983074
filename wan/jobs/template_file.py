r"""The folder of a template that many products share."""
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from .settings_file import read_settings
from .task import Section

FILE, MASK, PICTURE = 'template.yaml', 'mask.mov', 'preview.png'
# What belongs to a product, or to one run.
OWN = (
    'template', 'target_image', 'target_mask', 'target_prompt',
    'target_blend', 'view_angles', 'first_frame', 'last_frame', 'ref_bank',
    'reverse', 'base_seed')
# What a seller is likely to change is there to be changed.
ALWAYS = ('src_video', 'source_prompt', 'source_blend', 'src_mask', 'fps',
          'start', 'end', 'crop')


def template_sections(
    sections: Mapping[str, Section]
) -> dict[str, Section]:
    r"""Those of an experiment file, less what is no template's."""
    return {title: Section(
        tuple(key for key in section.keys if key not in OWN),
        {alias: key for alias, key in section.aliases.items()
         if key not in OWN}) for title, section in sections.items()}


def read_template_folder(
    folder: str | Path,
    sections: Mapping[str, Section],
    classes: Iterable[type],
) -> dict[str, object]:
    r"""The settings that the folder of a template gives, by name.

    Args:
        sections: of experiment files.
        classes: of the settings.

    Raises:
        ValueError: no such folder, or a file in it that cannot be read.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise ValueError(
            f'template {folder} is not an existing folder: prepare makes one.')
    return read_settings(
        folder / FILE, template_sections(sections), classes, apart=True)


def template_text(
    settings: Mapping[str, object],
    sections: Mapping[str, Section],
    facts: Iterable[str],
) -> str:
    r"""What stands in the file.

    Args:
        settings: by name.
        facts: sentences for people.
    """
    told = {
        title: {key: _plain(settings[key]) for key in (
            *(key for key in ALWAYS if key in section.keys),
            *(key for key in section.keys if key not in ALWAYS))
            if key in settings}
        for title, section in template_sections(sections).items()}
    body = yaml.safe_dump(
        {title: part for title, part in told.items() if part},
        sort_keys=False, allow_unicode=True)
    return '\n'.join(f'# {" ".join(line.split())}'.rstrip() for line in (
        *HEAD, *facts)) + '\n' + body


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


HEAD = (
    'A template, prepared for many products. Give this folder as template:',
    'then only the photo and the target prompt are to be given.',
    '',
    'Every line below may be changed, any key of an experiment file added, '
    'and the',
    'mask painted over (white is the product). What depends on a change is '
    'made',
    'anew at the next use, and nothing else. After a change of fps, start or '
    'end',
    'the mask no longer fits: prepare the template again.',
    '',
)
