r"""How processes are arranged: which evaluate together, which share tokens."""
import math
from dataclasses import dataclass

AUTO = 'auto'


@dataclass(frozen=True)
class Mesh:
    r"""Sizes of the arrangement; their product is the number of processes.

    Args:
        branch: groups that evaluate different branches of a step.
        ring: processes that pass keys and values around.
        ulysses: processes that swap tokens for heads.
        copies: processes that have all tokens and share weights alone; 1
            where tokens are shared.
    """
    branch: int = 1
    ring: int = 1
    ulysses: int = 1
    copies: int = 1

    @property
    def sp_size(self) -> int:
        r"""Processes that share a video's tokens."""
        return self.ring * self.ulysses

    @property
    def group_size(self) -> int:
        r"""Processes of a branch group, which share the weights."""
        return self.copies * self.sp_size

    @property
    def size(self) -> int:
        r"""All processes."""
        return self.branch * self.group_size

    @classmethod
    def of(
        cls,
        size: int,
        heads: int,
        ulysses_size: int | str = 1,
        ring_size: int | str = 1,
        branch_parallel: int = 1,
        fsdp: bool = False,
    ) -> 'Mesh':
        r"""The arrangement of a number of processes.

        Args:
            size: processes.
            heads: of the transformer; ulysses_size must divide them.
            ulysses_size, ring_size: sizes, or 'auto': as much Ulysses as the
                heads allow, and a ring of the rest.
            branch_parallel: branch groups.
            fsdp: weights are shared, so that processes have something to do
                without sharing tokens.

        Raises:
            ValueError: sizes that do not fit; the message lists those that
                do.
        """
        if branch_parallel < 1 or size % branch_parallel:
            fit = ', '.join(str(n) for n in _divisors(size))
            raise ValueError(
                f'branch_parallel is {branch_parallel}, allowed with '
                f'{size} processes: {fit}.')
        group = size // branch_parallel
        ulysses, ring = _filled_in(ulysses_size, ring_size, group, heads)
        if fsdp and ulysses == ring == 1:
            return cls(branch_parallel, copies=group)
        allowed = [(group // r, r) for r in _divisors(group)
                   if heads % (group // r) == 0]
        if (ulysses, ring) not in allowed:
            fit = ', '.join(f'{u} x {r}' for u, r in allowed)
            raise ValueError(
                f'ulysses_size {ulysses_size} x ring_size {ring_size} does '
                f'not fit {group} processes{_each(branch_parallel)} and '
                f'{heads} heads; possible are {fit}.')
        return cls(branch_parallel, ring, ulysses)

    def shard_length(self, tokens: int) -> int:
        r"""Tokens of each process, padding included.

        Raises:
            ValueError: so few that a part of the ring would have none.
        """
        length = -(-tokens // self.sp_size)
        if (self.ring - 1) * self.ulysses * length >= tokens:
            raise ValueError(
                f'A video of {tokens} tokens is too small for ring_size '
                f'{self.ring} with ulysses_size {self.ulysses}: every part '
                f'of the ring needs a token.')
        return length


def _filled_in(ulysses, ring, size, heads) -> tuple[int, int]:
    r"""The two sizes with numbers in place of 'auto'."""
    if ulysses == AUTO:
        ulysses = math.gcd(heads, size) if ring == AUTO \
            else size // max(1, ring)
    if ring == AUTO:
        ring = size // max(1, ulysses)
    return ulysses, ring


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def _each(groups: int) -> str:
    return f' of each of {groups} groups' if groups > 1 else ''
