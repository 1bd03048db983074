r"""VAE tiles spread over processes."""
import pytest
import torch

from tests.distributed.cases import draw
from tests.distributed.pool import run, same, single
from tests.goldens import relative_error
from wan.distributed.tiles import tile_share
from wan.modules.vae import WanVAE_

TILE = 6, 2
SCALE = [torch.linspace(-1, 1, 4), torch.linspace(.5, 2, 4)]


def trip(groups, height, width):
    r"""A video encoded and decoded in tiles, and the tiles done here."""
    torch.manual_seed(0)
    vae = WanVAE_(4, 4, (1, 2), 1, (), (True,)).eval()
    # A process that has no tile is not told of any.
    done = []
    share = None if groups is None else tile_share()
    video = draw(1, 3, 3, 2 * height, 2 * width).clamp(-1, 1)
    z = vae.encode(video, SCALE, tile=TILE, share=share)
    out = vae.decode(z, SCALE, tile=TILE, share=share,
                     on_chunk=lambda i, n: done.append(i))
    return z, out, len(done)


@pytest.mark.parametrize('size, tiles', [
    ((10, 14), 6), ((6, 10), 2), ((6, 6), 1)])
def test_tiles(size, tiles, tmp_path, parity):
    z, video, chunks = trip(None, *size)
    assert chunks == 2 * tiles
    got = run(trip, single(4), tmp_path, *size)
    assert [done // 2 for *_, done in got] == [
        len(range(rank, tiles, 4)) for rank in range(4)]
    one = same([(*parts,) for *parts, _ in got])
    for name, a, b in zip(('latent', 'video'), one, (z, video), strict=True):
        parity(f'{tiles} VAE tiles on 4 processes: {name}',
               relative_error(a, b), 1e-5)
