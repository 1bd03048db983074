r"""Experiment files and values by chance, of a fixed seed and for a short
time: each is taken, or refused in one sentence."""
import random
import time

from wan.jobs.settings import Settings
from wan.jobs.settings_file import read_experiment
from wan.tasks import TASKS
from wan.utils.flags import names

SECONDS = 4
WHOLE = """
video: {video_path: a.mp4, target_image: [b.png, 'c,d.png'], fit: crop}
flowalign:
  ref_c: [0.3, -0.1]
  sample_steps: 20
  strength: 0.7
  use_mask: false
"""
PARTS = (
    ':', ' ', '\n', '\t', '[', ']', '{', '}', '"', "'", '!!', '!!bool ', '&a ',
    '*a', '<<: ', '- ', '? ', '|', '>', '%', '@', '\\', '\0', '\x85', '\ufeff',
    '1e39', '.inf', '-', '9' * 400, '0x', '12:30:45', '2001-01-01', 'null',
    '~', 'é', '\ud800', '---\n', '...\n', '#', ',', '[' * 300, '!!binary ')
VALUES = (
    0, -1, 1, 5, 1e39, -1e39, 10**12, 10**400, 0.5, True, None, '', ' ', ',',
    'nan', 'inf', '-inf', '1e999', '1,2', '0-1', '0-999999999999', '1-0', '-',
    '--', 'all', 'match', 'x' * 5000, '\0', '\ud800', [], [[]], {}, [1, 'a'],
    {'a': 1}, b'a', '9' * 5000, '٣', '１', '0x10', '1_000', 'true', 'TRUE')


def outcome(call, *args) -> bool:
    try:
        call(*args)
    except ValueError as error:
        assert str(error).strip(), repr(error)
        return False
    return True


def test_files(tmp_path):
    chance, row = random.Random(0), TASKS['pvtt']
    path, end, seen = tmp_path / 'x.yaml', time.monotonic() + SECONDS, []
    path.write_text(WHOLE)
    assert outcome(read_experiment, path, row)
    for _ in range(600):
        text = WHOLE
        for _ in range(chance.randint(1, 3)):
            i, cut = chance.randrange(len(text)), chance.randint(0, 8)
            text = text[:i] + chance.choice(PARTS) + text[i + cut:]
        path.write_bytes(text.encode(errors='surrogatepass'))
        seen.append(outcome(read_experiment, path, row))
        if time.monotonic() > end:
            break
    assert len(seen) > 50 and {True, False} == set(seen)


def test_values():
    chance, kinds = random.Random(0), TASKS['pvtt'].kinds
    end, seen = time.monotonic() + SECONDS, []
    for _ in range(3000):
        given = {chance.choice(names(*kinds)): chance.choice(VALUES)
                 for _ in range(chance.randint(1, 3))}
        seen.append(outcome(Settings.of, kinds, given, {}))
        if time.monotonic() > end:
            break
    assert len(seen) > 200 and {True, False} == set(seen)
