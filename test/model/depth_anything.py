# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A tiny Depth Anything with random weights, saved as a folder; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def save_tiny(folder: Path, width: int = 24, seed: int = 0) -> Path:
    """
    Write config.json and model.safetensors of a metric network of a few thousand numbers.

    Its head is steepened, so that its depth follows the image instead of being 40 m everywhere.
    """
    from transformers import (DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config)
    backbone: Any = Dinov2Config(
        hidden_size=width, num_hidden_layers=4, num_attention_heads=2, image_size=70,
        patch_size=14, mlp_ratio=2, out_indices=[1, 2, 3, 4], reshape_hidden_states=False)
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=width, neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=8, head_hidden_size=8, depth_estimation_type='metric', max_depth=80)
    torch.manual_seed(seed)
    net = DepthAnythingForDepthEstimation(config)
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name.endswith('weight') and not name.startswith('backbone'):
                value.mul_(10.0)
    net.save_pretrained(folder)
    return folder
