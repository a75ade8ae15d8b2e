"""Looking into all the spools of a gateway together, as into one."""

import heapq
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from gateway.envelope import Mail
from gateway.spool.inspection import Inspection, Paused, Selection, SpooledDelivery, SpooledMessage
from gateway.spool.of_workers import spools_in

__all__ = ["Inspections"]


class Inspections:
    """The spool in `directory` and those of further workers in it; what is said of `Inspection` holds for this too."""

    def __init__(self, directory: Path) -> None:
        with ExitStack() as opened:
            # Where there is none, the sentence is about the directory.
            self._each = tuple(
                opened.enter_context(Inspection(path, spool=number))
                for number, path in enumerate(spools_in(directory) or (directory,))
            )
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opened.close()

    def __iter__(self) -> Iterator[Inspection]:
        return iter(self._each)

    def __getitem__(self, spool: int) -> Inspection:
        return self._each[spool]

    def deliveries(self, selection: Selection) -> Iterator[SpooledDelivery]:
        """The deliveries that are meant, oldest first; of several ids, in the order of the ids."""
        for id_ in selection.ids or ("",):
            one = replace(selection, ids=(id_,) if id_ else ())
            yield from heapq.merge(*(each.deliveries(one) for each in self._each), key=attrgetter("accepted_at"))

    def count(self, selection: Selection) -> int:
        """How many deliveries are meant, whoever their recipients are."""
        return sum(each.count(selection) for each in self._each)

    def message(self, id_: str) -> SpooledMessage | None:
        """What the spools hold under this id; None for nothing."""
        return next(filter(None, (each.message(id_) for each in self._each)), None)

    def mail(self, id_: str) -> Mail | None:
        """The whole mail, with all its recipients; its content is for the caller to close. None where it is gone.

        Raises DamagedRowError where it is not what was stored.
        """
        return next(filter(None, (each.mail(id_) for each in self._each)), None)

    def ids(self, beginning: str) -> tuple[str, ...]:
        """The first two ids, at most, that begin so."""
        return tuple(sorted({id_ for each in self._each for id_ in each.ids(beginning)})[:2])

    def connectors(self) -> tuple[str, ...]:
        """The names of all connectors that have deliveries here or are paused, sorted."""
        return tuple(sorted({name for each in self._each for name in each.connectors()}))

    def paused(self) -> tuple[Paused, ...]:
        """The connectors that are paused, by name: each as the first worker that it has turned away has noted it."""
        found = sorted(
            (paused for each in self._each for paused in each.paused()), key=attrgetter("connector", "since")
        )
        return tuple(next(same) for _, same in groupby(found, key=attrgetter("connector")))
