# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What RViz and Foxglove are told to show: files that parse, and topics that there are."""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path
import re
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = 'rviz_default_plugins/'
# Types by RViz display; PointCloud2 and so on are called by their type
SHOWN = {'PoseWithCovariance': 'PoseWithCovarianceStamped'}
PUBLISHED = {
    '/loc2/pose': 'PoseWithCovarianceStamped', '/loc2/fix': 'NavSatFix',
    '/loc2/debug/prior': 'PoseWithCovarianceStamped', '/loc2/debug/points': 'PointCloud2',
    '/loc2/debug/matches': 'Image', '/loc2/debug/overlay': 'Image', '/loc2/debug/aerial': 'Image',
    '/loc2/debug/aerial_marker': 'Marker', '/diagnostics': 'DiagnosticArray',
    # ekf.yaml, and recordings of `loc2 bag` and `loc2 town`
    '/odometry/global': 'Odometry', '/odometry/local': 'Odometry',
    '/ground_truth/odom': 'Odometry'}


@pytest.fixture
def rviz() -> dict[str, Any]:
    """Return the configuration of RViz."""
    found: dict[str, Any] = yaml.safe_load((ROOT / 'config' / 'loc2.rviz').read_text())
    return found['Visualization Manager']


@pytest.fixture
def foxglove() -> dict[str, Any]:
    """Return the layout of Foxglove."""
    found: dict[str, Any] = json.loads((ROOT / 'config' / 'loc2_foxglove.json').read_text())
    return found


def test_rviz_shows_topics_that_there_are_with_displays_of_their_types(
        rviz: dict[str, Any]) -> None:
    shown = {d['Topic']['Value']: d for d in rviz['Displays'] if 'Topic' in d}
    assert set(shown) == set(PUBLISHED) - {'/loc2/fix', '/diagnostics'}
    for topic, display in shown.items():
        kind = display['Class'].removeprefix(PLUGINS)
        assert SHOWN.get(kind, kind) == PUBLISHED[topic], topic
        # A reliable subscriber hears nothing from a best-effort publisher
        best_effort = '/debug/' in topic
        assert (display['Topic']['Reliability Policy'] == 'Best Effort') == best_effort, topic


def test_rviz_looks_down_on_the_vehicle_in_the_map(rviz: dict[str, Any]) -> None:
    assert rviz['Global Options']['Fixed Frame'] == 'map'
    assert rviz['Views']['Current']['Class'] == f'{PLUGINS}TopDownOrtho'
    assert rviz['Views']['Current']['Target Frame'] == 'base_link'
    initialpose, = (t for t in rviz['Tools'] if t['Class'] == f'{PLUGINS}SetInitialPose')
    assert initialpose['Topic']['Value'] == '/initialpose'


def test_every_panel_of_the_foxglove_layout_is_placed_once(foxglove: dict[str, Any]) -> None:
    def panels(layout: Any) -> Iterator[str]:
        if isinstance(layout, str):
            yield layout
        else:
            yield from panels(layout['first'])
            yield from panels(layout['second'])
    placed = list(panels(foxglove['layout']))
    assert sorted(placed) == sorted(foxglove['configById'])


def test_foxglove_shows_topics_that_there_are(foxglove: dict[str, Any]) -> None:
    text = json.dumps(foxglove)
    named = set(re.findall(r'"(/(?:loc2|odometry|ground_truth|diagnostics)[\w/]*)', text))
    assert named == set(PUBLISHED) - {'/loc2/debug/aerial'}     # the marker is that crop
    assert foxglove['configById']['map!loc2']['followTopic'] == '/loc2/fix'
    assert foxglove['configById']['3D!loc2']['followTf'] == 'base_link'
