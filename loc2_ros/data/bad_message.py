# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The one error that reading a message raises."""

from __future__ import annotations

from loc2_ros.core.values import Reason


class BadMessage(ValueError):
    """A message that cannot be used: one sentence, its reason and the numbers behind it."""

    def __init__(self, reason: Reason, sentence: str, **numbers: float) -> None:
        """Keep the reason and the numbers beside the sentence."""
        super().__init__(sentence)
        self.reason = reason
        self.numbers = numbers
