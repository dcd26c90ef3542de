# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A model of published size in the node, from files, end to end on a CPU."""

from __future__ import annotations

from pathlib import Path
import resource
import subprocess
import sys
from typing import Any

from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps.writer import write_mbtiles_from_local
from loc2_ros.ros.about import load
import numpy as np
import pytest
from ros_world import DATUM, World

# In a process of its own, so that the memory it takes is not counted here
_MAKE = """
import json, sys
from pathlib import Path
import torch
from loc2_ros.model.checkpoint import write_folder
from loc2_ros.model.dinov2 import CONFIG, random_dinov2, SIZES, WEIGHTS
from loc2_ros.model.loc2 import Loc2Net
from loc2_ros.model.presets import PRESETS
from loc2_ros.model.weights import import_checkpoint
folder = Path(sys.argv[1])
torch.manual_seed(0)
torch.save(Loc2Net(PRESETS['kitti_ori10']).state_dict(), folder / 'model.pt')
import_checkpoint(folder / 'model.pt', 'kitti_ori10', folder / 'kitti')
vit = random_dinov2(SIZES['dinov2_vitl14']).model
write_folder(folder / 'vit', {CONFIG: json.dumps(vit.config.to_dict(), default=str)}, WEIGHTS,
             dict(vit.state_dict()), {})
"""


@pytest.mark.slow
def test_a_model_of_published_size_runs_in_the_node(world: World, tmp_path: Path,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('transformers')
    subprocess.run([sys.executable, '-c', _MAKE, str(tmp_path)], check=True, timeout=600,
                   cwd=Path(__file__).parents[2])
    grey = np.random.default_rng(0).integers(0, 255, (512, 512, 3)).astype(np.uint8)
    write_mbtiles_from_local(tmp_path / 'map.mbtiles', grey, LocalFrame(*DATUM), -128.0, 128.0,
                             0.5, metadata={'name': 'noise'})
    made: list[Any] = []

    def factory(settings: Any, frame: Any) -> Any:
        made.append(load(settings, frame))
        return made[0]

    node = world.start(factory=factory, checkpoint=str(tmp_path / 'kitti'),
                       backbone=str(tmp_path / 'vit'), device='cpu', preset='kitti_ori10',
                       depth__source='flat', map__path=str(tmp_path / 'map.mbtiles'),
                       max_image_age=0.0, prior__max_age=60.0)
    assert sum(p.numel() for p in made[0].network.model.net.ground_backbone.parameters()) \
        == 304_368_640
    world.ready(node)
    world.frame()

    def done() -> Any:
        values = node.stats.values()
        return values if values['fixes'] + values['rejected'] else None

    values = world.until(done, 'the image to be localized', 300.0)
    # Random weights match nothing in particular; every stage has to have run all the same
    assert values['fixes'] or values['reason'] in (
        'few_matches', 'degenerate', 'few_inliers', 'low_score', 'scale', 'far_from_prior',
        'heading_off', 'uncertain'), values
    assert values['inference_ms'] > 0.0
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** 20
    with capsys.disabled():
        print(f'\nViT-L in the node on a CPU: {values["inference_ms"] / 1e3:.1f} s an image, '
              f'{values["reason"] or "a fix"}, peak memory of the process {peak_gib:.2f} GiB')
    assert peak_gib < 8.0
