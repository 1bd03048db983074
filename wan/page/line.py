r"""A fair queue: visitors take turns, whoever waits for long is next."""
from collections.abc import Iterable
from typing import Protocol


class Waiting(Protocol):
    r"""What stands in the queue.

    Args:
        visitor: whose it is.
        ahead: whether it is short and goes before all that are not.
    """
    visitor: str
    ahead: bool



class Line:
    r"""Of those that wait, the next is of the visitor who was served longest
    ago; in the order of their coming for each visitor."""

    def __init__(self):
        self._waiting: list[Waiting] = []
        self._served: dict[str, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, one: Waiting) -> None:
        self._waiting.append(one)

    def drop(self, one: Waiting) -> bool:
        r"""Take one out; whether it was there."""
        there = one in self._waiting
        if there:
            self._waiting.remove(one)
        return there

    def take(self) -> Waiting | None:
        r"""The next one, which is taken out."""
        one = next(iter(self.order()), None)
        if one is not None:
            self._waiting.remove(one)
            self._count += 1
            self._served[one.visitor] = self._count
            # Whoever waits for nothing is new again.
            waiting = {other.visitor for other in self._waiting}
            self._served = {
                visitor: at for visitor, at in self._served.items()
                if visitor in waiting or visitor == one.visitor}
        return one

    def order(self) -> Iterable[Waiting]:
        r"""All, in the order in which they would be taken."""
        left, served = list(self._waiting), dict(self._served)
        count = self._count
        while left:
            first = [one for one in left if one.ahead] or left
            one = min(first, key=lambda one: served.get(one.visitor, 0))
            left.remove(one)
            count += 1
            served[one.visitor] = count
            yield one
