r"""How a reference is captured and read: one frozen dataclass."""
from dataclasses import dataclass, replace
from functools import cached_property

from ..utils.flags import check_choices, choice
from .blend import MATCH_STATS

READERS = {
    # mode: the branches of an editing step that read the bank. The source's
    # own, `q`, never does: the push would cancel in v_p - v_q. The
    # edit's negative is 'ps' in flowalign, 'p_null' in the baselines.
    'target': ('pt',),
    'both': ('ps', 'p_null', 'pt'),
    'split': ('ptr',),
    # Kept only to reproduce the failure of the published attempt.
    'all': ('q', 'q_null', 'ps', 'p_null', 'pt'),
}
ROPES = ('grid', 'spatial', 'none', 'offset', 'box', 'tail')
# The modes in which the video's tokens keep their own rotation.
KEEPING = ('grid', 'offset', 'tail')
GATES = ('constant', 'joint')

# Shares of the model's depth.
LAYERS = {'all': (0., 1.), 'middle': (1 / 3, 2 / 3), 'deep': (1 / 2, 1.)}

@dataclass(frozen=True)
class RefConfig:
    r"""Settings of the reference (RefDrop, arXiv 2405.17661).

    Args:
        ref_c: weight of each photo's attention, -1 to 1; negative pushes
            away from it. Their sum is at most 1. 0 switches a photo off.
            With a joint gate: one number for all photos, or equal ones, of
            which the sum counts.
        ref_gate: what c weighs: 'constant' (the attention to each photo,
            against the self-attention) or 'joint' (the attention to photos
            and video in one softmax, in which each token decides how much it
            reads; c 1 is that attention itself).
        ref_layers: blocks that read: 'all', 'middle' and 'deep' (thirds and
            the second half of the model's depth), '10-20' (both included),
            or a list '0,3,7'; '' is none.
        ref_steps: 'a-b', the share of the editing steps in which the
            reference is read, 0 to 1.
        ref_branches: which velocities read: 'target' (of the edit with the
            target prompt; multiplied by the guidance), 'both' (of the edit
            with its negative prompt too), 'split' (one more, with a guidance
            of its own), 'all' (the source's too, which cancels: for
            comparison).
        ref_guide_scale: weight of the reference's own guidance in 'split'.
        ref_rope: where the photo stands for RoPE: 'grid' (the video's first
            frame), 'spatial' (every frame), 'none' (nowhere), 'offset'
            (beyond the video), 'box' (the product's box over each frame's),
            'tail' (behind the video's last frame, one after another).
        ref_t: sigma of the photo's pass: a number in [0, 1], a list such as
            '0.3,0.6' whose keys and values are averaged, or 'match' (the
            step's own sigma; one more one-frame pass each step).
        ref_noised: mix noise of that sigma into the photo's latent too.
        ref_stats: 'norm' scales the reference's result to the length of the
            self-attention's, token by token; 'full' matches mean and
            standard deviation of each channel; 'none' leaves it.
        ref_key_mask: read product pixels only, not the photo's ground.
        ref_query_mask: read only where the video's product is.

    Raises:
        ValueError: a value outside its range.
    """
    ref_c: tuple[float, ...] = (0.3,)
    ref_gate: str = choice('constant', GATES)
    ref_layers: str = 'all'
    ref_steps: str = '0-1'
    ref_branches: str = choice('both', READERS)
    ref_guide_scale: float = 2.0
    ref_rope: str = choice('grid', ROPES)
    ref_t: str = '0'
    ref_noised: bool = False
    ref_stats: str = choice('none', MATCH_STATS)
    ref_key_mask: bool = True
    ref_query_mask: bool = True

    def __post_init__(self):
        if not self.ref_c or any(not -1 <= c <= 1 for c in self.ref_c) \
                or sum(self.ref_c) > 1:
            raise ValueError(
                f'ref_c is {self.ref_c}: each must be in [-1, 1] and their '
                f'sum at most 1.')
        check_choices(self)
        first, last = self.step_window
        if not 0 <= first <= last <= 1:
            raise ValueError(
                f"ref_steps is {self.ref_steps!r}, expected 'a-b' with "
                f'0 <= a <= b <= 1.')
        if not self.matched and any(not 0 <= t <= 1 for t in self.sigmas):
            raise ValueError(
                f"ref_t is {self.ref_t!r}: a number in [0, 1], a list such "
                f"as '0.3,0.6', or 'match'.")
        self.layers(1)
        if self.joint:
            self._check_joint()

    def _check_joint(self) -> None:
        if len(set(self.ref_c)) > 1:
            raise ValueError(
                f'ref_gate joint weighs all photos alike, but ref_c is '
                f'{self.ref_c}.')
        if self.ref_rope not in KEEPING:
            raise ValueError(
                f"ref_gate joint needs the video's own rotation, which "
                f'ref_rope {self.ref_rope} changes; allowed: '
                f'{", ".join(KEEPING)}.')
        if self.ref_stats != 'none':
            raise ValueError(
                f'ref_gate joint has no result of the photos alone, whose '
                f'statistics ref_stats {self.ref_stats} could match.')

    @property
    def joint(self) -> bool:
        r"""Whether photos and video are read in one softmax."""
        return self.ref_gate == 'joint'

    @property
    def matched(self) -> bool:
        r"""Whether the bank is refilled at every step's sigma."""
        return self.ref_t == 'match'

    @cached_property
    def sigmas(self) -> tuple[float, ...]:
        r"""The sigmas in [0, 1] of a bank that is filled once."""
        return _numbers('ref_t', self.ref_t, ',')

    @cached_property
    def step_window(self) -> tuple[float, float]:
        r"""First and last share of the steps in which to read."""
        numbers = _numbers('ref_steps', self.ref_steps, '-')
        return (numbers[0], numbers[-1]) if len(numbers) == 2 else (1, 0)

    @property
    def reading(self) -> tuple[str, ...]:
        r"""Names of the branches that read the bank."""
        return READERS[self.ref_branches]

    @property
    def own_guidance(self) -> float | None:
        r"""Scale of the reference's own guidance; None where it has none."""
        return self.ref_guide_scale if self.ref_branches == 'split' else None

    def shared(self, photos: int) -> 'RefConfig':
        r"""One value of `ref_c`, divided among so many photos of a product."""
        if self.joint or len(self.ref_c) > 1:
            return self
        return replace(self, ref_c=(self.ref_c[0] / photos,) * photos)

    def check_photos(self, photos: int) -> None:
        r"""Check that each photo has its weight.

        Raises:
            ValueError: more or fewer.
        """
        if self.joint and len(self.ref_c) == 1:
            return
        if photos != len(self.ref_c):
            raise ValueError(
                f'{photos} product photos need as many values of ref_c, got '
                f'{len(self.ref_c)}.')

    def active(self, step: int, total: int) -> bool:
        r"""Whether step number `step` of `total` lies in the window."""
        first, last = self.step_window
        return first <= (step + 0.5) / total <= last

    def reads(self, depth: int, steps: int) -> bool:
        r"""Whether any of `depth` blocks reads in any of `steps` steps."""
        return any(self.ref_c) and bool(self.layers(depth)) \
            and any(self.active(step, steps) for step in range(steps))

    def layers(self, depth: int) -> frozenset[int]:
        r"""The blocks that read, of a model of `depth` blocks.

        Raises:
            ValueError: not one of the forms above.
        """
        text = self.ref_layers.strip()
        if text in LAYERS:
            first, last = (round(share * depth) for share in LAYERS[text])
            return frozenset(range(first, last))
        chosen = set()
        try:
            for part in filter(None, text.split(',')):
                first, _, last = part.partition('-')
                chosen.update(range(
                    int(first), min(int(last or first) + 1, depth)))
        except ValueError as error:
            raise ValueError(
                f"ref_layers is {self.ref_layers!r}: {', '.join(LAYERS)}, "
                f"a range '10-20' or a list '0,3,7'.") from error
        return frozenset(chosen)


def _numbers(name: str, text: str, separator: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in str(text).split(separator))
    except ValueError as error:
        raise ValueError(f'{name} is {text!r}, expected numbers.') from error
