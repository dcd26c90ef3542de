# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""One row of the parameter table: what a value must be, and the sentence if it is not."""

from __future__ import annotations

from dataclasses import dataclass
import difflib
import math
from typing import Any, Union

Value = Union[bool, int, float, str, 'list[float]', None]

_WORDS = {bool: 'true or false', int: 'an integer', float: 'a number with a decimal point',
          str: 'text', list: 'a list of numbers with decimal points'}


class ParameterError(ValueError):
    """A parameter that cannot be used: one sentence with the remedy."""


@dataclass(frozen=True)
class Param:
    """
    One parameter.

    :param kind: bool, int, float, str, or list (of float).
    :param default: None: not set until the user sets it.
    :param unit: for people; '' where there is none.
    :param low: smallest allowed value, of each element for a list.
    :param choices: the only texts allowed.
    :param lengths: the list lengths allowed.
    :param read_only: fixed once the node has started.
    """

    name: str
    kind: type
    default: Value
    unit: str
    description: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    lengths: tuple[int, ...] = ()
    read_only: bool = False

    def problem(self, value: Any) -> str | None:
        """Return what is wrong with a value, as a sentence, or None."""
        return (self._type_problem(value) or self._choice_problem(value)
                or self._range_problem(value))

    def range_text(self) -> str:
        """Return the allowed values for people."""
        if self.choices:
            return ', '.join(repr(c) for c in self.choices)
        if math.isinf(self.low) and math.isinf(self.high):
            return ''
        return f'{self.low:g} to {self.high:g}'

    def _type_problem(self, value: Any) -> str | None:
        if value is None and self.default is None:
            return None
        if self.kind is float and type(value) is int:
            return f'parameter {self.name} is a double: write {float(value)}, not {value}'
        if self.kind is list:
            return self._list_problem(value)
        if type(value) is not self.kind:
            return f'parameter {self.name} must be {_WORDS[self.kind]}, got {value!r}'
        return None

    def _list_problem(self, value: Any) -> str | None:
        if isinstance(value, (str, bytes)) or not hasattr(value, '__len__'):
            return f'parameter {self.name} must be {_WORDS[list]}, got {value!r}'
        if any(type(v) is int for v in value):
            wanted = [float(v) for v in value]
            return f'parameter {self.name} holds doubles: write {wanted}, not {list(value)}'
        if not all(type(v) is float for v in value):
            return f'parameter {self.name} must be {_WORDS[list]}, got {list(value)!r}'
        if self.lengths and len(value) not in self.lengths:
            wanted_text = ' or '.join(str(n) for n in self.lengths)
            return (f'parameter {self.name} needs {wanted_text} numbers ({self.unit}), '
                    f'got {len(value)}')
        return None

    def _choice_problem(self, value: Any) -> str | None:
        if not self.choices or value in self.choices:
            return None
        return (f'parameter {self.name} must be one of {self.range_text()}, got {value!r}'
                + nearest(str(value), self.choices))

    def _range_problem(self, value: Any) -> str | None:
        if self.kind not in (int, float, list) or value is None:
            return None
        for number in value if self.kind is list else [value]:
            if not (math.isfinite(number) and self.low <= number <= self.high):
                unit = f' {self.unit}' if self.unit else ''
                return (f'parameter {self.name} must lie in {self.range_text() or "the reals"}'
                        f'{unit}, got {number:g}')
        return None


def nearest(name: str, known: tuple[str, ...]) -> str:
    """Return '; did you mean ...?' for the closest known names, or ''."""
    # The last part of a dotted name is what people remember
    tails = {k.split('.')[-1]: k for k in known}
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    close += [tails[t] for t in difflib.get_close_matches(name.split('.')[-1], tails, 2, 0.7)]
    names = list(dict.fromkeys(close))[:3]
    return f'; did you mean {" or ".join(names)}?' if names else ''
