r"""Jobs leave nothing in memory: the page runs for weeks."""
import gc

import pytest
import torch

from tests.page.edits import CLIP, until, uploaded
from wan.page.station import Station


@pytest.fixture
def station(tmp_path):
    station = Station(tmp_path)
    yield station
    station.close()


def alive(station):
    r"""Number and bytes of the tensors that are held."""
    until(lambda: station.works._running is None)
    gc.collect()
    found = [one for one in gc.get_objects()
             if issubclass(type(one), torch.Tensor)]
    return len(found), sum(
        one.numel() * one.element_size() for one in found)


def test_memory_is_flat(station):
    r"""From the second job of each kind on, by two visitors."""
    after = []
    for _ in range(3):
        visitor = station.new_visitor()
        jobs = (('pvtt', uploaded(station, visitor)), ('t2v-tiny', CLIP))
        for ticket in [station.submit(*job, visitor) for job in jobs]:
            assert station.wait(ticket, visitor, 300).status == 'done'
        after.append(alive(station))
    assert after[1] == after[2]
