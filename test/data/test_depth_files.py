# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Depth files of KITTI and VIGOR: formats, layouts, resumption, stripes, mixed origins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
from loc2_ros.cli.main import app
from loc2_ros.data.depth_files import (check, encode_depth, Format, KITTI, kitti_jobs,
                                       precompute, read_depth, stripe_share, STRIPED, VIGOR,
                                       vigor_jobs)
from loc2_ros.data.pair import DatasetError
import numpy as np
import pytest
from typer.testing import CliRunner

SIZE = (30, 60)


class Ramp:
    """A network whose depth grows by a metre per column and a tenth per row, and that counts."""

    name, licence = 'test/ramp', 'Apache-2.0'

    def __init__(self, fail_after: int = 10 ** 9, stripes: bool = False) -> None:
        self.calls, self.fail_after, self.stripes = [], fail_after, stripes

    def metres(self, rgb: Any, panorama: bool = False, size: Any = None) -> Any:
        if len(self.calls) >= self.fail_after:
            raise KeyboardInterrupt
        self.calls.append((rgb.shape, panorama, size))
        row, col = np.indices(size)
        return (1.0 + 0.1 * row + (0 if self.stripes else col)).astype(np.float32)


def kitti(root: Path, frames: int = 3) -> Path:
    for i in range(frames):
        path = (root / 'raw_data/2011_09_26/2011_09_26_drive_0002_sync/image_02/data'
                / f'{i:010d}.png')
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((*SIZE, 3), 10 * i, np.uint8))
    return root


def vigor(root: Path) -> Path:
    for city in ('Chicago', 'Seattle'):
        (root / city / 'panorama').mkdir(parents=True)
        cv2.imwrite(str(root / city / 'panorama' / 'a,1.5,2.jpg'), np.zeros((*SIZE, 3), np.uint8))
    return root


def homes(jobs: Any) -> set[Path]:
    return {job.depth.parent for job in jobs}


def test_kitti_files_are_256_per_metre_planar_and_beside_each_drive(tmp_path: Path) -> None:
    network = Ramp()
    jobs = kitti_jobs(kitti(tmp_path))
    report = precompute(jobs, network, KITTI, [tmp_path / KITTI.folder], progress=False)
    assert (report.written, report.kept, report.bad) == (3, 0, [])
    assert network.calls == [((*SIZE, 3), False, SIZE)] * 3
    path = (tmp_path / 'depth_anythingv2_depth/2011_09_26/2011_09_26_drive_0002_sync/depth'
            / '0000000002.png')
    units = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert units.dtype == np.uint16 and units.shape == SIZE
    assert units[0, 0] == 256 and units[3, 7] == round(256 * 8.3)
    assert not list(tmp_path.rglob('*.part'))


def test_vigor_files_are_1000_per_metre_along_the_ray_and_end_at_65(tmp_path: Path) -> None:
    network = Ramp()
    jobs = vigor_jobs(vigor(tmp_path))
    assert [job.depth.relative_to(tmp_path).as_posix() for job in jobs] == [
        'Chicago/unik3d_depth/a,1.5,2.png', 'Seattle/unik3d_depth/a,1.5,2.png']
    assert precompute(jobs, network, VIGOR, homes(jobs), progress=False).written == 2
    assert network.calls[0][1] is True
    assert read_depth(jobs[0].depth, VIGOR)[3, 7] == pytest.approx(8.3)
    units = encode_depth(np.array([[64.9, 80.0, np.inf, np.nan, -3.0]], np.float32), VIGOR)
    assert cv2.imdecode(np.frombuffer(units, np.uint8), -1).tolist() == [
        [64900, 65000, 65000, 0, 0]]


def test_an_interrupted_run_goes_on_and_the_result_is_that_of_one_run(tmp_path: Path) -> None:
    one, two = kitti(tmp_path / 'one', 5), kitti(tmp_path / 'two', 5)
    precompute(kitti_jobs(one), Ramp(), KITTI, [one / KITTI.folder], progress=False)
    with pytest.raises(KeyboardInterrupt):
        precompute(kitti_jobs(two), Ramp(2), KITTI, [two / KITTI.folder], progress=False)
    # What a crash of the machine may leave: a file cut off, and one half written
    files = [job.depth for job in kitti_jobs(two)]
    files[1].write_bytes(files[1].read_bytes()[:40])
    files[2].with_name(f'{files[2].name}.part').write_bytes(b'half')
    network = Ramp()
    report = precompute(kitti_jobs(two), network, KITTI, [two / KITTI.folder], progress=False)
    assert (report.written, report.kept, len(network.calls)) == (4, 1, 4)
    for job, other in zip(kitti_jobs(one), kitti_jobs(two)):
        assert job.depth.read_bytes() == other.depth.read_bytes()
    assert not list(two.rglob('*.part'))


def test_depth_of_two_networks_is_not_mixed(tmp_path: Path) -> None:
    jobs = kitti_jobs(kitti(tmp_path))
    home = tmp_path / KITTI.folder
    precompute(jobs, Ramp(), KITTI, [home], progress=False)
    other = Ramp()
    other.name = 'test/other'
    with pytest.raises(DatasetError, match='holds depth of ramp, not of other'):
        precompute(jobs, other, KITTI, [home], progress=False)
    (home / 'depth_source.json').unlink()
    with pytest.raises(DatasetError, match='loc2 did not write'):
        precompute(jobs, Ramp(), KITTI, [home], progress=False)


def test_an_image_that_cannot_be_read_is_named_and_the_others_are_done(tmp_path: Path) -> None:
    jobs = kitti_jobs(kitti(tmp_path))
    jobs[1].image.write_bytes(b'\x89PNG\r\n\x1a\n')
    report = precompute(jobs, Ramp(), KITTI, [tmp_path / KITTI.folder], progress=False)
    assert report.written == 2 and len(report.bad) == 1 and '0000000001.png' in report.bad[0]


def test_stripes_are_refused_and_found_in_files_of_others(tmp_path: Path) -> None:
    jobs = vigor_jobs(vigor(tmp_path))
    report = precompute(jobs, Ramp(stripes=True), VIGOR, homes(jobs), progress=False)
    assert report.written == 0 and len(report.bad) == 2 and 'stripes' in report.bad[0]
    assert not jobs[0].depth.exists()
    row, col = np.indices(SIZE)
    jobs[0].depth.write_bytes(encode_depth((2.0 + row + col).astype(np.float32), VIGOR))
    jobs[1].depth.write_bytes(encode_depth((2.0 + row % 7).astype(np.float32), VIGOR))
    found = check(jobs, VIGOR, progress=False)
    assert found.kept == 1 and len(found.bad) == 1 and 'Seattle' in found.bad[0]


def scenes() -> dict[str, Any]:
    """Return depth of scenes as different as possible, and how much of it goes with the row."""
    rng = np.random.default_rng(3)
    row, col = np.indices((100, 200))
    below = np.maximum(row - 49.5, 0.5)
    road = np.minimum(1.7 * 60.0 / below, 80.0)         # planar depth of flat ground, sky at 80
    cars = road.copy()
    for left in (20, 80, 150):
        cars[45:65, left:left + 12] = 1.7 * 60.0 / 15.0
    canyon = np.minimum(road, 6.0 * 60.0 / np.maximum(np.abs(col - 99.5), 1.0))
    stripes = np.repeat(rng.uniform(2, 60, (100, 1)), 200, axis=1)
    return {'cars': cars, 'canyon': canyon, 'stripes': stripes,
            'noisy': stripes * rng.normal(1.0, 0.01, (100, 200)),
            'constant': np.full((100, 200), 40.0), 'unknown': np.full((100, 200), np.nan)}


@pytest.mark.parametrize('name, striped', [
    ('cars', False), ('canyon', False), ('stripes', True), ('noisy', True), ('constant', True),
    ('unknown', True)])
def test_stripes_differ_from_a_road_with_three_cars(name: str, striped: bool) -> None:
    assert (stripe_share(scenes()[name].astype(np.float32)) > STRIPED) is striped


@pytest.mark.parametrize('content', [b'', b'no image', encode_depth(
    np.ones((4, 4), np.float32), KITTI)[:60]])
def test_a_file_that_is_no_depth_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'a.png'
    path.write_bytes(content)
    with pytest.raises(DatasetError, match='no whole 16 bit PNG'):
        read_depth(path, KITTI)
    path.write_bytes(cv2.imencode('.png', np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    with pytest.raises(DatasetError, match='no whole 16 bit PNG'):
        read_depth(path, KITTI)


def test_the_verb_writes_reports_and_fails_with_sentences(tmp_path: Path) -> None:
    pytest.importorskip('transformers')
    import importlib.util
    spec = importlib.util.spec_from_file_location(
        'depth_anything', Path(__file__).parents[1] / 'model' / 'depth_anything.py')
    assert spec is not None and spec.loader is not None
    helper = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(helper)
    net = helper.save_tiny(tmp_path / 'net')
    root = kitti(tmp_path / 'data', 2)
    for i, job in enumerate(kitti_jobs(root)):
        noise = np.random.default_rng(i).integers(0, 255, (3, 6, 3))
        cv2.imwrite(str(job.image), np.kron(noise, np.ones((10, 10, 1))).astype(np.uint8))
    arguments = ['data', 'depth', 'kitti', '--data', str(root), '--model', str(net),
                 '--short-side', '28', '--quiet']
    run = CliRunner().invoke(app, arguments)
    assert run.exit_code == 0 and '2 images: 2 written, 0 there before, 0 bad' in run.output
    assert '0 written, 2 there before' in CliRunner().invoke(app, arguments).output
    assert '2 fine, 0 bad' in CliRunner().invoke(app, [*arguments, '--check']).output
    for wrong, words in ((['--data', str(tmp_path / 'net')], 'give the folder that holds'),
                         (['--model', 'no/such'], 'hf download'),
                         (['--device', 'tpu'], "device is 'auto'")):
        failed = CliRunner().invoke(app, [*arguments, *wrong])
        assert failed.exit_code == 1 and words in failed.output
        assert 'Traceback' not in failed.output


def test_both_formats_hold_what_their_readers_expect() -> None:
    assert KITTI == Format(256.0, 65535 / 256, False, 'depth_anythingv2_depth')
    assert VIGOR == Format(1000.0, 65.0, True, 'unik3d_depth')
