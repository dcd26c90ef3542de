# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Training on data sets in the published layouts, on a recording, and with kept features."""

from __future__ import annotations

from dataclasses import replace
import json
import math
from pathlib import Path

from loc2_ros.cli.settings import load_settings
from loc2_ros.core.camera import tile_to_map
from loc2_ros.data.pair import DatasetError, Drawn
from loc2_ros.evaluate.datasets import eval_kitti, EvalSettings, KittiProtocol
from loc2_ros.model.loc2 import Loc2Net
from loc2_ros.train.config import (ConfigError, DriveConfig, KittiConfig, TrainConfig,
                                   VigorConfig)
from loc2_ros.train.drive import read_drive
from loc2_ros.train.features import keep_features
from loc2_ros.train.loop import train
from loc2_ros.train.losses import PUBLISHED, Weights
from loc2_ros.train.sources import kitti_source, vigor_source
from mini_datasets import make_kitti, make_vigor, Panorama, Planted, texture, TOY
import numpy as np
import pytest
import torch

CONFIGS = Path(__file__).parents[2] / 'config'
FEW = Weights(cells=0.0, tokens=0.0, depth=0.0, vce=1.0, infonce=1.0, matches=64)


@pytest.mark.parametrize(('name', 'kind'), [
    ('kitti', KittiConfig), ('vigor', VigorConfig), ('drive', DriveConfig)])
def test_the_shipped_configurations_are_valid(name: str, kind: type[TrainConfig]) -> None:
    config = kind.load(CONFIGS / f'train_{name}.yaml')
    assert config.weights == (PUBLISHED if name != 'drive' else
                              replace(PUBLISHED, infonce=0.0, matches=0))
    assert config.batch % config.accumulate == 0
    if name != 'drive':
        assert (config.batch, config.lr, config.schedule) == (80, 1e-4, 'constant')
        assert math.prod(config.contract.aerial_grid) == 1681


@pytest.mark.parametrize(('text', 'word'), [
    ('batch: 0', 'at least 1'), ('features: x', 'frozen'), ('schedule: sawtooth', 'cosine'),
    ('weights: {infonce: 1.0, matches: 0}', 'drawn'), ('start_from: nowhere', 'start_from'),
    ('weights: {grid_m: 0}', 'grid_m'), ('lr: -1.0', 'lr is'), ('lr: .nan', 'lr is'),
    ('valid_share: 1.0', 'valid_share'), ('model: {projector_widths: []}', 'projector_widths')])
def test_what_cannot_be_trained_is_named(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / 'config.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match=word):
        KittiConfig.load(path)


def test_sources_refuse_what_the_model_is_not_made_for(tmp_path: Path) -> None:
    config = KittiConfig(TOY, data=str(tmp_path), rotation_range_deg=180.0)
    with pytest.raises(ConfigError, match='heading_range_deg'):
        kitti_source(config)
    with pytest.raises(ConfigError, match='no folder'):
        kitti_source(replace(config, data=str(tmp_path / 'absent')))
    with pytest.raises(ConfigError, match='north-up'):
        vigor_source(VigorConfig(TOY, data=str(tmp_path), random_orientation_deg=0.0))


def test_features_of_a_frozen_backbone_are_kept_by_what_they_were_made_of(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = Loc2Net(TOY).ground_backbone.eval()
    with pytest.raises(ValueError, match='frozen'):
        keep_features(backbone, tmp_path)
    backbone.requires_grad_(False)
    images = torch.rand(3, 3, 32, 64)
    kept = keep_features(backbone, tmp_path)
    first = kept(images[:2])
    # Stored as float16
    torch.testing.assert_close(first, backbone(images[:2]), rtol=2e-3, atol=1e-3)
    files = sorted(tmp_path.rglob('*.safetensors'))
    assert len(files) == 2
    assert torch.equal(kept(images[[1, 0]]), first[[1, 0]])
    assert sorted(tmp_path.rglob('*.safetensors')) == files     # nothing was computed again
    files[0].write_bytes(b'cut off')
    torch.testing.assert_close(kept(images[:2]), first)
    with torch.no_grad():
        next(backbone.parameters()).mul_(2)
    keep_features(backbone, tmp_path)(images[:1])
    assert len({file.parent for file in tmp_path.rglob('*.safetensors')}) == 2


@pytest.mark.slow
def test_training_with_kept_features_and_accumulation_learns_what_it_does_without(
        tmp_path: Path) -> None:
    make_kitti(tmp_path / 'data', [Planted(0.3), Planted(1.4)], [texture(0)] * 2)
    config = KittiConfig(TOY, data=str(tmp_path / 'data'), batch=2, epochs=2, lr=1e-3,
                         valid_share=0.0, weights=FEW, freeze_backbone=True, loader_workers=0,
                         amp=False)
    kept = replace(config, features=str(tmp_path / 'features'))
    losses = []
    for k, one in enumerate((config, kept, kept)):
        train(one, kitti_source(one), tmp_path / f'run{k}')
        losses.append((tmp_path / f'run{k}' / 'log.csv').read_text().splitlines()[-1].split(','))
    assert len(list((tmp_path / 'features').rglob('*.safetensors'))) == 2       # ground only
    assert losses[1] == losses[2]
    assert float(losses[0][1]) == pytest.approx(float(losses[1][1]), rel=1e-2)


@pytest.mark.slow
def test_vigor_can_be_trained_on(tmp_path: Path) -> None:
    make_vigor(tmp_path, [Panorama('Chicago', (20.0, 30.0)), Panorama('Seattle')], texture(0))
    contract = replace(TOY, camera_model='equirectangular', heading_up=False,
                       heading_range_deg=180.0, ground_hw=(96, 192), max_depth_m=35.0)
    config = VigorConfig(contract, data=str(tmp_path), batch=2, epochs=3, valid_share=0.5,
                         accumulate=1, weights=FEW, loader_workers=0, amp=False, patience=1,
                         valid_every=1)
    with pytest.raises(ConfigError, match='no batch'):
        train(replace(config, epochs=1), vigor_source(replace(config, epochs=1)), tmp_path / 'a')
    model = train(config, vigor_source(config), tmp_path / 'b')
    assert (model / 'model.safetensors').is_file()
    assert (tmp_path / 'b' / 'valid.csv').read_text().startswith('step,position_median_m')


@pytest.mark.slow
def test_kitti_can_be_learned_by_heart(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    heads = (0.3, 1.7, -2.2, -0.6)
    shifts = ((0.3, -0.5, 0.4), (-0.6, 0.2, -0.8), (0.1, 0.7, 0.9), (0.5, 0.4, -0.2))
    make_kitti(tmp_path / 'data', [Planted(h, s) for h, s in zip(heads, shifts)],
               [texture(7)] * 4, satmap_px=800)
    contract = replace(TOY, aerial_px=256, backbone_options={'widths': [16, 16, 24, 32]},
                       projector_widths=(32,))
    config = KittiConfig(contract, data=str(tmp_path / 'data'), pairs=1600, epochs=0, batch=8,
                         lr=3e-3, schedule='cosine', warmup=20, clip=1.0, amp=False,
                         valid_share=0.0, loader_workers=0,
                         weights=replace(PUBLISHED, matches=512))
    model = train(config, kitti_source(config), tmp_path / 'run')
    settings = EvalSettings(str(model), batch=4, workers=0, progress=False)
    eval_kitti(tmp_path / 'data', settings, KittiProtocol(splits=('test1',)), tmp_path / 'out')
    metrics = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    assert metrics['splits']['test1']['failed'] == 0
    assert metrics['splits']['test1']['position_m']['median'] < 0.5


@pytest.mark.slow
def test_a_real_drive_becomes_frames_whose_truth_is_its_record(real_data: Path) -> None:
    from loc2_ros.model.weights import load_model
    drive = real_data / 'kitti_0013'
    store = drive / 'pseudo_ortho' / 'kitti_0013_pseudo_ortho.mbtiles'
    settings = load_settings(['kitti'], [f'map.path:={store}'])
    contract = load_model('mini', 'cpu').contract
    frames = read_drive(drive / 'mcap', settings, contract, 20.0, every=12, progress=False)
    assert [seen.number for seen in frames.seen] == list(range(0, 144, 12))
    with pytest.raises(DatasetError, match='from 1000'):
        frames.between(1000, 2000)
    run = Drawn(frames, 24, seed=0)
    for k in (3, 17):
        pair = run[k]
        assert abs(float(pair.theta) + math.pi / 2) <= math.radians(10.01)
        assert np.abs(pair.t.numpy()).max() <= 20.0 * math.sqrt(2) + 0.01
        # Somebody drove here: the map shows the road where the camera stands
        row, column = (pair.t.numpy() / 0.25 + 160).astype(int)
        assert float(pair.aerial[:, row - 4:row + 4, column - 4:column + 4].mean()) > 0.05
    moved = frames.pair(5, None)
    pose = tile_to_map(float(moved.theta), moved.t.numpy(), np.zeros(2), 0.0)
    assert math.isfinite(pose.yaw_rad)
    # The speed of the record: 173 m in 14.4 s, so 14.5 m between twelve frames
    gaps = [np.linalg.norm(b.map_T_camera.xy_m - a.map_T_camera.xy_m)
            for a, b in zip(frames.seen, frames.seen[1:])]
    assert sum(gaps) == pytest.approx(160, rel=0.1)


@pytest.mark.slow
def test_real_kitti_frames_go_through_with_maps_that_are_made_up(tmp_path: Path,
                                                                 real_data: Path) -> None:
    raw = real_data / 'kitti_0002' / 'raw'
    day = '2011_09_26'
    drive = f'{day}/2011_09_26_drive_0002_sync'
    (tmp_path / 'raw_data').symlink_to(raw, target_is_directory=True)
    names = sorted(p.stem for p in (raw / drive / 'image_02' / 'data').glob('*.png'))
    assert len(names) == 10
    line = (np.arange(1280) - 639.5) * 0.196
    from mini_datasets import write
    tile = texture(3)(*np.meshgrid(line, -line))
    for name in names:
        write(tmp_path / 'satmap' / drive / f'{name}.png', tile)
    (tmp_path / 'splits').mkdir()
    (tmp_path / 'splits' / 'test1.txt').write_text(
        '\n'.join(f'{drive}/{name}.png 0.2 -0.3 0.5' for name in names) + '\n')
    settings = EvalSettings('mini', device='cpu', batch=3, workers=0, progress=False)
    eval_kitti(tmp_path, settings, KittiProtocol(splits=('test1',)), tmp_path / 'out')
    found = json.loads((tmp_path / 'out' / 'metrics.json').read_text())['splits']['test1']
    # Nothing can be found on a map of nothing; what comes is counted all the same
    assert found['frames'] == 10 and 0 <= found['recall']['lateral_5m'] <= 1
    assert found['recall']['lateral_1m'] <= found['recall']['lateral_5m']
