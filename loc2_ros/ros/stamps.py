# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Which image stamps are believable: in order, not zero, not too old, not from the future."""

from __future__ import annotations

from typing import Any, Mapping

from loc2_ros.core.values import Reason, Rejection

# An image this much older than the last one is a recording that starts over, not a late image
_RESTART_S = 1.0


class StampGuard:
    """Judges the stamps of images as they arrive."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Keep the parameter values; nothing has arrived yet."""
        self._settings = settings
        self._last_ns = self._used_ns = 0

    def clear(self) -> None:
        """Forget the last stamps, after time has jumped."""
        self._last_ns = self._used_ns = 0

    def restarts(self, stamp_ns: int, now_ns: int) -> bool:
        """
        Return whether a stamp says that time has gone back, as when a bag is looped.

        Where the last image was of the clock's time, it is the clock that tells: this one is late.
        """
        told = now_ns > 0 and self._max_age_s > 0 and (
            self._last_ns <= now_ns or self._age_s(stamp_ns, now_ns) > self._max_age_s)
        return 0 < stamp_ns < self._last_ns - _RESTART_S * 1e9 and not told

    def problem(self, stamp_ns: int, now_ns: int) -> Rejection | None:
        """
        Return why an image cannot be used, or None and remember its stamp.

        :param now_ns: the node's clock; 0 while simulated time has not begun.
        """
        age_s = self._age_s(stamp_ns, now_ns)
        if stamp_ns <= 0:
            return Rejection(stamp_ns, Reason.BAD_STAMP, detail='the image has no stamp')
        if now_ns > 0 and self._max_age_s > 0:
            if age_s > self._max_age_s:
                return Rejection(
                    stamp_ns, Reason.IMAGE_STALE,
                    {'age_s': age_s, 'max_image_age_s': self._max_age_s},
                    'the image is too old; with a bag set use_sim_time, or max_image_age to 0.0')
            if age_s < -self._max_age_s:
                return Rejection(stamp_ns, Reason.BAD_STAMP, {'ahead_s': -age_s},
                                 'the stamp lies in the future; are the clocks synchronised?')
        if stamp_ns <= self._last_ns:
            return Rejection(stamp_ns, Reason.BAD_STAMP,
                             {'behind_s': (self._last_ns - stamp_ns) / 1e9},
                             'the stamp is not after the last one')
        self._last_ns = stamp_ns
        return None

    def skip(self, stamp_ns: int) -> bool:
        """Return whether max_rate says to skip an image; otherwise it counts as used."""
        rate = self._settings['max_rate']
        if rate > 0 and self._used_ns and stamp_ns - self._used_ns < 0.999e9 / rate:
            return True
        self._used_ns = stamp_ns
        return False

    @property
    def _max_age_s(self) -> float:
        return float(self._settings['max_image_age'])

    @staticmethod
    def _age_s(stamp_ns: int, now_ns: int) -> float:
        return (now_ns - stamp_ns) / 1e9
