# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What the README says is what the code declares: tables, names, links."""

from __future__ import annotations

import ast
from collections.abc import Iterator
import importlib.util
from pathlib import Path
import re
import sys
from typing import Any

from loc2_ros.core.values import Reason
from loc2_ros.evaluate.metrics import RunFacts, summarize
from loc2_ros.ros.rules import RULES
import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / 'README.md').read_text()
# What every rclpy node has
ANY_NODE = re.compile(r'/rosout|/parameter_events|/clock|.*/transition_event|.*/tf2_frames|.*/('
                      r'(describe|get|list|set)_parameter\w*|get_type_description|'
                      r'change_state|get_(available_|transition)\w+|get_state)')


def tables(heading: str) -> list[list[list[str]]]:
    """Return the tables below a heading: rows of cells, the first row is the head."""
    section = re.split(r'^## ', README, flags=re.MULTILINE)
    text = next(part for part in section if part.startswith(heading))
    blocks = re.findall(r'(?:^\|.*\n)+', text, flags=re.MULTILINE)
    return [[[cell.strip() for cell in re.split(r'(?<!\\)\|', line)[1:-1]]
             for line in block.splitlines() if not line.startswith('|---')] for block in blocks]


def names(rows: list[list[str]], column: int = 0) -> set[str]:
    """Return everything in backquotes in a column, without the head."""
    return {name for row in rows[1:] for name in re.findall(r'`([^`]+)`', row[column])}


def test_the_tables_of_parameters_and_diagnostics_are_those_of_the_code() -> None:
    spec = importlib.util.spec_from_file_location('tables', ROOT / 'docs' / 'tables.py')
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.filled(README) == README, 'run python docs/tables.py'
    assert module.parameters() in README and module.diagnostics() in README
    for page in sorted((ROOT / 'docs').glob('*.md')):
        assert module.filled(page.read_text()) == page.read_text(), 'run python docs/tables.py'
    kitti = (ROOT / 'docs' / 'kitti.md').read_text()
    assert '| `stddev.velocity` | `0.1` |' in kitti


def test_every_reason_for_a_rejection_and_every_rule_is_explained_with_what_to_do() -> None:
    text = (ROOT / 'docs' / 'diagnostics.md').read_text()
    rows = [[cell.strip() for cell in re.split(r'(?<!\\)\|', line)[1:-1]]
            for line in text.splitlines() if line.startswith('|')]
    reasons = {row[0].strip('`'): row for row in rows if row[0].startswith('`')}
    for reason in Reason:
        _, means, remedy, _ = reasons[reason.value]
        assert len(means) > 10 and len(remedy) > 5
    assert sum(row[1] in ('WARN', 'ERROR') for row in rows) == len(RULES)
    assert all(len(rule.remedy) > 5 for rule in RULES)
    assert 'docs/diagnostics.md' in README


def test_every_figure_of_metrics_json_is_defined() -> None:
    table, = tables('Figures')
    assert names(table) == set(summarize([], RunFacts()))


def test_every_verb_is_listed() -> None:
    from loc2_ros.cli.main import VERBS
    listed = names(next(t for t in tables('Use') if t[0][0] == 'verb'))
    assert listed == {f'loc2 {verb}' for verb in VERBS}


def test_every_launch_argument_is_listed() -> None:
    code = ast.parse((ROOT / 'launch' / 'localize.launch.py').read_text())
    declared, = (ast.literal_eval(node.value) for node in code.body
                 if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'ARGUMENTS')
    assert names(next(t for t in tables('Use') if t[0][0] == 'launch argument')) == set(declared)


@pytest.mark.parametrize('page', ['README.md', 'CONTRIBUTING.md', *(
    f'docs/{path.name}' for path in sorted((ROOT / 'docs').glob('*.md')))])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    anchors = {re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-')
               for title in re.findall(r'^#+ (.*)$', text, flags=re.MULTILINE)}
    for target in re.findall(r'\]\(([^)]+)\)', text):
        if target.startswith('#'):
            assert target[1:] in anchors
        elif '://' not in target:
            path, _, anchor = target.partition('#')
            found = (ROOT / page).parent / path
            assert found.exists(), target
            assert not anchor or f'## {anchor}' in found.read_text().lower(), target


def test_tests_that_the_conventions_point_to_exist() -> None:
    text = (ROOT / 'docs' / 'conventions.md').read_text()
    pointed = set(re.findall(r'`(test/[\w/.]+)`', text))
    assert pointed and all((ROOT / path).exists() for path in pointed)


def resolved(name: str) -> str:
    """Return the absolute name of what the README calls ``~/x``, ``x`` or ``/x``."""
    return name.replace('~', '/loc2') if name.startswith('~') else f'/{name.lstrip("/")}'


def listed(rows: list[list[str]]) -> dict[str, str]:
    """Return types by absolute name."""
    return {resolved(name): row[1] for row in rows[1:]
            for name in re.findall(r'`([^`]+)`', row[0])}


def typed(kind: Any) -> str:
    """Return ``package/Name`` of a message or service class."""
    return f'{kind.__module__.split(".")[0]}/{kind.__name__}'


@pytest.fixture(scope='module')
def offered() -> Iterator[dict[str, dict[str, str]]]:
    """Start the node in several configurations and collect what it makes."""
    pytest.importorskip('rclpy', reason='needs ROS')
    sys.path.insert(0, str(ROOT / 'test' / 'ros'))
    from ros_world import World
    found: dict[str, dict[str, str]] = {'subscription': {}, 'publication': {}, 'service': {}}
    configurations: list[dict[str, Any]] = [
        {}, {'map__datum': None, 'depth__source': 'image'},
        {'image_transport': 'compressed', 'depth__source': 'lidar',
         'static_tf__child_frame': 'imu_link'}]
    for configuration in configurations:
        world = World()
        try:
            # Asked itself, not the graph: that still knows the nodes of before for a while
            node = world.start(wait=False, **configuration)
            for kind, made in (
                    ('subscription', [(s.topic_name, s.msg_type) for s in node.subscriptions]),
                    ('publication', [(p.topic_name, p.msg_type) for p in node.publishers]),
                    ('service', [(s.srv_name, s.srv_type) for s in node.services])):
                found[kind].update((resolved(name), typed(type_)) for name, type_ in made
                                   if not ANY_NODE.fullmatch(name))
        finally:
            world.close()
    yield found


@pytest.mark.parametrize('kind', ['subscription', 'publication', 'service'])
def test_topics_and_services_are_those_of_the_running_node(
        offered: dict[str, dict[str, str]], kind: str) -> None:
    table = next(t for t in tables('Topics and services') if t[0][0] == kind)
    assert listed(table) == offered[kind]
