# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What the adapter is told, without ROS: the shipped files are its defaults and rosbag2's QoS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loc2_ros.data.kitti_repair import Sigmas
from loc2_ros.data.topics import ADAPTED
from loc2_ros.ros.kitti_adapter_params import PARAMS, sigmas_of
import yaml

CONFIG = Path(__file__).resolve().parents[2] / 'config'


def flat(tree: dict[str, Any], prefix: str = '') -> dict[str, Any]:
    """Return the dotted names of a parameter file."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found.update(flat(value, f'{prefix}{name}.') if isinstance(value, dict)
                     else {prefix + name: value})
    return found


def test_the_file_lists_every_parameter_with_its_default() -> None:
    given = flat(yaml.safe_load((CONFIG / 'kitti_adapter.yaml').read_text())['/**'][
        'ros__parameters'])
    assert given.pop('use_sim_time') is True
    assert given == {param.name: param.default for param in PARAMS}


def test_every_default_is_valid_and_described_in_the_file() -> None:
    text = (CONFIG / 'kitti_adapter.yaml').read_text()
    for param in PARAMS:
        assert param.problem(param.default) is None
        unit = f' [{param.unit}]' if param.unit else ''
        assert f'# {param.description}{unit}\n' in text


def test_kitti_yaml_places_the_imu_where_the_adapter_does() -> None:
    localizer = yaml.safe_load((CONFIG / 'kitti.yaml').read_text())['/**']['ros__parameters']
    ours = {param.name: param.default for param in PARAMS}
    assert localizer['static_tf'] == {'child_frame': ours['imu_frame'], 'pose': ours['imu_pose']}
    assert (localizer['fix_topic'], localizer['imu_topic']) == (
        ours['fix_topic'], ours['imu_topic'])


def test_the_repairs_of_recordings_and_of_the_adapter_are_the_same() -> None:
    assert sigmas_of({param.name: param.default for param in PARAMS}) == Sigmas()
    named = ' '.join(param.description for param in PARAMS)
    assert all(topic in named for topic in ADAPTED)


def test_the_player_is_told_to_latch_static_transforms() -> None:
    assert yaml.safe_load((CONFIG / 'rosbag_qos.yaml').read_text()) == {'/tf_static': {
        'history': 'keep_last', 'depth': 100, 'reliability': 'reliable',
        'durability': 'transient_local'}}
