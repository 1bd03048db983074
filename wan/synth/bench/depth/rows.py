r"""The rows that need no model: copies and pastes."""
from dataclasses import dataclass

from torch import Tensor

from wan.product.collage import collage
from wan.product.photo import Product

from .measures import Answer
from .pairs import DepthPair

KINDS = ('copy', 'truth', 'paste')


@dataclass(frozen=True)
class Bound:
    r"""What can be had without a model.

    Args:
        name, title: for commands and for readers.
        kind: the 'copy' of the template, the 'truth' itself, or the photo's
            'paste'.
        collage: the paste's, of `wan.product.collage.PASTES`.
    """
    name: str
    title: str
    kind: str = 'paste'
    collage: str = 'flat'

    def run(
        self, pair: DepthPair, answer: Answer, photo: str, which: str = 'right'
    ) -> Tensor:
        r"""The row's video [3, T, H, W] in [-1, 1].

        Args:
            photo: of `PHOTOS`; of several views the front is pasted.
            which: 'right' or 'wrong'.
        """
        if self.kind == 'copy':
            return answer.source
        if self.kind == 'truth':
            return answer.truth
        picture = Product(pair.photos(photo, which)[0])
        size = answer.truth.shape[3], answer.truth.shape[2]
        return collage(answer.source, answer.old, *picture.fitted(size),
                       self.collage, pair.anchor, answer.stand).video


BOUNDS: tuple[Bound, ...] = (
    Bound('copy', 'copy of the template', 'copy'),
    Bound('truth', 'the true answer', 'truth'),
    Bound('paste', "today's paste"),
    Bound('upright', 'upright paste', collage='upright'),
    Bound('turning', 'turning paste', collage='turning'),
)
