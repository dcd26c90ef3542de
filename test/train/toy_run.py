# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
A small training as a process of its own: python toy_run.py OUT [--resume] [--kill-at SAMPLE].

Ground and aerial images are noise in which the same few colours stand for the same places.
"""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
import signal

from loc2_ros.core.camera import token_rays
from loc2_ros.core.values import Camera
from loc2_ros.data.pair import make_pair, Pair
from loc2_ros.model.contract import Contract
from loc2_ros.train.config import TrainConfig
from loc2_ros.train.loop import train
from loc2_ros.train.losses import Weights
from loc2_ros.train.sources import Datasets
import numpy as np
import torch

CONTRACT = Contract('toy', ground_hw=(32, 64), aerial_px=64, tile_m=32.0, own_depth=False,
                    masks_tokens=True, backbone_options={'widths': [8, 8, 16, 16]},
                    projector_widths=(16,), attention=1)
CONFIG = TrainConfig(CONTRACT, pairs=24, batch=4, amp=False, loader_workers=0, warmup=2,
                     save_every=2, valid_every=1, augment=False,
                     weights=Weights(cells=0.3, tokens=0.3, depth=0.0, vce=1.0, infonce=1.0,
                                     matches=64))


class Noise:
    """Samples that depend on their number alone; one of them may be the last of the process."""

    def __init__(self, length: int, kill_at: int = -1) -> None:
        self.length, self.kill_at = length, kill_at

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, k: int) -> Pair:
        if k == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        rng = np.random.default_rng(k)
        ground, aerial = (rng.integers(0, 256, size, dtype=np.uint8)
                          for size in ((32, 64, 3), (64, 64, 3)))
        rays = token_rays(Camera(64, 32, 40.0, 40.0, 31.5, 15.5), (4, 8))
        # A different share of tokens each time: means over processes are no means of means
        depth = np.where(rng.random(32) < rng.random(), rng.uniform(2, 15, 32), math.inf)
        return make_pair(CONTRACT, ground, aerial, depth, rays, 40.0, math.nan,
                         float(rng.uniform(-1.7, -1.4)), rng.uniform(-3, 3, 2), 32.0, None,
                         False)._replace(number=torch.tensor(k))


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser()
    parser.add_argument('out', type=Path)
    parser.add_argument('--resume', action='store_true')
    parser.add_argument('--kill-at', type=int, default=-1)
    options = parser.parse_args()
    torch.set_num_threads(1)

    def source(folder: Path, writes: bool) -> Datasets:
        return Datasets(Noise(24, options.kill_at), Noise(0), 6)

    train(CONFIG, source, options.out, options.out if options.resume else None)


if __name__ == '__main__':
    main()
