# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Where ``loc2`` and ``python -m loc2_ros.cli`` begin: Ctrl-C is one line even while loading."""

from __future__ import annotations

import signal
import sys

INTERRUPTED = 130


def main() -> int:
    """Run the command line; return the exit code, unless a verb ends it with one of its own."""
    try:
        # Here, because it takes a third of a second, in which a user may think better of it
        from loc2_ros.cli.main import app
        app()
    except KeyboardInterrupt:
        # A second Ctrl-C must not tear the farewell apart
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print('loc2: interrupted', file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == '__main__':
    sys.exit(main())
