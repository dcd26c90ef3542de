# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The command line: ``loc2 <verb>``, one file per verb.

Verbs import what they need when they run, so that ``loc2 --help`` needs neither torch nor ROS.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Annotated, Any

from loc2_ros import __version__
import typer
from typer.core import TyperGroup

# Verb -> module with a function of the verb's name, or a Typer `app` for a group
VERBS = ('demo', 'run', 'visualize', 'replay', 'record', 'town', 'train', 'eval', 'map', 'model',
         'data', 'bag', 'bench')


class _Verbs(TyperGroup):
    """Says so where Ctrl-C ends a verb that has nothing of its own to say."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            typer.echo('loc2: interrupted', err=True)
            raise typer.Exit(130) from error


app = typer.Typer(
    name='loc2', cls=_Verbs, no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help='Localize a vehicle in an aerial photo from its camera image.')


def _show_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        typer.echo(f'loc2_ros {__version__}')
        raise typer.Exit()


@app.callback()
def _options(version: Annotated[bool, typer.Option(
        '--version', callback=_show_version, is_eager=True, help='Show the version.')] = False,
) -> None:
    """Declare the options that stand before a verb."""


def _mount(verb: str) -> None:
    """Add a verb, or a group of verbs, from its file."""
    name = f'loc2_ros.cli.{verb}'
    if importlib.util.find_spec(name) is None:
        return
    module = importlib.import_module(name)
    group = getattr(module, 'app', None)
    if group is not None:
        app.add_typer(group, name=verb)
    else:
        app.command(verb)(getattr(module, verb))


for _verb in VERBS:
    _mount(_verb)


def main() -> None:
    """Run the command line; ``cli/__main__`` does so with care for Ctrl-C while loading."""
    app()


if __name__ == '__main__':
    main()
