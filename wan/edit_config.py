r"""Settings of the editing loop: one frozen dataclass."""
from dataclasses import dataclass

from .flowalign import EDIT_METHODS, edit_sigmas

# What flags left out mean: flowalign guides from the source prompt, the
# others from the negative one, as their papers do.
GUIDE_SCALES = {'flowalign': 19.5, 'flowedit': 13.5, 'sdedit': 5.0}


@dataclass(frozen=True)
class EditConfig:
    r"""Settings of the editing loop.

    Args:
        edit_method: 'flowalign', 'flowedit' or 'sdedit'.
        sample_steps: steps of the full schedule.
        strength: share of the steps that is run, above 0 to 1; more changes
            more.
        sample_guide_scale: guidance w from source to target prompt (from the
            negative prompt in flowedit and sdedit).
        src_guide_scale: flowedit's guidance of the source.
        sample_shift: of the noise schedule.
        fg_zeta_scale: pull toward the template inside the mask.
        bg_zeta_scale: the same outside it, and everywhere without a mask.
        mask_grow: cells of the latent, 8 pixels each, by which a given mask
            is widened, as the new product may be of another outline; a mask
            that is found is wide already.
        batch_branches: evaluate a step's branches as one batch.
        composite: put the template back outside the mask at the end.

    Raises:
        ValueError: a value outside its range.
    """
    edit_method: str = 'flowalign'
    sample_steps: int = 50
    strength: float = 0.7
    sample_guide_scale: float = GUIDE_SCALES['flowalign']
    src_guide_scale: float = 3.5
    sample_shift: float = 5.0
    fg_zeta_scale: float = 1e-3
    bg_zeta_scale: float = 1e-1
    mask_grow: int = 0
    batch_branches: bool = False
    composite: bool = False

    def __post_init__(self):
        if self.edit_method not in EDIT_METHODS:
            raise ValueError(
                f'edit_method is {self.edit_method!r}, allowed: '
                f'{", ".join(EDIT_METHODS)}.')
        for name in ('fg_zeta_scale', 'bg_zeta_scale'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f'{name} is {getattr(self, name)}, allowed is 0 to 1.')
        if not 0 <= self.mask_grow <= 16:
            raise ValueError(
                f'mask_grow is {self.mask_grow}, allowed is 0 to 16.')
        edit_sigmas(self.sample_steps, self.sample_shift, self.strength)
