r"""Photos of a product, brought to the size and the light of a template."""
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F

from .filters import erode
from .places import Places
from .shading import light_of, shade
from .standing import DOWN, foot
from .turning import turned_views

# Frames whose light is looked at, at most.
FRAMES = 12


class At(NamedTuple):
    r"""Where a product is in its picture: centre [2], size and way to its
    foot, in pixels, see `Places`."""
    centre: torch.Tensor
    size: torch.Tensor
    foot: torch.Tensor


@dataclass(frozen=True)
class Views:
    r"""Views of one product.

    Args:
        pictures: [V, 4, h, w], colours times alpha, and alpha.
        places: where the product is in each.
        angles: of each, radians by which the camera has gone to the right.
    """
    pictures: torch.Tensor
    places: tuple[At, ...]
    angles: torch.Tensor

    @classmethod
    def of(
        cls, photo: torch.Tensor, alpha: torch.Tensor,
        angles: Sequence[float], size: torch.Tensor,
    ) -> 'Views':
        r"""Of photos [3, V, h, w], shrunk where they are larger than a size:
        fine patterns would alias."""
        new = Places.of(alpha)
        shrink = min(1., float(size / new.size.max()))
        pictures = F.interpolate(
            torch.cat([photo.transpose(0, 1) * alpha[:, None],
                       alpha[:, None]], 1),
            scale_factor=shrink, mode='bilinear', antialias=True,
            recompute_scale_factor=True)
        ratio = torch.tensor(pictures.shape[-1:-3:-1]) / torch.tensor(
            alpha.shape[-1:-3:-1])
        # Of one product, so that all are as tall in the template.
        tall = [(part > .5).any(1).sum() for part in alpha]
        places = tuple(
            At(new.centre[i] * ratio, new.size[0] * ratio.mean() * (
                tall[i] / tall[0]), foot(
                    alpha[i], new.centre[i], DOWN) * ratio.mean())
            for i in range(len(alpha)))
        return cls(pictures, places, torch.tensor(angles))

    def lit(
        self, video: torch.Tensor, mask: torch.Tensor, outline: torch.Tensor,
        seen: Sequence[int],
    ) -> 'Views':
        r"""In the light of a template's product, without their own.

        Only how the light differs across the product is carried over, not
        how bright it is: that cannot be told from the product's colours.

        Args:
            video: [3, F, H, W] in [-1, 1].
            mask, outline: [F, H, W], 0 or 1, what is seen of the product,
                and all of it.
            seen: the frames that show it.
        """
        some = seen[::-(-len(seen) // FRAMES)]
        # The ground shines through at a mask's edge.
        there = light_of([video[:, i] for i in some],
                         [outline[i] for i in some],
                         [erode(mask[i:i + 1], 1)[0] for i in some])
        pictures = []
        for picture in self.pictures:
            alpha = picture[3]
            inside = (picture[:3] + alpha) / 2
            own = light_of([inside / alpha.clamp_min(1e-3) * 2 - 1], [alpha],
                           [alpha])
            inside = inside * (shade(there, alpha) - shade(own, alpha)).exp()
            pictures.append(torch.cat([
                inside.minimum(alpha) * 2 - alpha, alpha[None]]))
        return replace(self, pictures=torch.stack(pictures))

    def nearest(self, yaw: float) -> int:
        r"""The view that shows most of a product's side, see `at`."""
        return int((self.angles + yaw).cos().argmax())

    def at(self, yaw: float, turn: bool) -> tuple[torch.Tensor, At]:
        r"""The product [4, h, w] as seen in a frame, and where it is there.

        Args:
            yaw: radians by which its front has turned to the right.
            turn: False for a view as it is.
        """
        base = self.nearest(yaw if turn else 0.)
        angles = self.angles + yaw
        if not turn or (len(angles) == 1 and not angles.any()):
            return self.pictures[base], self.places[base]
        return turned_views(self.pictures, angles, base), self.places[base]
