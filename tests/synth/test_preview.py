r"""The contact sheet command."""
import sys

from PIL import Image

from wan.synth import preview


def test_writes_a_sheet(tmp_path, monkeypatch):
    path = tmp_path / 'sheet.png'
    monkeypatch.setattr(sys, 'argv', [
        'preview', str(path), '--count', '1', '--size', '32', '--seed', '5'])
    preview.main()
    with Image.open(path) as sheet:
        assert sheet.mode == 'RGB'
        assert len(set(sheet.tobytes())) > 50
        assert sheet.width > 7 * 200 and sheet.height > 2 * 200
