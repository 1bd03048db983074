r"""Whether prompts can be written by a language model here."""
import os
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from ..jobs.extension import ExtensionSettings
from ..utils.flags import names
from ..utils.prompt_extend import QwenPromptExpander


def describes(images: bool) -> bool:
    r"""Whether a language model is installed; nothing is fetched for it.

    Args:
        images: whether it has to see photos.
    """
    try:
        where = QwenPromptExpander.locate(None, images)
    except (OSError, ValueError):
        return False
    return Path(where).is_dir() or isinstance(
        try_to_load_from_cache(where, 'config.json'), str)


def unable(images: bool) -> tuple[str, ...]:
    r"""Settings that nothing can be done with where none is installed."""
    if describes(images) or os.environ.get('DASH_API_KEY'):
        return ()
    return tuple(names(ExtensionSettings))
