r"""Which side of the product each photo shows, as visitors tell it."""
import shutil

import pytest

from tests.page.edits import PHOTOS

pytest.importorskip(
    'gradio.blocks', reason='the page needs gradio (extra ui)')

from wan.page import photos
from wan.page.form import numbered


def test_a_side_is_told_of_all_photos_or_of_none():
    assert photos.told(2, ['', None, '90']) == {}
    assert photos.told(2, ['0', ' 90 ', '180']) == {'view_angles': '0,90'}
    with pytest.raises(ValueError, match='view_angles: 1 of 2 photos'):
        photos.told(2, ['0', ''])
    with pytest.raises(ValueError, match='8 of 9 photos'):
        photos.told(9, ['0'] * photos.MOST)


def test_a_photo_keeps_its_side_in_another_place(tmp_path):
    known = photos._noted(numbered(PHOTOS[:2]), {}, '0', '90')
    away = tmp_path / 'other.png'
    shutil.copy(PHOTOS[1], away)
    shown = photos._beside(numbered([PHOTOS[2], away]), known)
    assert [(one['label'], one['value']) for one in shown[:2]] == [
        ('1. product_3.png', ''), ('2. other.png', '90')]
    assert len(shown) == photos.MOST
    assert not any(one['visible'] for one in shown[2:])


def test_the_chosen_photo_is_put_first():
    found, chosen, _ = photos._put_first(numbered(map(str, PHOTOS)), 2)
    assert [caption for _, caption in found['value']] == [
        '1. product_3.png', '2. product.png', '3. product_2.png']
    assert found['selected_index'] == chosen == 0


def test_a_told_side_has_the_collage_turn():
    assert photos._turning('flat', '', '90') == 'auto'
    for given in (('flat', '', ''), ('upright', '0', '90')):
        assert photos._turning(*given) != 'auto'
