r"""Put the method onto an untouched checkout of Wan2.1, and take it off.

    python tools/graft.py UPSTREAM_CHECKOUT [--check | --undo]

Our files that `--task pvtt` needs and the checkout lacks are copied into it
under the same paths, and its own wan/modules/model.py, wan/__init__.py and
generate.py get what the printed diff shows. `git diff` in the checkout then
is all that the method changes in Wan2.1's code.

Refused is a checkout that has changes of its own, that is grafted already, or
whose code has another shape than the edits are made for; the first thing that
is missing is named. Everything is computed before anything is written.
--check prints the same and writes nothing. --undo brings the checkout back to
what it was; what it was is kept in its .git.

Exit status: 0 done, or could be done; 1 refused; 2 no Wan2.1 checkout.
"""
import argparse
import difflib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

# run as a file, this folder is on the path and the repository's root is not
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.checkout import check_checkout, described, git_folder
from tools.graft_files import files_to_copy

try:
    from tools.graft_edits import EDITS, edited
except ModuleNotFoundError as error:
    raise SystemExit(f"{error}; pip install -e '.[graft]' brings it") from error

RECORD = 'pvtt-graft.json'
# A checkout's own settings must run nothing.
GIT = ('git', '-c', 'core.fsmonitor=false', '-c', 'core.hooksPath=/dev/null',
       '--no-optional-locks')


@dataclass(frozen=True)
class Graft:
    r"""Contents of files, by path in the checkout.

    Args:
        copied: files that are new there.
        before, after: Wan2.1's own files without and with the graft.
    """
    copied: Mapping[str, bytes]
    before: Mapping[str, bytes]
    after: Mapping[str, bytes]

    def diff(self, context: int = 1) -> str:
        r"""Of Wan2.1's own files, with lines around each change."""
        return ''.join(
            line for path in self.before for line in difflib.unified_diff(
                *(part[path].decode().splitlines(keepends=True)
                  for part in (self.before, self.after)),
                f'a/{path}', f'b/{path}', n=context))

    def changed_lines(self) -> int:
        r"""Lines that are added or taken away in Wan2.1's own files."""
        return sum(
            line[0] in '+-' and line[:3] not in ('+++', '---')
            for line in self.diff(0).splitlines())

    def __str__(self):
        lines = sum(text.count(b'\n') for text in self.copied.values())
        return (f'{len(self.copied)} files of ours, {lines} lines; in '
                f"{len(self.before)} of Wan2.1's files {self.changed_lines()} "
                f'lines, added or taken away')


def plan(checkout: Path) -> Graft:
    r"""The graft of an untouched checkout.

    Raises:
        ValueError: it is refused.
    """
    if not (checkout / '.git').exists():
        raise ValueError(
            f'{checkout} is no git checkout: there would be no diff to read.')
    if _record(checkout).exists():
        raise ValueError(f'{checkout} is grafted already; --undo takes it '
                         f'off.')
    changed = _git(checkout, 'status', '--porcelain', '-uall').splitlines()
    if changed:
        raise ValueError(f'{checkout} has changes of its own, the first: '
                         f'{changed[0].strip()}')
    before = {path: (checkout / path).read_bytes() for path in EDITS}
    after = {path: edited(path, text.decode()).encode()
             for path, text in before.items()}
    copied = {path: file.read_bytes()
              for path, file in files_to_copy(checkout).items()}
    for path in (*copied, *before):
        if not (checkout / path).resolve().is_relative_to(checkout.resolve()):
            raise ValueError(f'{checkout / path} leads out of the checkout.')
    return Graft(copied, before, after)


def graft(checkout: Path, made: Graft) -> None:
    r"""Write a graft; interrupted, `undo` takes off what there is of it."""
    _record(checkout).write_text(json.dumps({
        'copied': {path: _hash(text) for path, text in made.copied.items()},
        'before': {path: text.decode() for path, text in made.before.items()},
        'after': {path: _hash(text) for path, text in made.after.items()},
    }), encoding='utf-8')
    for path, text in {**made.copied, **made.after}.items():
        (checkout / path).parent.mkdir(parents=True, exist_ok=True)
        (checkout / path).write_bytes(text)


def undo(checkout: Path) -> None:
    r"""Take a graft off.

    Raises:
        ValueError: none is there, or its files were edited since.
    """
    if not _record(checkout).exists():
        raise ValueError(f'{checkout} is not grafted.')
    record = json.loads(_record(checkout).read_text('utf-8'))
    before = {path: text.encode() for path, text in record['before'].items()}
    for path, grafted in {**record['copied'], **record['after']}.items():
        file = checkout / path
        known = {grafted, _hash(before[path]) if path in before else None}
        if (_hash(file.read_bytes()) if file.exists() else None) not in known:
            raise ValueError(
                f'{file} was edited since; put it away or back first, nothing '
                f'was changed.')
    for path, text in before.items():
        (checkout / path).write_bytes(text)
    for path in record['copied']:
        _remove(checkout, checkout / path)
    _record(checkout).unlink()


def _remove(checkout: Path, file: Path) -> None:
    r"""Remove a file, what was compiled of it, and folders left empty."""
    cache = file.parent / '__pycache__'
    for each in (file, *cache.glob(f'{file.stem}.*.pyc')):
        each.unlink(missing_ok=True)
    for folder in (cache, *file.parents):
        if folder == checkout or folder.is_dir() and any(folder.iterdir()):
            break
        if folder.is_dir():
            folder.rmdir()


def _record(checkout: Path) -> Path:
    return git_folder(checkout) / RECORD


def _hash(text: bytes) -> str:
    return sha256(text).hexdigest()


def _git(checkout: Path, *args: str) -> str:
    try:
        return subprocess.run(
            [*GIT, '-C', str(checkout), *args], check=True, text=True,
            capture_output=True, stdin=subprocess.DEVNULL).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(
            f'git does not read {checkout}: '
            f'{getattr(error, "stderr", "") or error}') from error


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkout', type=Path, help='a Wan2.1 checkout')
    how = parser.add_mutually_exclusive_group()
    how.add_argument('--check', action='store_true',
                     help='print what would be done, and write nothing')
    how.add_argument('--undo', action='store_true',
                     help='take the graft off again')
    args = parser.parse_args(argv)
    try:
        check_checkout(args.checkout)
    except ValueError as error:
        parser.error(str(error))
    try:
        if args.undo:
            undo(args.checkout)
            print(f'{args.checkout} is as it was.')
            return 0
        made = plan(args.checkout)
        if not args.check:
            graft(args.checkout, made)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(made.diff(), end='')
    print(f'{described(args.checkout)}: {made}'
          + '; nothing was written' * args.check)
    return 0


if __name__ == '__main__':
    sys.exit(main())
