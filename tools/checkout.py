r"""What a Wan2.1 checkout is, by reading its files."""
from pathlib import Path

# What the recorded tables in tests/data were made of.
RECORDED = '9737cba'
_LANDMARKS = ('generate.py', 'wan/configs/__init__.py',
              'wan/modules/model.py', 'wan/text2video.py')


class Shape(ValueError):
    r"""A checkout's code is not as it is expected to be."""


def check_checkout(path: Path) -> None:
    r"""Check that a folder is a checkout of Wan2.1.

    Raises:
        ValueError: it is none.
    """
    missing = [name for name in _LANDMARKS if not (path / name).is_file()]
    if missing:
        raise ValueError(f'{path} is not a Wan2.1 checkout: '
                         f'it has no {", ".join(missing)}')


def git_folder(path: Path) -> Path:
    r"""Where git keeps what it knows of a checkout.

    Raises:
        OSError: it is none of git.
    """
    git = path / '.git'
    if git.is_dir():
        return git
    # a worktree's, or a submodule's
    return path / _after(git.read_text('utf-8'), 'gitdir:')


def commit_of(path: Path) -> str | None:
    r"""The commit a checkout is at, or None where its files do not tell."""
    try:
        git = git_folder(path)
        head = (git / 'HEAD').read_text('utf-8').strip()
        if not head.startswith('ref:'):
            return head or None
        ref = _after(head, 'ref:')
        common = git / 'commondir'
        shared = git / common.read_text('utf-8').strip() \
            if common.is_file() else git
        for folder in (git, shared):
            if (folder / ref).is_file():
                return (folder / ref).read_text('utf-8').strip() or None
        for line in (shared / 'packed-refs').read_text('utf-8').splitlines():
            commit, _, name = line.partition(' ')
            if name == ref:
                return commit
    except (OSError, UnicodeDecodeError):
        pass
    return None


def _after(text: str, key: str) -> str:
    return text.strip().removeprefix(key).strip()


def described(path: Path) -> str:
    r"""A checkout's path and the commit it seems to be."""
    commit = commit_of(path)
    if commit is None:
        return f'{path} (its commit is not known)'
    if commit.startswith(RECORDED):
        return f'{path} (at {RECORDED})'
    return (f'{path} (it seems to be at {commit[:7]}; ours was made after '
            f'{RECORDED})')
