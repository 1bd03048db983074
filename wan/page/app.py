r"""The page: its tabs, and the server that shows them."""
import logging
import os
import signal
import threading
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from ..jobs.checkpoint import Checkpoint, embedded_checkpoint
from ..tasks import TASKS
from .catalogue_tab import CatalogueTab
from .desk import Desk
from .environment import cache
from .guard import Guard
from .pvtt_tab import TASK, PvttTab
from .station import Station
from .style import CSS, HEAD, theme
from .task_tab import TaskTab

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
EXAMPLES, DEMO = ROOT / 'examples', ROOT / 'configs/pvtt/demo.yaml'
TITLE = 'Wan2.1-PVTT'
LEAD = 'Put a real product into a video you already have.'
MOST_UPLOADED = '4gb'
# Files that gradio keeps for a page are removed after a day.
CLEANED = (3600, 86_400)


def build(
    station: Station, checkpoint: Checkpoint, log_file: Path, local: bool
) -> gr.Blocks:
    r"""The page.

    Args:
        station: with the queue of jobs.
        checkpoint: that they run on.
        log_file: where faults are told in full.
        local: whether all visitors sit at this machine.
    """
    desk = Desk(station, log_file, local)
    with gr.Blocks(
            title=TITLE, analytics_enabled=False, fill_width=True,
            delete_cache=CLEANED) as page:
        gr.HTML(_head(checkpoint))
        with gr.Tabs():
            with gr.Tab('Product into video'):
                edit = PvttTab(
                    desk, checkpoint.config, DEMO if DEMO.exists() else None)
            with gr.Tab('Catalogue'):
                catalogue = CatalogueTab(desk, edit)
            others = [_task(desk, task, checkpoint)
                      for task in TASKS if task != TASK]
        _resume(page, [edit, catalogue, *(tab.panel for tab in others)])
    return page


def _resume(page: gr.Blocks, parts: Sequence) -> None:
    r"""Show what there was before a page is loaded again."""

    def resumed(request: gr.Request) -> list[object]:
        return [update for part in parts for update in part.resumed(request)]

    page.load(resumed, None, [c for part in parts for c in part.outputs],
              show_progress='hidden', api_visibility='private')


def _task(desk: Desk, task: str, checkpoint: Checkpoint) -> TaskTab:
    with gr.Tab(task):
        return TaskTab(desk, task, checkpoint)


def _head(checkpoint: Checkpoint) -> str:
    if checkpoint.folder == embedded_checkpoint():
        model = ('Running with the small embedded model, 128 × 128 pixels: '
                 'to try it out. For your own products, start the page with '
                 '--ckpt_dir and the folder of an official checkpoint.')
    else:
        model = f'Running with {checkpoint.folder.name}.'
    return (f'<header><h1>{TITLE}</h1><p class="lead">{LEAD}</p>'
            f'<p class="model">{escape(model)}</p></header>')


def checkpoint_of(folder: str | Path | None) -> Checkpoint:
    r"""What the page runs on; None is the embedded model.

    Raises:
        ValueError: no checkpoint, or not one that edits.
    """
    return Checkpoint.read(
        folder or embedded_checkpoint(), TASK, TASKS[TASK].model_types)


def serve(
    page: gr.Blocks, station: Station, host: str, port: int,
    login: tuple[str, str] | None = None, shared: Sequence[Path] = (),
) -> None:
    r"""Show a page until it is interrupted.

    Args:
        host, port: where it is to be found.
        login: user and password that all visitors must know.
        shared: folders whose files all may see.
    """
    page.queue(default_concurrency_limit=8).launch(
        server_name=host, server_port=port, auth=login, share=False,
        quiet=True, show_error=False, max_file_size=MOST_UPLOADED,
        allowed_paths=[str(station.root), *map(str, shared)],
        app_kwargs={'middleware': [Middleware(
            Guard, station=station, shared=[cache(), *shared])]},
        enable_monitoring=False, ssr_mode=False, pwa=False,
        mcp_server=False, run_history=False, footer_links=[],
        theme=theme(), css=CSS, head=HEAD, prevent_thread_lock=True,
        _frontend=False)  # it would ask itself, and give up when busy
    try:
        print(f'The page is at http://{host}:{port} (Ctrl-C ends it)',
              flush=True)
        while page.is_running:
            time.sleep(0.1)
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, _at_once)
        page.close()


def _at_once(*of: object) -> None:
    r"""A second Ctrl-C waits for nothing; what counts is on the disk."""
    os._exit(130)
