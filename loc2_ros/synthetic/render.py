# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Ground views of a lit town, with the exact depth of every pixel.

The camera is level, so an image column is a vertical plane: each column marches outwards over
the rasters once for all its pixels, and every pixel then refines its own first hit.
"""

from __future__ import annotations

from dataclasses import dataclass

from loc2_ros.core.values import Camera
from loc2_ros.synthetic.layers import Kind
from loc2_ros.synthetic.scene import Scene
import torch
from torch import Tensor
import torch.nn.functional as functional

NEAR_M, FAR_M, STEPS, REFINEMENTS = 1.2, 95.0, 176, 6


@dataclass(frozen=True)
class Views:
    """
    Rendered views.

    :param rgb: (B, H, W, 3) uint8.
    :param depth_m: (B, H, W) float32 planar depth; inf for the sky.
    :param moving: (B, H, W) bool, pixels of cars that no aerial photo shows.
    """

    rgb: Tensor
    depth_m: Tensor
    moving: Tensor


def render_views(scene: Scene, camera: Camera, poses: Tensor, height_m: float,
                 cars: Tensor | None, generator: torch.Generator) -> Views:
    """
    Render what a level camera sees.

    :param poses: (B, 3) float64 x, y, yaw of the camera in the map; it looks along its yaw.
    :param height_m: height of the camera above the ground.
    :param cars: (B, K, 7) moving cars: x, y, yaw, length, width, roof height, paint grey.
    """
    device = scene.height_m.device
    rays = _Rays.of(camera, poses.to(device), height_m)
    depth = _first_hit(scene, rays)
    rgb = _surface(scene, rays, depth)
    moving = torch.zeros_like(depth, dtype=torch.bool)
    if cars is not None and cars.shape[1] > 0:
        rgb, depth, moving = _draw_cars(scene, rays, rgb, depth, cars.to(device).float())
    sky = torch.isinf(depth)
    rgb = torch.where(sky[..., None], _sky(scene, rgb.shape, generator), rgb)
    haze = 1 - torch.exp(-scene.look.haze * torch.where(sky, 0.0, depth))
    horizon = torch.tensor(scene.look.sky, dtype=torch.float32, device=device)
    rgb = rgb * (1 - haze[..., None]) + horizon * haze[..., None]
    return Views(_expose(scene, rgb, generator), depth, moving)


@dataclass(frozen=True)
class _Rays:
    """Rays as (origin, direction per planar depth): x, y (B, 1, W), dz (H, 1) per metre."""

    origin: Tensor          # (B, 2)
    dx: Tensor              # (B, W)
    dy: Tensor              # (B, W)
    fall: Tensor            # (H,)
    height_m: float

    @staticmethod
    def of(camera: Camera, poses: Tensor, height_m: float) -> _Rays:
        """Return the rays of all pixels of a level camera."""
        u = (torch.arange(camera.width, device=poses.device) - camera.cx) / camera.fx
        v = (torch.arange(camera.height, device=poses.device) - camera.cy) / camera.fy
        c, s = torch.cos(poses[:, 2:]), torch.sin(poses[:, 2:])
        return _Rays(poses[:, :2].float(), (c + u * s).float(), (s - u * c).float(), v.float(),
                     height_m)

    def at(self, depth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return map x, y and height of the points at planar depth (B, H, W)."""
        x = self.origin[:, 0, None, None] + depth * self.dx[:, None]
        y = self.origin[:, 1, None, None] + depth * self.dy[:, None]
        return x, y, self.height_m - depth * self.fall[:, None]


def _occupied(scene: Scene, cell: Tensor, z: Tensor) -> Tensor:
    solid = scene.height_m.reshape(-1)[cell]
    return (z <= solid) | ((z >= scene.low_m.reshape(-1)[cell])
                           & (z <= scene.high_m.reshape(-1)[cell]))


def _first_hit(scene: Scene, rays: _Rays) -> Tensor:
    """Return the planar depth of the first thing each pixel sees, inf for none."""
    steps = torch.logspace(0, 1, STEPS, base=FAR_M / NEAR_M, device=rays.dx.device) * NEAR_M
    x = rays.origin[:, 0, None, None] + rays.dx[..., None] * steps           # (B, W, T)
    y = rays.origin[:, 1, None, None] + rays.dy[..., None] * steps
    cell = scene.cell(x, y)
    solid, low, high = (r.reshape(-1)[cell][:, None] for r in
                        (scene.height_m, scene.low_m, scene.high_m))         # (B, 1, W, T)
    z = (rays.height_m - rays.fall[:, None] * steps)[None, :, None]          # (1, H, 1, T)
    hit = (z <= solid) | ((z >= low) & (z <= high))
    first = hit.to(torch.uint8).argmax(-1)
    found = torch.take_along_dim(hit, first[..., None], -1)[..., 0]
    far, near = steps[first], steps[(first - 1).clamp(min=0)]
    for _ in range(REFINEMENTS):
        middle = (near + far) / 2
        px, py, pz = rays.at(middle)
        inside = _occupied(scene, scene.cell(px, py), pz)
        near, far = torch.where(inside, near, middle), torch.where(inside, middle, far)
    # On bare ground the plane itself is exact
    ground = rays.height_m / rays.fall[:, None].clamp(min=1e-6)
    px, py, _ = rays.at(far)
    bare = (scene.height_m.reshape(-1)[scene.cell(px, py)] == 0) & (ground - far < 0.05) & (
        ground - near > -0.05)
    depth = torch.where(bare, ground.expand_as(far), far)
    return torch.where(found, depth, torch.full_like(depth, torch.inf))


def _surface(scene: Scene, rays: _Rays, depth: Tensor) -> Tensor:
    """Return the lit colour of what is at ``depth``, (B, H, W, 3)."""
    x, y, z = rays.at(torch.where(torch.isinf(depth), FAR_M, depth))
    cell = scene.cell(x, y)
    solid = scene.height_m.reshape(-1)[cell]
    owner = scene.owner.reshape(-1)[cell]
    hanging = scene.hanging.reshape(-1)[cell]
    low, high = scene.low_m.reshape(-1)[cell], scene.high_m.reshape(-1)[cell]
    in_crown = (z > solid) & (z >= low - 0.05) & (z <= high + 0.05)
    is_side = (z < solid - 0.08) & ~in_crown
    grain = scene.noise_at(x, y, 0.03) * (1.0 / (1.0 + 0.15 * depth.clamp(max=60.0)))
    rgb = scene.top_rgb.reshape(-1, 3)[cell] * (1 + 0.10 * grain[..., None])
    rgb = torch.where(is_side[..., None], _sides(scene, owner, x, y, z), rgb)
    crown = scene.side[hanging] * _leaves(scene, x, y, z, low, high)[..., None] * _daylight(scene)
    return torch.where(in_crown[..., None], crown, rgb)


def _daylight(scene: Scene) -> Tensor:
    return torch.tensor(scene.look.ambient + 0.5 * scene.look.sunlight, dtype=torch.float32,
                        device=scene.side.device)


def _leaves(scene: Scene, x: Tensor, y: Tensor, z: Tensor, low: Tensor, high: Tensor) -> Tensor:
    lit = 0.55 + 0.45 * ((z - low) / (high - low).clamp(min=0.1)).clamp(0, 1)
    return lit * (1 + 0.3 * scene.noise_at(x + 3.1 * z, y + 1.7 * z, 0.12)).clamp(0.2, 2.0)


def _sides(scene: Scene, owner: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Return the lit colour of walls, car bodies, hedges and poles."""
    frame, facade = scene.frame[owner], scene.facade[owner]
    c, s = torch.cos(frame[..., 2]), torch.sin(frame[..., 2])
    along = (x - frame[..., 0]) * c + (y - frame[..., 1]) * s
    across = -(x - frame[..., 0]) * s + (y - frame[..., 1]) * c
    long_side = along.abs() / frame[..., 3] < across.abs() / frame[..., 4]
    u = torch.where(long_side, along, across)
    face = torch.where(long_side, torch.sign(across), torch.sign(along))
    east = torch.where(long_side, -s, c) * face
    north = torch.where(long_side, c, s) * face
    sun = scene.look.sun
    facing = (east * float(sun[0]) + north * float(sun[1])).clamp(min=0)
    light = torch.tensor(scene.look.ambient, dtype=torch.float32, device=x.device) + torch.tensor(
        scene.look.sunlight, dtype=torch.float32, device=x.device) * facing[..., None]
    colour = scene.side[owner] * (1 + 0.06 * scene.noise_at(u + 5.3 * face, z, 0.25))[..., None]
    kind = scene.kind[owner]
    colour = torch.where((kind == Kind.BUILDING)[..., None],
                         _windows(scene, colour, facade, u, z, owner), colour)
    is_car = kind == Kind.CAR
    dark = is_car & ((z < 0.32) | ((z > 0.92) & (scene.noise_at(u, z, 9.0) < 9)))
    colour = torch.where(dark[..., None], 0.08 + 0.0 * colour, colour)
    hedge = (kind == Kind.HEDGE)
    rough = 1 + 0.25 * scene.noise_at(x + y, z, 0.06)
    colour = torch.where(hedge[..., None], colour * rough.clamp(0.3, 1.8)[..., None], colour)
    return colour * light


def _windows(scene: Scene, wall: Tensor, facade: Tensor, u: Tensor, z: Tensor,
             owner: Tensor) -> Tensor:
    storey, pitch, share, door = facade.unbind(-1)
    column, row = torch.floor(u / pitch), torch.floor(z / storey)
    du, dv = u / pitch - column, z / storey - row
    window = ((du - 0.5).abs() < share / 2) & (dv > 0.28) & (dv < 0.80)
    shop = (row == 0) & (door > 0.7) & ((du - 0.5).abs() < 0.42) & (dv > 0.1) & (dv < 0.85)
    frame = ((du - 0.5).abs() > share / 2 - 0.03) | (dv < 0.31) | (dv > 0.77)
    tint = scene.noise_at(column * 1.0 + owner * 3.0, row * 1.0, 1.0)[..., None]
    glass = torch.tensor([0.16, 0.19, 0.23], device=wall.device) * (1 + 0.5 * tint).clamp(0.3, 2.5)
    colour = torch.where((window & frame)[..., None], (wall * 1.25).clamp(max=1.0), wall)
    colour = torch.where(((window & ~frame) | shop)[..., None], glass, colour)
    return torch.where(((z < 0.5) & ~shop)[..., None], wall * 0.7, colour)


def _draw_cars(scene: Scene, rays: _Rays, rgb: Tensor, depth: Tensor,
               cars: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Draw moving cars as two boxes each, by ray-box intersection."""
    moving = torch.zeros_like(depth, dtype=torch.bool)
    for k in range(cars.shape[1]):
        x, y, yaw, length, width, roof, grey = (v[:, None, None] for v in cars[:, k].unbind(-1))
        for part, (scale, low, high) in enumerate(((1.0, 0.0, 0.95), (0.55, 0.95, None))):
            top = roof if high is None else torch.full_like(roof, high)
            near, z = _hit_box(rays, x, y, yaw, length * scale / 2, width / 2, low, top)
            closer = near < depth
            shade = torch.where(z < 0.3, 0.05 + 0 * z, grey * (0.85 + 0.25 * (z > 0.6)))
            shade = torch.where((z > 1.0) & (z < top - 0.08), 0.1 + 0 * z, shade)
            colour = shade[..., None] * _daylight(scene)
            rgb = torch.where(closer[..., None], colour, rgb)
            depth = torch.where(closer, near, depth)
            moving |= closer
    return rgb, depth, moving


def _hit_box(rays: _Rays, x: Tensor, y: Tensor, yaw: Tensor, half_length: Tensor,
             half_width: Tensor, low: float, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return planar depth (B, H, W) where rays enter a box, inf if never, and the height."""
    c, s = torch.cos(yaw), torch.sin(yaw)
    ox, oy = rays.origin[:, 0, None, None] - x, rays.origin[:, 1, None, None] - y
    dx, dy = rays.dx[:, None], rays.dy[:, None]
    near = torch.full((1,), NEAR_M, device=x.device)
    far = torch.full((1,), FAR_M, device=x.device)
    slabs = ((ox * c + oy * s, dx * c + dy * s, -half_length, half_length),
             (-ox * s + oy * c, -dx * s + dy * c, -half_width, half_width),
             (torch.full_like(ox, rays.height_m), -rays.fall[None, :, None].expand(
                 len(ox), -1, 1), torch.full_like(high, low), high))
    for origin, direction, lo, hi in slabs:
        direction = torch.where(direction.abs() < 1e-9, 1e-9 + 0 * direction, direction)
        a, b = (lo - origin) / direction, (hi - origin) / direction
        near = torch.maximum(near, torch.minimum(a, b))
        far = torch.minimum(far, torch.maximum(a, b))
    hit = torch.where(near < far, near, torch.full_like(near, torch.inf))
    z = rays.height_m - torch.where(torch.isinf(hit), 0.0, hit) * rays.fall[None, :, None]
    return hit, z


def _sky(scene: Scene, shape: torch.Size, generator: torch.Generator) -> Tensor:
    b, h, w, _ = shape
    device = scene.side.device
    clouds = torch.randn((b, 1, max(2, h // 24), max(2, w // 40)), generator=generator)
    clouds = functional.interpolate(clouds, (h, w), mode='bicubic', align_corners=False)
    base = torch.tensor(scene.look.sky, dtype=torch.float32, device=device)
    return base * (1 + 0.10 * clouds.to(device).permute(0, 2, 3, 1))


def _expose(scene: Scene, rgb: Tensor, generator: torch.Generator) -> Tensor:
    """Apply gain, gamma and sensor noise; return uint8."""
    look = scene.look
    rgb = (rgb * look.gain).clamp(0, 1) ** look.gamma
    noise = torch.randn(rgb.shape, generator=generator).to(rgb.device)
    return ((rgb + look.noise * noise) * 255 + 0.5).clamp(0, 255).to(torch.uint8)
