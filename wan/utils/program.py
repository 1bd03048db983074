r"""How the commands end: exit codes, and errors in one sentence."""
import argparse
import logging
import sys
from collections.abc import Callable
from typing import NoReturn, TypeVar

from .checkpoint import CheckpointError

Job = TypeVar('Job')


class Parser(argparse.ArgumentParser):
    r"""Raises ValueError for bad flags, where argparse would exit."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f'{message} (--help lists all flags)')


def run_program(
    name: str,
    prepare: Callable[[], Job],
    run: Callable[[Job], int | None],
    interrupted: str,
) -> int:
    r"""Check what a command was given, then do it.

    Args:
        name: of the command, for its error messages on stderr.
        prepare: everything that can be checked first; its ValueError says
            what is wrong.
        run: gives the exit code, None for 0.
        interrupted: what becomes of the results on Ctrl-C.

    Returns:
        0 done, 1 fault, 2 bad input or a bad checkpoint, 130 interrupted.
    """
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr,
        format='[%(asctime)s] %(levelname)s: %(message)s')

    def fail(code, message):
        print(f'{name}: error: {" ".join(message.split())}', file=sys.stderr)
        return code

    try:
        try:
            job = prepare()
        except ValueError as error:
            return fail(2, str(error))
        return run(job) or 0
    except CheckpointError as error:
        return fail(2, str(error))
    except KeyboardInterrupt:
        return fail(130, f'interrupted; {interrupted}')
    except Exception as error:
        logging.exception('The run failed.')
        return fail(1, f'{type(error).__name__}: {error}')
