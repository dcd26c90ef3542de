# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""How a verb fails: one sentence on stderr, exit code 1, no traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def expected(*kinds: type[BaseException]) -> Iterator[None]:
    """Turn errors a user can cause into a sentence; others stay tracebacks, they are bugs."""
    try:
        yield
    except kinds as error:
        typer.echo(f'loc2: {error}', err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        typer.echo('loc2: interrupted', err=True)
        raise typer.Exit(130) from error
