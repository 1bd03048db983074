r"""The numbers a network may be built of, as a file gives them."""
from collections.abc import Mapping
from typing import NamedTuple


class Limit(NamedTuple):
    r"""What a number may be.

    Args:
        kind: int, float (whole numbers are allowed) or bool.
        least, most: both allowed.
        counts: how many there may be, of a list; None if it is one alone.
        even: only even numbers.
    """
    kind: type
    least: float = 0
    most: float = 1
    counts: range | None = None
    even: bool = False

    def __str__(self) -> str:
        if self.kind is bool:
            one = 'true or false'
        else:
            whole = 'an even number' if self.even else (
                'a whole number' if self.kind is int else 'a number')
            one = f'{whole} from {self.least:g} to {self.most:g}'
        if self.counts is None:
            return one
        first, last = self.counts[0], self.counts[-1]
        many = f'{first}' if first == last else f'{first} to {last}'
        return f'a list of {many}, each {one}'

    def allows(self, value: object) -> bool:
        r"""Whether a value, or each of a list's, is such a number."""
        if self.counts is not None:
            one = self._replace(counts=None)
            return isinstance(value, (list, tuple)) \
                and len(value) in self.counts and all(map(one.allows, value))
        if self.kind is bool or isinstance(value, bool):
            return self.kind is bool and isinstance(value, bool)
        # Neither NaN nor infinity is between any two limits.
        return isinstance(value, (int, self.kind)) \
            and self.least <= value <= self.most \
            and not (self.even and value % 2)


def check_sizes(
    given: Mapping[str, object], limits: Mapping[str, Limit]
) -> None:
    r"""Check that every given number has its limit and keeps to it.

    Raises:
        ValueError: the first that does not.
    """
    for name, value in given.items():
        if name not in limits:
            raise ValueError(
                f'it has {str(name)[:40]!r}, known are {", ".join(limits)}')
        if not limits[name].allows(value):
            raise ValueError(
                f'{name} is {str(value)[:40]}, it must be {limits[name]}')


# What a transformer's config.json may say; the largest official one is 5120
# wide and 40 deep.
MODEL_SIZES = {
    'patch_size': Limit(int, 1, 16, range(3, 4)),
    'text_len': Limit(int, 1, 2**13),
    'in_dim': Limit(int, 1, 2**10),
    'dim': Limit(int, 1, 2**14),
    'ffn_dim': Limit(int, 1, 2**17),
    'freq_dim': Limit(int, 2, 2**13, even=True),
    'text_dim': Limit(int, 1, 2**14),
    'out_dim': Limit(int, 1, 2**10),
    'num_heads': Limit(int, 1, 2**8),
    'num_layers': Limit(int, 1, 2**8),
    'window_size': Limit(int, -1, 2**20, range(2, 3)),
    'qk_norm': Limit(bool),
    'cross_attn_norm': Limit(bool),
    'eps': Limit(float, 1e-12, 1e-2),
    'vace_layers': Limit(int, 0, 2**8 - 1, range(1, 2**8 + 1)),
    'vace_in_dim': Limit(int, 1, 2**10),
}
# And the sidecars of the three other networks.
T5_SIZES = {
    'vocab': Limit(int, 1, 2**20),
    'dim': Limit(int, 1, 2**14),
    'dim_attn': Limit(int, 1, 2**14),
    'dim_ffn': Limit(int, 1, 2**17),
    'num_heads': Limit(int, 1, 2**8),
    'num_layers': Limit(int, 1, 2**8),
    'num_buckets': Limit(int, 4, 2**10, even=True),
    'shared_pos': Limit(bool),
    'dropout': Limit(float, 0, 1),
}
CLIP_SIZES = {
    'embed_dim': Limit(int, 1, 2**13),
    'image_size': Limit(int, 1, 2**11),
    'patch_size': Limit(int, 1, 2**8),
    'vision_dim': Limit(int, 1, 2**13),
    'vision_mlp_ratio': Limit(float, 0.01, 16),
    'vision_heads': Limit(int, 1, 2**8),
    'vision_layers': Limit(int, 1, 2**8),
    'vision_pre_norm': Limit(bool),
    'vision_post_norm': Limit(bool),
    'norm_eps': Limit(float, 1e-12, 1e-2),
}
VAE_SIZES = {
    'dim': Limit(int, 1, 2**11),
    'z_dim': Limit(int, 1, 2**8),
    'dim_mult': Limit(int, 1, 2**6, range(1, 9)),
    'num_res_blocks': Limit(int, 1, 2**4),
    'attn_scales': Limit(float, 0, 1, range(9)),
    'temperal_downsample': Limit(bool, counts=range(8)),
    'dropout': Limit(float, 0, 1),
    'mean': Limit(float, -1e4, 1e4, range(1, 2**8 + 1)),
    'std': Limit(float, 1e-4, 1e4, range(1, 2**8 + 1)),
}
