r"""What the benchmarks share: timing, memory, the machine, tables."""
import ctypes
import platform
import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median

import torch


def synchronize(device: torch.device) -> None:
    r"""Wait for what a device was given to do."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def seconds(fn: Callable[[], object], device: torch.device) -> float:
    r"""Wall time of one call."""
    synchronize(device)
    start = time.perf_counter()
    fn()
    synchronize(device)
    return time.perf_counter() - start


def alternate(
    functions: Sequence[Callable[[], object]],
    rounds: int,
    device: torch.device,
) -> list[float]:
    r"""Median seconds of each function, one call of each per round.

    Taking turns lets a busy machine slow them all alike.
    """
    for fn in functions:
        fn()
    runs = [[seconds(fn, device) for fn in functions] for _ in range(rounds)]
    return [median(times) for times in zip(*runs, strict=True)]


def matrix_product(
    dtype: torch.dtype, device: torch.device
) -> tuple[Callable[[], object], float]:
    r"""A large matrix product to time in turn, and its FLOPs."""
    n = 8192 if device.type == 'cuda' else 2048
    a, b = torch.randn(2, n, n, device=device).to(dtype)
    return lambda: a @ b, 2. * n**3


def host_memory() -> dict[str, float]:
    r"""MB of this process by kind, from /proc: VmHWM, RssAnon, RssFile."""
    lines = Path('/proc/self/status').read_text().splitlines()
    fields = dict(line.split(':', 1) for line in lines)
    return {
        name: int(fields[name].split()[0]) * 1024 / 1e6
        for name in ('VmHWM', 'RssAnon', 'RssFile')}


def peak_memory_of(fn: Callable[[], object], device: torch.device) -> float:
    r"""MB that one call needs above what was held before.

    Of GPU memory, or of this process's resident memory (Linux with glibc).
    """
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        fn()
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    ctypes.CDLL(None).malloc_trim(0)
    Path('/proc/self/clear_refs').write_text('5')  # VmHWM becomes VmRSS
    before = host_memory()['VmHWM']
    fn()
    return host_memory()['VmHWM'] - before


def relative_error(got: torch.Tensor, want: torch.Tensor) -> float:
    r"""Largest absolute difference over the largest magnitude of `want`."""
    return float((got - want).abs().max() / want.abs().max())


def machine(device: torch.device) -> str:
    r"""One line that names what the numbers were measured on."""
    name = platform.processor() or platform.machine()
    if device.type == 'cuda':
        name = torch.cuda.get_device_name(device)
    elif Path('/proc/cpuinfo').is_file():
        models = [line.split(':', 1)[1].strip()
                  for line in Path('/proc/cpuinfo').read_text().splitlines()
                  if line.startswith('model name')]
        name = models[0] if models else name
    return (f'{name}, {torch.get_num_threads()} threads, '
            f'torch {torch.__version__}')


def table(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    r"""A Markdown table; the first column is left-aligned."""
    cells = [list(map(str, row)) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ['| ' + ' | '.join(
        cell.ljust(w) if i == 0 else cell.rjust(w)
        for i, (cell, w) in enumerate(zip(row, widths, strict=True))) + ' |'
        for row in cells]
    rule = ['-' * (w if i == 0 else w - 1) + ('' if i == 0 else ':')
            for i, w in enumerate(widths)]
    lines.insert(1, '| ' + ' | '.join(rule) + ' |')
    return '\n'.join(lines)


def print_table(header: Sequence[str], rows: Iterable[Sequence]) -> None:
    print(table(header, rows))


def write(file: Path, text: str, marks: tuple[str, str]) -> None:
    r"""Put the text between the marks of a page."""
    page = file.read_text(encoding='utf-8')
    parts = re.split('|'.join(map(re.escape, marks)), page)
    if len(parts) != 3:
        raise SystemExit(f'{file} has no {marks[0]} followed by {marks[1]}.')
    file.write_text(
        f'{parts[0]}{marks[0]}\n\n{text}\n\n{marks[1]}{parts[2]}',
        encoding='utf-8')
