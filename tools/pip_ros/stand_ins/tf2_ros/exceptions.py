# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What a lookup can fail with; the names are tf2's."""


class TransformException(Exception):
    """Any failed lookup."""


class LookupException(TransformException):
    """A frame that no message has named yet."""


class ConnectivityException(TransformException):
    """Two known frames without a chain of transforms between them."""


class ExtrapolationException(TransformException):
    """A time before the first or after the last sample of some transform on the way."""


class InvalidArgumentException(TransformException):
    """A frame name that cannot be one."""


class TimeoutException(TransformException):
    """Waited in vain; lookups raise the underlying error instead, as tf2_ros does."""
