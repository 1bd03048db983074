r"""A page for people who would rather look.

    python gradio/app.py
    python gradio/app.py --ckpt_dir ./Wan2.1-T2V-1.3B --port 8000

It opens on this machine alone. --listen lets others in, who must know --user
and --password.
"""
import argparse
import logging
import socket
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

# The repository, not this folder, whose name is the library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

from wan.utils.program import Parser, run_program, use_utf8  # noqa: E402

MOST_PORT = 65_535
SHORTEST = 8  # letters of a password


def build_parser() -> Parser:
    r"""Its flags; errors are raised as ValueError."""
    parser = Parser(description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--ckpt_dir', help='folder of the weights (default: the embedded '
        'model)')
    parser.add_argument(
        '--device', help='that all jobs run on (default: the best there is)')
    parser.add_argument(
        '--port', type=int, default=7860, help='(default: %(default)s)')
    parser.add_argument(
        '--out', default='outputs/page', help='folder of all that visitors '
        'upload and make (default: %(default)s)')
    parser.add_argument(
        '--listen', action='store_true',
        help='let other machines in; needs --user and --password')
    parser.add_argument('--user', help='name to log in with')
    parser.add_argument('--password', help='at least 8 letters')
    return parser


def host(args: argparse.Namespace) -> str:
    r"""Where the page is to be found."""
    return '0.0.0.0' if args.listen else '127.0.0.1'


def check(args: argparse.Namespace) -> None:
    r"""Check what needs no model.

    Raises:
        ValueError: a port that is none, or a page for all without a lock.
    """
    if not 0 < args.port <= MOST_PORT:
        raise ValueError(
            f'port is {args.port}, allowed is 1 to {MOST_PORT}.')
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host(args), args.port))
        except OSError as error:
            raise ValueError(
                f'port {args.port} cannot be used ({error.strerror}): choose '
                f'another one.') from error
    if args.listen and not (args.user and args.password):
        raise ValueError('listen needs user and password: others may come in.')
    if bool(args.user) != bool(args.password):
        raise ValueError('user and password go together: give both.')
    if args.password and len(args.password) < SHORTEST:
        raise ValueError(
            f'password has {len(args.password)} letters, at least {SHORTEST} '
            f'are needed.')


def prepare(argv: Sequence[str] | None):
    r"""What `run` needs, all of it checked.

    Raises:
        ValueError: bad flags, no checkpoint, or gradio is not installed.
    """
    args = build_parser().parse_args(argv)
    check(args)
    try:
        import gradio.blocks  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "The page needs gradio: pip install -e '.[ui]', or make ui."
        ) from error
    root = Path(args.out)
    root.mkdir(parents=True, exist_ok=True)
    from wan.page.environment import prepare_environment
    prepare_environment(root)
    from wan.page.app import checkpoint_of
    return args, root, checkpoint_of(args.ckpt_dir)


def run(checked) -> None:
    r"""Show the page until it is interrupted."""
    args, root, checkpoint = checked
    from wan.page import app
    from wan.page.controls import LOCAL
    from wan.page.station import Station

    logging.getLogger('httpx').setLevel(logging.WARNING)  # gradio's own
    log_file = root / 'page.log'
    handler = logging.FileHandler(log_file, encoding='utf-8')
    handler.setFormatter(logging.Formatter(
        '[%(asctime)s] %(levelname)s: %(message)s'))
    logging.getLogger().addHandler(handler)
    shared = [app.EXAMPLES] if app.EXAMPLES.is_dir() else []
    station = Station(root, args.ckpt_dir, args.device, shared,
                      free=() if args.listen else LOCAL)
    try:
        page = app.build(station, checkpoint, log_file, not args.listen)
        app.serve(
            page, station, host(args), args.port,
            (args.user, args.password) if args.user else None, shared)
    finally:
        station.close()


def main(argv: Sequence[str] | None = None) -> int:
    r"""Exit code: 0 ended, 2 bad input, 1 fault, 130 interrupted."""
    return run_program(
        'gradio/app.py', partial(prepare, argv), run,
        'catalogues go on when the page is started again')


if __name__ == '__main__':
    use_utf8()
    sys.exit(main())
