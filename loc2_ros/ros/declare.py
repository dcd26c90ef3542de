# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""From the parameter table to ROS parameters: declared, bounded, checked, with sentences."""

from __future__ import annotations

from typing import Any, Callable, Mapping

from loc2_ros.ros.params import (BY_NAME, check, check_together, Param, ParameterError, PARAMS,
                                 unknown)
from rcl_interfaces.msg import (FloatingPointRange, IntegerRange, ParameterDescriptor,
                                SetParametersResult)
from rclpy.node import Node
from rclpy.parameter import Parameter

_TYPES = {bool: Parameter.Type.BOOL, int: Parameter.Type.INTEGER, float: Parameter.Type.DOUBLE,
          str: Parameter.Type.STRING, list: Parameter.Type.DOUBLE_ARRAY}
# Declared by rclpy itself, or by others under names of their own
_FOREIGN = ('use_sim_time', 'qos_overrides.', 'start_type_description_service')


def declare(node: Node, table: tuple[Param, ...] = PARAMS) -> dict[str, Any]:
    """
    Declare every parameter of a table and return the values, by name.

    :param table: that of the localizer, or of another node.
    :raises ParameterError: a value given at start has the wrong type or lies out of range.
    """
    given = dict(getattr(node, '_parameter_overrides', {}))
    for param in table:
        problem = param.problem(plain(given[param.name])) if param.name in given else None
        if problem:
            raise ParameterError(problem)
        # A list that is not set must be declared by type: [] would become a byte array
        default = _TYPES[param.kind] if param.default is None else param.default
        node.declare_parameter(param.name, default, descriptor(param))
    names = tuple(param.name for param in table)
    for name in given:
        if name not in names and not name.startswith(_FOREIGN):
            node.get_logger().warning(f'ignored: {unknown(name, names)}')
    declared = values(node, table)
    if table is PARAMS:
        check_together(declared)
    return declared


def values(node: Node, table: tuple[Param, ...] = PARAMS) -> dict[str, Any]:
    """Return the present value of every parameter of a table, None where it is not set."""
    return {param.name: plain(node.get_parameter_or(param.name, None)) for param in table}


def verdict(node: Node, parameters: list[Parameter],
            check_more: Callable[[Mapping[str, Any]], None] = lambda values: None,
            ) -> SetParametersResult:
    """
    Judge a change at run time as a whole, without effects; the node polls its parameters.

    :param check_more: takes all values as they would be; raises ParameterError.
    """
    changed = {p.name: plain(p) for p in parameters if p.name in BY_NAME}
    try:
        for name, value in changed.items():
            check(name, value)
        if changed:
            wanted = {**values(node), **changed}
            check_together(wanted)
            check_more(wanted)
    except ParameterError as error:
        return SetParametersResult(successful=False, reason=str(error))
    return SetParametersResult(successful=True)


def descriptor(param: Param) -> ParameterDescriptor:
    """Describe a row to ROS tools: text with unit, range, read-only."""
    allowed = param.range_text()
    text = param.description + (f' [{param.unit}]' if param.unit else '')
    bounds = {float: ('floating_point_range', FloatingPointRange),
              int: ('integer_range', IntegerRange)}
    more: dict[str, Any] = {}
    if param.kind in bounds and allowed:
        key, message = bounds[param.kind]
        more[key] = [message(from_value=param.kind(param.low), to_value=param.kind(param.high))]
    return ParameterDescriptor(description=text, read_only=param.read_only,
                               additional_constraints=allowed, **more)


def plain(parameter: Parameter | None) -> Any:
    """Return a parameter's value with lists as lists."""
    if parameter is None or parameter.type_ == Parameter.Type.NOT_SET:
        return None
    value = parameter.value
    return list(value) if hasattr(value, '__len__') and not isinstance(value, str) else value
