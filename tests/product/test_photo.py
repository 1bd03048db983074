r"""Product photos: closed-form shapes on plain and other grounds."""
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

from wan.product import photo as photo_module
from wan.product.photo import Product, prepare_photo, product_mask
from wan.product.segment import segment

SIZE = (320, 240)


def disc(size=SIZE, centre=(150, 110), radius=50):
    x, y = np.meshgrid(np.arange(size[0]) + .5, np.arange(size[1]) + .5)
    return np.hypot(x - centre[0], y - centre[1]) < radius


def painted(ground, shape, colour=(200, 30, 60)):
    r"""A photo of `shape` [H, W] on a colour or an image [H, W, 3]."""
    pixels = np.broadcast_to(
        np.asarray(ground, dtype=float), (*shape.shape, 3)).copy()
    pixels[shape] = colour
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def overlap(mask, shape):
    a, b = mask.numpy() > 0.5, shape
    return (a & b).sum() / (a | b).sum()


def shadow(ground, strength=0.5):
    r"""A colour darkened in a soft ellipse below the disc."""
    dark = Image.new('L', SIZE, 0)
    ImageDraw.Draw(dark).ellipse([90, 130, 230, 190], fill=255)
    dark = np.array(dark.filter(ImageFilter.GaussianBlur(10))) / 255
    return np.array(ground) * (1 - strength * dark[..., None])


def gradient(first, last):
    t = np.linspace(0, 1, SIZE[1])[:, None, None]
    return (1 - t) * np.array(first) + t * np.array(last) \
        + np.zeros((SIZE[1], SIZE[0], 1))


def grain(image, deviation):
    noise = np.random.default_rng(0).normal(
        0, deviation, (*image.size[::-1], 3))
    return Image.fromarray(
        (np.array(image) + noise).clip(0, 255).astype(np.uint8))


# product_mask


def test_given_mask_comes_first():
    photo = painted((255, 255, 255), disc())
    photo.putalpha(128)
    given = Image.fromarray(disc(radius=20).astype(np.uint8) * 255)
    mask = product_mask(photo, given)
    assert mask.dtype == torch.float32
    assert np.array_equal(mask.numpy(), disc(radius=20).astype(np.float32))


def test_given_mask_is_checked():
    photo = painted((255, 255, 255), disc())
    with pytest.raises(ValueError, match='320x240, not 10x20'):
        product_mask(photo, Image.new('L', (10, 20), 255))
    with pytest.raises(ValueError, match='black everywhere'):
        product_mask(photo, Image.new('RGB', SIZE))


def test_alpha_comes_second():
    photo = painted((255, 255, 255), disc())
    alpha = Image.fromarray(disc(radius=30).astype(np.uint8) * 204)
    photo.putalpha(alpha)
    want = disc(radius=30).astype(np.float32) * 0.8
    assert np.array_equal(product_mask(photo).numpy(), want)


def test_opaque_alpha_is_no_mask():
    photo = painted((255, 255, 255), disc())
    photo.putalpha(255)
    assert overlap(product_mask(photo), disc()) > 0.95


@pytest.mark.parametrize('photo', [
    painted((255, 255, 255), disc()),
    painted((20, 24, 30), disc()),
    painted((230, 60, 50), disc(), (240, 220, 120)),
    grain(painted((200, 205, 190), disc()), 8),
    grain(painted(gradient((252, 252, 254), (170, 175, 185)), disc()), 2),
    painted(gradient((70, 120, 200), (20, 50, 120)), disc(), (250, 240, 90)),
], ids=['white', 'black', 'red', 'grain', 'gradient', 'blue'])
def test_plain_grounds(photo):
    assert overlap(product_mask(photo), disc()) > 0.94


@pytest.mark.parametrize('ground, colour', [
    ((255, 255, 255), (200, 30, 60)), ((190, 192, 195), (25, 25, 28)),
    ((200, 40, 40), (240, 220, 120))])
def test_soft_shadow_is_ground(ground, colour):
    photo = painted(shadow(ground), disc(), colour)
    assert overlap(product_mask(photo), disc()) > 0.85


def test_product_as_light_as_its_shadow_is_kept():
    photo = painted(shadow((245, 245, 245)), disc(), (140, 140, 140))
    assert (product_mask(photo).numpy() > 0.5)[disc(radius=48)].all()


def test_holes():
    # A light label is product; the ground seen through a ring is not.
    label = disc(radius=60) & ~disc(radius=4)
    assert product_mask(painted((255,) * 3, label))[110, 150] == 1
    ring = disc(radius=60) & ~disc(radius=45)
    mask = product_mask(painted((255,) * 3, ring))
    assert mask[110, 150] == 0 and overlap(mask, ring) > 0.8


def test_parts_and_dirt():
    pair = disc(centre=(90, 120), radius=35) | disc(
        centre=(220, 120), radius=40)
    dirty = pair | disc(centre=(30, 30), radius=4)
    dirty[200:202] = True  # a scratch
    mask = product_mask(painted((240, 238, 235), dirty))
    assert overlap(mask, pair) > 0.94
    assert mask[30, 30] == 0 and (mask[201, :10] == 0).all()


def test_product_at_the_border():
    shape = np.zeros(SIZE[::-1], bool)
    shape[80:, 100:230] = True
    mask = product_mask(painted(
        gradient((245, 245, 245), (215, 215, 215)), shape))
    assert overlap(mask, shape) > 0.94


def noise_image(size):
    return np.random.default_rng(0).uniform(0, 255, (*size[::-1], 3))


@pytest.mark.parametrize('photo', [
    painted(noise_image((640, 480)), disc((640, 480), (300, 200), 90)),
    painted((np.arange(320)[None, :, None] // 20 % 2) * [120, 80, 90],
            disc()),
    Image.new('RGB', SIZE, (120, 130, 140)),
    Image.new('RGB', (1, 1)), Image.new('RGB', (2, 3), 'white'),
    Image.new('RGB', (500, 2), 'white'),
    Image.new('RGBA', (40, 30), (0, 0, 0, 0)),
], ids=['noise', 'stripes', 'empty', 'pixel', 'tiny', 'line', 'transparent'])
def test_the_whole_photo_when_nothing_is_found(photo):
    assert product_mask(photo) is None
    if photo.mode == 'RGBA':  # shows nothing at all
        with pytest.raises(ValueError, match='transparent everywhere'):
            Product(photo)
        return
    product = Product(photo)
    assert torch.equal(product.alpha, torch.ones(photo.height, photo.width))
    assert 'ground of its photo' in product.note


def test_the_product_is_found_once(monkeypatch):
    calls = []
    monkeypatch.setattr(
        photo_module, 'segment',
        lambda image: (calls.append(image), segment(image))[1])
    product = Product(painted((255, 255, 255), disc()))
    for size in ((64, 64), (320, 240)):
        rgb, alpha = product.fitted(size)
        assert rgb.shape == (3, 1, *size[::-1])
        assert alpha.shape == (1, *size[::-1])
    assert len(calls) == 1 and product.note is None
    assert overlap(product.alpha, disc()) > 0.95


# prepare_photo


def test_photo_of_the_same_aspect_is_unchanged():
    photo = grain(painted((200, 190, 180), disc()), 20)
    mask = torch.from_numpy(disc().astype(np.float32))
    rgb, fitted = prepare_photo(photo, mask, SIZE)
    assert rgb.shape == (3, 1, 240, 320) and rgb.dtype == torch.float32
    want = torch.from_numpy(np.array(photo)).permute(2, 0, 1) / 127.5 - 1
    assert torch.allclose(rgb[:, 0], want)
    assert torch.equal(fitted[0], mask)


def test_photo_is_padded_with_its_ground():
    ground = (200, 190, 180)
    photo = painted(ground, disc())
    mask = torch.from_numpy(disc().astype(np.float32))
    rgb, fitted = prepare_photo(photo, mask, (480, 240))
    colour = torch.tensor(ground)[:, None, None] / 127.5 - 1
    for part in (rgb[:, 0, :, :80], rgb[:, 0, :, 400:]):
        assert torch.allclose(part, colour.expand_as(part))
    assert overlap(fitted[0], disc((480, 240), (230, 110))) == 1


def test_transparent_parts_are_white():
    photo = painted((0, 0, 0), disc())
    photo.putalpha(Image.fromarray(disc().astype(np.uint8) * 255))
    rgb, fitted = prepare_photo(photo, product_mask(photo), (320, 320))
    assert (rgb[:, 0][:, fitted[0] == 0] == 1).float().mean() > 0.99
    red = torch.tensor([200, 30, 60])[:, None] / 127.5 - 1
    inside = rgb[:, 0, 150 - 20:150 + 20, 150]
    assert torch.allclose(inside, red.expand_as(inside))


@pytest.mark.parametrize('size', [(1, 1), (1, 500), (500, 1)])
def test_photos_of_any_shape(size):
    photo = Image.new('RGB', size, (10, 20, 30))
    rgb, mask = prepare_photo(photo, torch.ones(size[::-1]), (64, 32))
    assert rgb.shape == (3, 1, 32, 64) and mask.shape == (1, 32, 64)
    assert torch.allclose(
        rgb, (torch.tensor([10, 20, 30.]) / 127.5 - 1).view(3, 1, 1, 1))
    assert 0 < mask.sum() <= 32 * 64


def test_a_cut_out_that_is_half_transparent_all_over_has_its_shape():
    photo = painted((255, 255, 255), disc())
    photo.putalpha(Image.fromarray(disc(radius=30).astype(np.uint8) * 100))
    product = Product(photo)
    assert product.note is None
    assert np.array_equal(
        product.alpha.numpy(), disc(radius=30).astype(np.float32))
