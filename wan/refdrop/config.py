r"""How a reference is captured and read: one frozen dataclass."""
from dataclasses import dataclass

from .blend import MATCH_STATS

BRANCHES = {
    # mode: the evaluations of an editing step that read the bank. The
    # source's own, `q`, never does: the push would cancel in v_p - v_q. The
    # edit's negative is 'ps' in flowalign, 'p_null' in the baselines.
    'target': ('pt',),
    'both': ('ps', 'p_null', 'pt'),
    'split': ('ptr',),
    # Kept only to reproduce the failure of the published attempt.
    'all': ('q', 'q_null', 'ps', 'p_null', 'pt'),
}
ROPES = ('grid', 'spatial', 'none', 'offset', 'box')

# Shares of the model's depth.
LAYERS = {'all': (0., 1.), 'middle': (1 / 3, 2 / 3), 'deep': (1 / 2, 1.)}

PRESETS: dict[str, dict] = {
    'default': {},
    # method.md 8: a clean latent at a timestep of the sampling range.
    'strong': {'ref_c': (0.7,), 'ref_t': '0.6'},
    # What the benchmark found, docs/quality. These values are the
    # defaults too; here they stay should the defaults move.
    'best': {'ref_c': (0.3,), 'ref_t': '0', 'ref_collage': 0.3},
    'gentle': {'ref_c': (0.1,), 'ref_layers': 'deep'},
}


@dataclass(frozen=True)
class RefConfig:
    r"""Settings of the reference (RefDrop, arXiv 2405.17661).

    Args:
        ref_c: weight of each photo's attention, -1 to 1; negative pushes
            away from it. Their sum is at most 1. 0 switches a photo off.
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
            (beyond the video), 'box' (the product's box over each frame's).
        ref_t: level of the reference pass: a number in [0, 1], a list such
            as '0.3,0.6' whose keys and values are averaged, or 'match' (the
            step's own sigma; one more one-frame pass each step).
        ref_noised: noise the photo's latent to that level too.
        ref_stats: 'norm' scales the reference's result to the length of the
            self-attention's, token by token; 'full' matches mean and
            standard deviation of each channel; 'none' leaves it.
        ref_key_mask: read product pixels only, not the photo's ground.
        ref_query_mask: read only where the video's product is.
        ref_collage: FlowAlign's zeta inside the mask, 0 to 1, when it pulls
            toward the template with the first photo pasted over the old
            product (`collage`); 0 pulls toward the old product, as
            `fg_zeta_scale` says. Only a mask that is given fits the old
            product well enough; without it, and in the baselines, this
            does nothing.

    Raises:
        ValueError: a value outside its range.
    """
    ref_c: tuple[float, ...] = (0.3,)
    ref_layers: str = 'all'
    ref_steps: str = '0-1'
    ref_branches: str = 'both'
    ref_guide_scale: float = 2.0
    ref_rope: str = 'grid'
    ref_t: str = '0'
    ref_noised: bool = False
    ref_stats: str = 'none'
    ref_key_mask: bool = True
    ref_query_mask: bool = True
    ref_collage: float = 0.3

    def __post_init__(self):
        if not self.ref_c or any(not -1 <= c <= 1 for c in self.ref_c) \
                or sum(self.ref_c) > 1:
            raise ValueError(
                f'ref_c is {self.ref_c}: each must be in [-1, 1] and their '
                f'sum at most 1.')
        for name, allowed in (('ref_branches', BRANCHES),
                              ('ref_rope', ROPES), ('ref_stats', MATCH_STATS)):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f'{name} is {getattr(self, name)!r}, allowed: '
                    f'{", ".join(allowed)}.')
        first, last = self.step_window
        if not 0 <= first <= last <= 1:
            raise ValueError(
                f"ref_steps is {self.ref_steps!r}, expected 'a-b' with "
                f'0 <= a <= b <= 1.')
        if not 0 <= self.ref_collage <= 1:
            raise ValueError(
                f'ref_collage is {self.ref_collage}, allowed is 0 to 1.')
        if not self.matched and any(not 0 <= t <= 1 for t in self.levels):
            raise ValueError(
                f"ref_t is {self.ref_t!r}: a number in [0, 1], a list such "
                f"as '0.3,0.6', or 'match'.")
        self.layers(1)

    @classmethod
    def from_preset(cls, preset: str, **changes) -> 'RefConfig':
        r"""A preset with some fields replaced."""
        if preset not in PRESETS:
            raise ValueError(
                f'Unknown ref_preset {preset!r}; allowed: '
                f'{", ".join(PRESETS)}.')
        return cls(**{**PRESETS[preset], **changes})

    @property
    def matched(self) -> bool:
        r"""Whether the bank is refilled at every step's sigma."""
        return self.ref_t == 'match'

    @property
    def levels(self) -> tuple[float, ...]:
        r"""The levels in [0, 1] of a bank that is filled once."""
        return _numbers('ref_t', self.ref_t, ',')

    @property
    def step_window(self) -> tuple[float, float]:
        r"""First and last share of the steps in which to read."""
        numbers = _numbers('ref_steps', self.ref_steps, '-')
        return (numbers[0], numbers[-1]) if len(numbers) == 2 else (1, 0)

    @property
    def reading(self) -> tuple[str, ...]:
        r"""Names of the branches that read the bank."""
        return BRANCHES[self.ref_branches]

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
                chosen.update(range(int(first), int(last or first) + 1))
        except ValueError as error:
            raise ValueError(
                f"ref_layers is {self.ref_layers!r}: {', '.join(LAYERS)}, "
                f"a range '10-20' or a list '0,3,7'.") from error
        return frozenset(i for i in chosen if i < depth)


def _numbers(name: str, text: str, separator: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in str(text).split(separator))
    except ValueError as error:
        raise ValueError(f'{name} is {text!r}, expected numbers.') from error
