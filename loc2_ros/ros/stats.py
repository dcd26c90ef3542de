# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What the node counts, safe under threads; diagnostics read it. No ROS in here."""

from __future__ import annotations

from collections import Counter, deque
import math
import threading
import time
from typing import Any, Mapping

from loc2_ros.core.values import Fix, Prior, Rejection
from loc2_ros.ros.reasons import EXPLAINED, REASONS

_RATE_WINDOW = 20       # images over which the rate is taken


class Stats:
    """
    Counts since activation, and the last of everything.

    images received = fixes + rejected + dropped + those in the slot or in the worker (at most
    two): every image ends in exactly one of them.
    """

    def __init__(self) -> None:
        """Start at zero."""
        self._lock = threading.Lock()
        self._values: dict[str, Any] = {}
        self._reasons: Counter[str] = Counter()
        self._arrivals: deque[float] = deque(maxlen=_RATE_WINDOW)
        self.reset()

    def reset(self) -> None:
        """Start at zero again."""
        with self._lock:
            self._values = {'images_received': 0, 'images_dropped': 0, 'fixes': 0, 'rejected': 0,
                            'consecutive_rejected': 0, 'fixes_received': 0,
                            'odometry_received': 0, 'clock_jumps': 0}
            self._reasons.clear()
            self._arrivals.clear()
            self._since = time.monotonic()

    def image(self, age_s: float, encoding: str) -> None:
        """Count an image on arrival."""
        with self._lock:
            self._arrivals.append(time.monotonic())
            self._values['images_received'] += 1
            self._values.update(image_age_s=age_s, image_encoding=encoding)

    def dropped(self, count: int = 1) -> None:
        """Count images that will not be looked at."""
        with self._lock:
            self._values['images_dropped'] += count

    def count(self, key: str) -> None:
        """Count something else."""
        with self._lock:
            self._values[key] = self._values.get(key, 0) + 1

    def note(self, **values: Any) -> None:
        """Remember values; None forgets."""
        with self._lock:
            self._values.update(values)

    def prior(self, prior: Prior) -> None:
        """Remember the prior of the last image."""
        self.note(prior_age_s=prior.age_s, prior_stddev_m=prior.sigma_xy_m,
                  prior_source=prior.source)

    def rejected(self, rejection: Rejection) -> None:
        """Count a rejection under its reason."""
        with self._lock:
            self._reasons[rejection.reason.value] += 1
            self._values['rejected'] += 1
            self._values['consecutive_rejected'] += 1
            self._values.update(
                reason=rejection.reason.value, rejection=str(rejection),
                reason_status=REASONS.get(rejection.reason),
                remedy=EXPLAINED[rejection.reason].remedy)
            for key in ('valid_fraction', 'age_s'):
                if key in rejection.numbers:
                    name = 'prior_age_s' if key == 'age_s' else key
                    self._values[name] = float(rejection.numbers[key])

    def fixed(self, fix: Fix, latency_s: float) -> None:
        """Count a fix; whatever was wrong before is over."""
        with self._lock:
            v = self._values
            v['fixes'] += 1
            v['consecutive_rejected'] = 0
            v.update(reason=None, rejection=None, reason_status=None, remedy=None,
                     input_problem=None, xy_map_m=fix.map_T_base.xy_m)
            v.update(matches=fix.n_matches, inliers=fix.n_inliers, score=fix.score,
                     inlier_ratio=fix.n_inliers / fix.n_matches if fix.n_matches else 0.0,
                     scale=fix.scale, prior_distance_m=fix.prior_distance_m,
                     stddev_xy_m=fix.sigma_xy_m, stddev_yaw_deg=math.degrees(fix.sigma_yaw_rad),
                     latency_s=latency_s,
                     latency_max_s=max(latency_s, v.get('latency_max_s') or 0.0))
            if fix.evidence is not None:
                if 'valid_fraction' in fix.evidence.numbers:
                    v['valid_fraction'] = float(fix.evidence.numbers['valid_fraction'])
                if 'crop' in fix.evidence.timings_s:
                    v['crop_ms'] = 1e3 * fix.evidence.timings_s['crop']

    def jumped(self) -> None:
        """Count a jump of the clock; what depends on time starts anew."""
        with self._lock:
            self._values['clock_jumps'] += 1
            self._values.update(latency_s=None, latency_max_s=None, image_age_s=None,
                                consecutive_rejected=0)

    def summary(self) -> str:
        """Return the counts as a sentence."""
        with self._lock:
            v, why = self._values, ', '.join(f'{n} {r}' for r, n in self._reasons.most_common())
            return (f'{v["images_received"]} images: {v["fixes"]} fixes, {v["rejected"]} rejected'
                    + (f' ({why})' if why else '') + f', {v["images_dropped"]} dropped')

    def values(self) -> Mapping[str, Any]:
        """Return a copy of everything, with ``rejected.<reason>`` for each reason counted."""
        with self._lock:
            values = dict(self._values)
            values.update({f'rejected.{name}': n for name, n in self._reasons.items()})
            now, arrivals = time.monotonic(), list(self._arrivals)
            values['image_silence_s'] = now - (arrivals[-1] if arrivals else self._since)
        if len(arrivals) > 1:
            # Up to now, so that the rate falls when images stop coming
            span = max(now, arrivals[-1]) - arrivals[0]
            values['image_rate_hz'] = (len(arrivals) - 1) / span if span > 0 else 0.0
        return values
