# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What a user says about imagery, for the record."""

from __future__ import annotations

from dataclasses import dataclass
import re
from typing import Any

from loc2_ros.maps.values import MapError

UNKNOWN = 'unknown'
_DATE = re.compile(r'\d{4}(-\d\d(-\d\d)?)?')


@dataclass(frozen=True)
class Origin:
    """
    What a user says about imagery: whose it is, when it was flown, where it is off.

    :param date: ISO, such as 2011-05, or from..to; '' is unknown.
    :param offset_m: (east, north) where the imagery shows a point minus where it is.
    """

    attribution: str = ''
    licence: str = ''
    licence_url: str = ''
    date: str = ''
    offset_m: tuple[float, float] = (0.0, 0.0)
    accepted: str = ''

    def __post_init__(self) -> None:
        ends = self.date.split('..') if self.date else []
        if len(ends) > 2 or not all(_DATE.fullmatch(end) for end in ends):
            raise MapError(f'the date {self.date!r} is unknown; write 2011, 2011-05, 2011-05-17 '
                           'or 2011-05..2011-09')

    def metadata(self) -> dict[str, Any]:
        """Return what goes into the file; what is missing is recorded as unknown."""
        ends = self.date.split('..') if self.date else []
        acquired = {'from': ends[0], 'to': ends[-1]} if ends else None
        return {'attribution': self.attribution, 'licence': self.licence or UNKNOWN,
                'licence_url': self.licence_url or None, 'acquired': acquired,
                'accepted': self.accepted or None, 'map_offset_m': list(self.offset_m)}

    def warnings(self) -> list[str]:
        """Return a sentence for each thing that is missing."""
        missing = {'attribution': self.attribution, 'licence': self.licence, 'date': self.date}
        return [f'the {name} of the imagery is unknown and recorded so; --{name} tells it'
                for name, value in missing.items() if not value]
