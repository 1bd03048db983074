r"""What the library of the page reads from its surroundings."""
import os
from pathlib import Path


def cache() -> Path:
    r"""Where gradio keeps uploads."""
    return Path(os.environ['GRADIO_TEMP_DIR'])


def prepare_environment(root: Path) -> None:
    r"""Have gradio keep its files below a folder, and tell nobody of itself.
    """
    os.environ['GRADIO_TEMP_DIR'] = str(root.resolve() / 'cache')
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    os.environ['HF_HUB_DISABLE_TELEMETRY'] = '1'
