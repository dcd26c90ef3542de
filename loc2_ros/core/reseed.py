# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
When a prior has to come from GNSS although a filter gives one.

A filter that is fed by our fixes and tells us where to look can confirm itself for ever. So now
and then, and when nothing is found any more, the place to look is taken from GNSS.
"""

from __future__ import annotations

_NS = 1e-9


class Reseeding:
    """
    Decides image by image, and is told what became of each.

    :param period_s: time between two looks from GNSS while all is well.
    :param max_rejected: rejections in a row that make it look, or give up looking.
    """

    def __init__(self, period_s: float, max_rejected: int) -> None:
        self.period_s, self.max_rejected = period_s, max_rejected
        self.clear()

    def clear(self) -> None:
        """Start anew, as after a jump of the clock."""
        self._since_ns: int | None = None       # the last look from GNSS, or the start
        self._rejected = 0
        self._on_gnss = False

    def wants_gnss(self, stamp_ns: int) -> bool:
        """Return whether the prior of an image should come from GNSS, if there is one."""
        if self._since_ns is None:
            self._since_ns = stamp_ns
        if not self._on_gnss and (self._rejected >= self.max_rejected
                                  or (stamp_ns - self._since_ns) * _NS >= self.period_s):
            self._on_gnss, self._rejected = True, 0
        return self._on_gnss

    def accepted(self, stamp_ns: int, from_gnss: bool, agrees: bool) -> None:
        """
        Take note of a fix.

        :param agrees: whether the filter's own prior would have been near it; while it is not,
            GNSS goes on.
        """
        self._rejected = 0
        if from_gnss:
            self._since_ns, self._on_gnss = stamp_ns, not agrees

    def rejected(self, stamp_ns: int, from_gnss: bool, contradicts: bool) -> None:
        """
        Take note of an image without a fix.

        :param contradicts: it was refused for contradicting earlier fixes. Found from GNSS, that
            speaks against those, not against GNSS.
        """
        if from_gnss and contradicts:
            return
        self._rejected += 1
        if from_gnss and self._on_gnss and self._rejected >= self.max_rejected:
            self._since_ns, self._on_gnss, self._rejected = stamp_ns, False, 0
