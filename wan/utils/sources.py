r"""A digest of source files: what a number depends on besides its settings."""
import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What decides the pixels of an edit.
EDITING = (
    'flowalign', 'edit_config', 'edit_inputs', 'edit_steps', 'pvtt',
    'pending', 'pipeline', 'sparse', 'step_cache', 'together', 'velocity',
    'windows', 'conditioning', 'given_frames', 'vace_context', 'samplers',
    'refdrop', 'product', 'modules')

# What decides how the files of an edit are read, and its result measured.
READING = (
    'footage', 'jobs/edit', 'jobs/edit_call', 'jobs/edit_check',
    'jobs/edit_files', 'jobs/edit_masks', 'jobs/edit_native',
    'jobs/edit_photos', 'jobs/edit_shot', 'jobs/shot', 'utils/colour',
    'utils/image', 'utils/image_colour', 'utils/mask_file', 'utils/metrics',
    'utils/video', 'utils/video_filters')

# What decides the prompts of an edit, where a language model writes them.
EXTENDING = (
    'jobs/edit_prompts', 'jobs/extension', 'utils/dashscope_expander',
    'utils/prompt_expander', 'utils/prompt_texts', 'utils/qwen_expander',
    'utils/qwen_vl', 'utils/qwen_vl_utils')


@cache
def source_digest(*names: str) -> str:
    r"""A hash over the sources of modules and packages below `wan`.

    A number kept under it is computed anew when one of them has changed, and
    stays when another room has.

    Args:
        names: such as 'flowalign' or 'refdrop'.

    Raises:
        FileNotFoundError: no such module or package.
    """
    digest = hashlib.sha256()
    for name in names:
        path = ROOT / name
        files = sorted(path.rglob('*.py')) if path.is_dir() \
            else [path.with_suffix('.py')]
        for file in files:
            digest.update(file.relative_to(ROOT).as_posix().encode() + b'\0')
            digest.update(file.read_bytes() + b'\0')
    return digest.hexdigest()
