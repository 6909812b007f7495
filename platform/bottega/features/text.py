"""The step that says something for people: a sentence a row, from the row's columns."""

from string import Formatter
from zoneinfo import ZoneInfo

import numpy as np

from bottega.errors import InvalidInput
from bottega.features.steps import Columns, Parts, Step
from bottega.times import from_epoch_us


class Text(Step, frozen=True, tag="text"):
    """A sentence for each row: `template` with columns in braces, as in `{requests:.0f} requests for {cars:.0f} cars`.

    What follows the colon is Python's format of a number, or, of the columns in `times` (epoch_us), strftime's of the
    moment in `timezone`. Nothing but a column's name may stand before it.
    """

    template: str
    output: str
    times: tuple[str, ...] = ()
    timezone: str = "UTC"

    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for _, name, _, _ in Formatter().parse(self.template) if name is not None))

    def makes(self) -> tuple[str, ...]:
        return (self.output,)

    def run(self, ready: Columns, parts: Parts) -> None:
        names, zone = self.reads(), ZoneInfo(self.timezone)
        for name in names:
            if not name.isidentifier():
                raise InvalidInput(f"The text {self.template!r} names {name!r}, which is no column.")
        columns = [
            [from_epoch_us(int(at)).astimezone(zone) for at in ready[name]] if name in self.times else ready[name]
            for name in names
        ]
        rows = [self.template.format(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]
        ready[self.output] = np.array(rows, object)
