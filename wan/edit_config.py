r"""Settings of the editing loop, and presets of loop and reference."""
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from .flowalign import EDIT_METHODS, edit_sigmas
from .utils.flags import (
    check_choices,
    check_ranges,
    choice,
    ranged,
    unbounded,
)

# Even steps: a strength is then the sigma that they start from.
RELIGHT = {'edit_method': 'refine', 'sample_shift': 1.0, 'ref_c': (0.,),
           'collage_detail': True}
# What docs/quality found, and method.md 8 before it.
PRESETS: dict[str, dict[str, object]] = {
    # Where the collage leads, strong guidance only adds halos.
    'best': {'ref_c': (0.3,), 'ref_t': '0', 'collage_zeta_scale': 0.3,
             'sample_guide_scale': 2.0},
    # A clean latent at a sigma of the sampling range.
    'strong': {'ref_c': (0.7,), 'ref_t': '0.6'},
    'gentle': {'ref_c': (0.1,), 'ref_layers': 'deep'},
    # The photo pasted; the model gives light and shadow alone. Of flat
    # products, and of solids, whose collage lacks more.
    'relight': {**RELIGHT, 'strength': 0.5, 'sample_guide_scale': 2.0},
    'solid': {**RELIGHT, 'strength': 0.85, 'sample_guide_scale': 3.0,
              'collage': 'turning'},
    # What Phantom's weights were trained to read, method.md 12: clean photos
    # behind the video, at its timestep, whole (fewer keys would weigh less
    # in the one softmax). The default branches, ps and pt, read: the text's
    # guidance is then between two that see the photo, as it is there.
    'phantom': {'ref_c': (1.0,), 'ref_gate': 'joint', 'ref_rope': 'tail',
                'ref_t': 'match', 'ref_key_mask': False,
                'collage_zeta_scale': 0.0},
}


# Ways to paste the photo over the old product.
COLLAGES = ('flat', 'upright', 'turning', 'auto', 'off')
# Those that turn it in depth.
TURNED = ('turning', 'auto')


@dataclass(frozen=True)
class EditConfig:
    r"""Settings of the editing loop.

    Args:
        edit_method: FlowAlign; the baselines FlowEdit and SDEdit; or refine,
            SDEdit of the collage inside the mask (a strength of 0.2 to 0.3
            keeps what was pasted).
        sample_steps: steps of the full schedule (default: 50; the embedded
            model: 25).
        strength: share of the steps that is run, above 0 to 1; a larger
            share changes more.
        sample_guide_scale: guidance scale from source to target prompt; in
            the others from the negative prompt (default: flowalign
            19.5, flowedit 13.5, sdedit 5, refine 1; flowalign with the
            embedded model: 7.5).
        src_guide_scale: flowedit's guidance scale of the source.
        sample_shift: shift of the noise schedule, above 0; a larger one
            spends more steps in noise.
        fg_zeta_scale: flowalign's pull toward the template inside the mask,
            0 to 1; the collage replaces it where it is on.
        bg_zeta_scale: the same outside the mask, and everywhere without one.
        collage_zeta_scale: flowalign's pull inside the mask, 0 to 1, toward
            the template with the first photo pasted over the old product
            (the target collage). It needs a photo and a mask; 0 is off.
        collage_detail: take only light and shadow from the model, and label,
            pattern and edges from the pasted photo, which the VAE blurs.
        collage: how the photo is pasted there. flat: turned until its outline
            agrees with the old product's, then as that one turns in the
            picture. upright and turning are for solids: what stands before
            the old product stays there, and the new one is in its light;
            where the template's product is seen to turn about its upright
            axis, upright lets the new one stand where and as that one does,
            and turning also turns the photo as a can would turn. auto:
            turning where it is seen to turn, flat elsewhere. off: no collage.
        view_angles: of each photo, degrees by which the camera has gone to
            the right around the product: 90 shows the side that is to the
            right in a photo of 0. turning then shows of each side the photos
            that have it (default: the first photo alone is pasted).
        view_frame: of the frames that are edited, counted from 0, the one in
            which the template's product is to show the side of a photo of 0
            degrees, for turning (default: the middle one).
        mask_grow: dilation of the mask in latent cells of 8 pixels, 0 to 16,
            as the new product may have another outline.
        batch_branches: evaluate a step's branches as one batch.
        composite: put the template back outside the mask at the end.

    Raises:
        ValueError: a value outside its range.
    """
    edit_method: str = choice('flowalign', EDIT_METHODS)
    sample_steps: int | None = None
    strength: float = 0.7
    sample_guide_scale: float | None = None
    src_guide_scale: float = 3.5
    sample_shift: float = 5.0
    fg_zeta_scale: float = ranged(1e-3, 0, 1)
    bg_zeta_scale: float = ranged(1e-1, 0, 1)
    collage_zeta_scale: float = ranged(0.3, 0, 1)
    collage_detail: bool = False
    collage: str = choice('flat', COLLAGES)
    view_angles: tuple[float, ...] = ()
    view_frame: int | None = unbounded(None)
    mask_grow: int = ranged(0, 0, 16)
    batch_branches: bool = False
    composite: bool = False

    def __post_init__(self):
        check_choices(self)
        check_ranges(self)
        if any(not -360 <= angle <= 360 for angle in self.view_angles):
            raise ValueError(f'view_angles is {self.view_angles}, allowed is '
                             f'-360 to 360 degrees.')
        if self.view_frame is not None and self.view_frame < 0:
            raise ValueError(f'view_frame is {self.view_frame}, allowed is 0 '
                             f'or more.')
        steps = 1 if self.sample_steps is None else self.sample_steps
        edit_sigmas(steps, self.sample_shift, self.strength)

    def check_views(self, photos: int, frames: int) -> None:
        r"""Check that what is said of the photos' sides fits them.

        Args:
            photos, frames: how many photos there are, and edited frames.

        Raises:
            ValueError: not one angle for each photo, or a frame beyond.
        """
        if self.view_angles and photos != len(self.view_angles):
            raise ValueError(
                f'view_angles names {len(self.view_angles)} angles for '
                f'{photos} photos; one each is needed.')
        if self.view_frame is not None and self.view_frame >= frames:
            raise ValueError(
                f'view_frame is {self.view_frame}, but {frames} frames are '
                f'edited, 0 to {frames - 1}.')

    def resolved(self, config: Mapping[str, object]) -> 'EditConfig':
        r"""What was left out filled in, by the model and the method.

        Args:
            config: the model's, an entry of `WAN_CONFIGS`.
        """
        own = config.get('defaults', {})
        guide_scale = own.get('edit_guide_scales', {}).get(
            self.edit_method, EDIT_METHODS[self.edit_method].guide_scale)
        changes = {
            'sample_steps': own.get('sample_steps', 50),
            'sample_guide_scale': guide_scale}
        return replace(self, **{
            name: value for name, value in changes.items()
            if getattr(self, name) is None})

    @property
    def sigmas(self) -> Tensor:
        r"""The sigmas that are run, falling to 0, see `edit_sigmas`."""
        return edit_sigmas(
            self.sample_steps, self.sample_shift, self.strength)

    def ends(self, reverse: bool = False) -> tuple[str, float]:
        r"""The branch that leads a step, and the sigma of the last one."""
        sigmas = self.sigmas.tolist()
        return (EDIT_METHODS[self.edit_method].branches[0],
                sigmas[0] if reverse else sigmas[-2])

    def zeta(
        self, cells: Tensor | None = None, collage: bool = False
    ) -> float | Tensor:
        r"""FlowAlign's pull: a number, or a map like `cells`.

        Args:
            cells: [T, h, w], 1 inside the region, else 0; None without one.
            collage: whether it is toward the collage inside.
        """
        if cells is None:
            return self.bg_zeta_scale
        inside = self.collage_zeta_scale if collage else self.fg_zeta_scale
        return cells * inside + (1 - cells) * self.bg_zeta_scale
