r"""Surroundings in which pages are built."""
import asyncio

import pytest


@pytest.fixture
def loops(monkeypatch):
    r"""Close the event loops that gradio makes where it finds none."""
    made, new = [], asyncio.new_event_loop

    def noted():
        made.append(new())
        return made[-1]

    monkeypatch.setattr(asyncio, 'new_event_loop', noted)
    yield
    asyncio.set_event_loop(None)
    for loop in made:
        loop.close()
