r"""The settings of a job: dataclasses, which of them the user gave, and which
of those do nothing."""
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, TypeVar

from ..utils.flags import build, names, path_names, switch, unbounded

T = TypeVar('T')

MAX_SEED = 2**63 - 1
# One frame more is what `read_video` reads in one go, to see what is left.
MAX_FRAME_NUM = 1997


@dataclass(frozen=True)
class JobSettings:
    r"""What every task is given.

    Args:
        ckpt_dir: folder of the weights (default: the embedded model, for
            tasks that can run with it).
        base_seed: seed of all noise; a negative one draws it.
        save_file: where to write (default: a name made of task, size, seed,
            prompt and time).
        overwrite: replace files there that are not those of an earlier run.

    Raises:
        ValueError: a seed that is too large.
    """
    ckpt_dir: str | None = None
    base_seed: int = unbounded(-1)
    save_file: str | None = None
    overwrite: bool = switch()

    def __post_init__(self):
        if self.base_seed > MAX_SEED:
            raise ValueError(
                f'base_seed is {self.base_seed}, allowed is up to {MAX_SEED}.')


@dataclass(frozen=True)
class Settings:
    r"""The values of a task's dataclasses.

    Args:
        values: an instance of each; `settings[EditConfig]` is that of one.
        given: names of what the user gave, in whatever way.
    """
    values: tuple[object, ...]
    given: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        kinds: Iterable[type],
        given: Mapping[str, object],
        defaults: Mapping[str, object],
    ) -> 'Settings':
        r"""Build them; what is not given has its default.

        Args:
            given: values by name, as text or as what they are.
            defaults: that go before those of the fields.

        Raises:
            ValueError: a value that is not allowed.
        """
        values = {**defaults, **given}
        return cls(
            tuple(build(kind, values) for kind in kinds),
            frozenset(name for name, value in given.items()
                      if value not in (None, '', (), [])))

    def __getitem__(self, kind: type[T]) -> T:
        return next(v for v in self.values if isinstance(v, kind))

    def updated(self, *values: object) -> 'Settings':
        r"""With other values of some of the dataclasses."""
        new = {type(value): value for value in values}
        return Settings(
            tuple(new.get(type(v), v) for v in self.values), self.given)

    def having(self, values: Mapping[str, object]) -> 'Settings':
        r"""With other values of some of the fields."""
        return self.updated(*(replace(own, **{
            name: values[name] for name in names(type(own)) if name in values
        }) for own in self.values))

    @property
    def paths(self) -> dict[str, tuple[str, ...]]:
        r"""The files that are named, by setting; see `utils.flags.path`."""
        flat = self.flat()
        named = {name: flat[name] for values in self.values
                 for name in path_names(type(values)) if flat[name]}
        return {name: (value,) if isinstance(value, str) else value
                for name, value in named.items()}

    def flat(self) -> dict[str, object]:
        r"""All values by name."""
        return {k: v for values in self.values
                for k, v in asdict(values).items()}


class Idle(NamedTuple):
    r"""Settings that another one switches off.

    Args:
        names: of the settings.
        when: whether they are off, by facts that the task knows.
        why: ends the sentence 'X has no effect: ...'.
    """
    names: Sequence[str]
    when: Callable[[Any], bool]
    why: str


def idle_notes(
    table: Iterable[Idle], facts: object, given: Iterable[str]
) -> list[str]:
    r"""A sentence for the given settings that do nothing."""
    notes, left = [], set(given)
    for row in table:
        names = [name for name in row.names if name in left]
        if names and row.when(facts):
            left.difference_update(names)
            verb = 'has' if len(names) == 1 else 'have'
            notes.append(f'{", ".join(names)} {verb} no effect: {row.why}.')
    return notes


def check_frame_num(frame_num: int | None) -> None:
    r"""Check a number of frames that is given.

    Raises:
        ValueError: not 4n + 1, or too many.
    """
    if frame_num is not None and not (
            1 <= frame_num <= MAX_FRAME_NUM and frame_num % 4 == 1):
        raise ValueError(
            f'frame_num is {frame_num}, allowed is 4n + 1 (1, 5, ..., '
            f'{MAX_FRAME_NUM}).')
