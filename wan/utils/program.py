r"""How the commands start and end: surroundings, exit codes, errors."""
import argparse
import codecs
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn, TypeVar

from torch.distributed import DistError

from .checkpoint import CheckpointError

Job = TypeVar('Job')
# Seconds in which whoever started the processes ends them all once one fails.
AGENT = 30.


class Parser(argparse.ArgumentParser):
    r"""Raises ValueError for bad flags, where argparse would exit."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f'{message} (--help lists all flags)')


class Terminated(KeyboardInterrupt):
    r"""SIGTERM, which ends a command as Ctrl-C does."""


def use_utf8() -> None:
    r"""Start Python anew, reading UTF-8, where the locale has ASCII only."""
    if codecs.lookup(sys.getfilesystemencoding()).name == 'ascii':
        os.execv(sys.executable, [
            sys.executable, '-X', 'utf8', *sys.orig_argv[1:]])


def several() -> bool:
    r"""Whether this is one of several processes of a run."""
    return os.environ.get('WORLD_SIZE', '1') != '1'


def rank() -> int:
    r"""The number of this process, 0 if it is alone."""
    return int(os.environ.get('RANK', '0')) if several() else 0


def run_program(
    name: str,
    prepare: Callable[[], Job],
    run: Callable[[Job], int | None],
    interrupted: str,
) -> int:
    r"""Check what a command was given, then do it.

    Args:
        name: of the command, for its error messages on stderr.
        prepare: everything that can be checked first; its ValueError, or an
            OSError, says what is wrong.
        run: gives the exit code, None for 0.
        interrupted: what becomes of the results on Ctrl-C.

    Returns:
        0 done, 1 fault, 2 bad input or a bad checkpoint, 130 interrupted,
        143 terminated. Of several processes the one that fails tells why.
    """
    _open_streams()
    logging.basicConfig(
        level=logging.ERROR if rank() else logging.INFO, stream=sys.stderr,
        format='[%(asctime)s] %(levelname)s: %(message)s')
    where = f'rank {rank()}: ' if rank() else ''

    def fail(code, message, error=None):
        if getattr(error, 'told', False):  # by the process that it is from
            return code
        with suppress(OSError, ValueError):  # it is full, or nobody reads
            print(f'{name}: error: {where}{" ".join(message.split())}',
                  file=sys.stderr, flush=True)
        return code

    with _terminable():
        try:
            try:
                _check_folder()
                job = prepare()
            except ValueError as error:
                return fail(2, str(error), error)
            except OSError as error:  # closed folders, unreadable files
                return fail(2, f'Cannot use {error.filename or "a file"}: '
                            f'{error.strerror or error}.')
            code = run(job) or 0
            sys.stdout.flush()
            return code
        except CheckpointError as error:
            return fail(2, str(error), error)
        except Terminated:
            # Several are terminated because one has failed, which tells why.
            return 143 if several() else fail(143, f'terminated; {interrupted}')
        except KeyboardInterrupt:
            return 130 if rank() else fail(130, f'interrupted; {interrupted}')
        except Exception as error:
            if _lost_others(error) and _ended_by_agent():
                return 143
            if not getattr(error, 'told', False):
                logging.exception('The run failed.')
            return fail(1, f'{type(error).__name__}: {error}', error)
        finally:
            _drop_unwritten()


def _lost_others(error: Exception) -> bool:
    r"""Whether a process failed only because another one is gone."""
    return several() and (isinstance(error, DistError)
                          or 'gloo' in str(error))


def _ended_by_agent() -> bool:
    r"""Whether this process is told to end, as the others are."""
    try:
        time.sleep(AGENT)
    except Terminated:
        return True
    return False


def _check_folder() -> None:
    try:
        os.getcwd()
    except OSError as error:
        raise ValueError(
            f'The working folder cannot be used: {error.strerror}.') from error


def _open_streams() -> None:
    r"""Have all three streams, in which any text can be written.

    Where one is closed, the next file opened would get its number, and
    whatever is meant for the stream.
    """
    for number, name in enumerate(('stdin', 'stdout', 'stderr')):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(null, 'w' if number else 'r'))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')


@contextmanager
def _terminable() -> Iterator[None]:

    def end(*args):
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _drop_unwritten() -> None:
    r"""Forget what cannot be written, or the exit code becomes Python's."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
