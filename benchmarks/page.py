r"""The page under load: memory after each of many queued jobs, pages open.

    python -m benchmarks.page [--jobs 30] [--pages 10] [--out FOLDER]

One server on 127.0.0.1 with the embedded model; as many visitors as pages
share the jobs, alternately a video of words and an edit, while a headless
Chromium keeps a page of each open. Without Playwright or a browser no page
is open, and the table says so.
"""
import argparse
import gc
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import torch

from wan.page.environment import prepare_environment
from wan.page.station import Station

from . import common

EXAMPLES = Path(__file__).parents[1] / 'examples'
FLAGS = ('--headless', '--no-sandbox', '--disable-gpu')
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
CLIP = {'prompt': 'a red disc.', 'frame_num': 5, 'sample_steps': 2}
EDIT = {
    'source_prompt': 'a striped red and white heart on a brown wooden table.',
    'target_prompt': 'a dotted turquoise and yellow heart on a brown wooden '
    'table.', 'sample_steps': 2, 'end': 0.3, 'save_comparison': False}
DEADLINE = 600.


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    with ExitStack() as stack:
        root = Path(args.out or stack.enter_context(
            tempfile.TemporaryDirectory(prefix='wan-page-')))
        prepare_environment(root)
        station = Station(root)
        stack.callback(station.close)
        visitors = [station.new_visitor() for _ in range(args.pages or 1)]
        shown = stack.enter_context(
            pages(station, root, visitors)) if args.pages else 0
        tickets = [(submitted(station, visitors[i % len(visitors)], i),
                    visitors[i % len(visitors)]) for i in range(args.jobs)]
        told = list(measured(station, tickets))
    report(told, shown)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--jobs', type=int, default=30)
    parser.add_argument('--pages', type=int, default=10)
    parser.add_argument('--out', help='folder of what is made (default: one '
                        'that is removed)')
    return parser.parse_args(argv)


def submitted(station: Station, visitor: str, number: int) -> str:
    r"""The ticket of a job: a video of words, or an edit."""
    if number % 2:
        return station.submit('pvtt', {
            **EDIT, 'base_seed': number,
            'src_video': station.accept(
                EXAMPLES / 'template.mp4', 'video', visitor),
            'target_image': (station.accept(
                EXAMPLES / 'product.png', 'image', visitor),)}, visitor)
    return station.submit(
        't2v-tiny', {**CLIP, 'base_seed': number}, visitor)


def measured(
    station: Station, tickets: Sequence[tuple[str, str]]
) -> Iterator[tuple[float, float, int]]:
    r"""(seconds, MB resident, tensors alive) after each job has ended."""
    left = dict(tickets)
    start = time.monotonic()
    while left:
        ended = [ticket for ticket, visitor in left.items()
                 if station.wait(ticket, visitor, 0).ended]
        for ticket in ended:
            state = station.state(ticket, left.pop(ticket))
            if state.status != 'done':
                raise SystemExit(f'A job has failed: {state.error}')
            gc.collect()
            memory = common.host_memory()
            yield (time.monotonic() - start,
                   memory['RssAnon'] + memory['RssFile'],
                   sum(issubclass(type(one), torch.Tensor)
                       for one in gc.get_objects()))
            start = time.monotonic()
        if not ended:
            ticket, visitor = next(iter(left.items()))
            station.wait(ticket, visitor, 0.05)


@contextmanager
def pages(
    station: Station, root: Path, visitors: Sequence[str]
) -> Iterator[int]:
    r"""A page of each visitor, open in a browser; gives how many there are."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        browser = None
    if browser is None:
        yield 0
        return
    port = served(station, root)
    with sync_playwright() as started:
        chromium = started.chromium.launch(
            executable_path=browser, args=FLAGS, timeout=DEADLINE * 1000)
        try:
            for visitor in visitors:
                context = chromium.new_context()
                context.set_default_timeout(DEADLINE * 1000)
                context.add_cookies([{
                    'name': 'wan_visitor', 'value': visitor,
                    'url': f'http://127.0.0.1:{port}'}])
                page = context.new_page()
                page.goto(f'http://127.0.0.1:{port}')
                page.get_by_role('button', name='Make the video').wait_for()
            yield len(visitors)
        finally:
            chromium.close()


def served(station: Station, root: Path) -> int:
    r"""Serve the page from this process; gives the port."""
    from wan.page import app
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    page = app.build(station, app.checkpoint_of(None), root / 'page.log', True)
    threading.Thread(
        target=app.serve, args=(page, station, '127.0.0.1', port),
        daemon=True).start()
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(('127.0.0.1', port)) == 0:
                return port
        time.sleep(0.1)
    raise SystemExit('The server did not start.')


def report(told: Sequence[tuple[float, float, int]], shown: int) -> None:
    print(f'{len(told)} jobs, {shown} pages open, '
          f'median {median(t for t, _, _ in told):.1f} s a job')
    rows = [[str(i + 1), f'{memory:.0f}', str(tensors)]
            for i, (_, memory, tensors) in enumerate(told)]
    common.print_table(('job', 'MB resident', 'tensors alive'), rows)
    half = [memory for _, memory, _ in told][len(told) // 2:]
    print(f'second half of the jobs: {min(half):.0f} to {max(half):.0f} MB')


if __name__ == '__main__':
    main()
