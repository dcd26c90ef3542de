# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What the tensors of DINOv2 are called in the files of its authors and of transformers."""

from __future__ import annotations

from collections.abc import Mapping
import re

from torch import Tensor

_NAMES = (
    # facebookresearch
    (r'^(cls_token|mask_token)$', r'embeddings.\1'),
    (r'^pos_embed$', 'embeddings.position_embeddings'),
    (r'^patch_embed\.proj\.', 'embeddings.patch_embeddings.projection.'),
    (r'^blocks\.', 'encoder.layer.'),
    (r'\.attn\.qkv\.', '.attention.qkv.'),
    (r'\.attn\.proj\.', '.attention.o_proj.'),
    (r'\.ls([12])\.gamma$', r'.layer_scale\1.lambda1'),
    (r'\.mlp\.w3\.', '.mlp.down_proj.'),
    (r'^norm\.', 'layernorm.'),
    # transformers before version 5, and the files on the hub
    (r'\.attention\.attention\.(?:query)\.', '.attention.q_proj.'),
    (r'\.attention\.attention\.(?:key)\.', '.attention.k_proj.'),
    (r'\.attention\.attention\.(?:value)\.', '.attention.v_proj.'),
    (r'\.attention\.output\.dense\.', '.attention.o_proj.'),
    (r'\.mlp\.weights_in\.', '.mlp.w12.'),
    (r'\.mlp\.weights_out\.', '.mlp.down_proj.'))
_STACKED = {'.attention.qkv.': ('.attention.q_proj.', '.attention.k_proj.', '.attention.v_proj.'),
            '.mlp.w12.': ('.mlp.gate_proj.', '.mlp.up_proj.')}


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the names of transformers 5; stacked matrices are taken apart."""
    named: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        for pattern, name in _NAMES:
            key = re.sub(pattern, name, key)
        for stack, parts in _STACKED.items():
            if stack in key and tensor.ndim and len(tensor) % len(parts) == 0:
                named.update({key.replace(stack, part): piece.contiguous() for part, piece
                              in zip(parts, tensor.chunk(len(parts)))})
                break
        else:
            named[key] = tensor
    return named
