# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The page of ``loc2 map serve``: one canvas, no library, nothing from elsewhere."""

PAGE = """<!doctype html>
<meta charset="utf-8"><title>loc2 map</title>
<meta name="viewport" content="width=device-width">
<style>
body { margin: 0; background: #222; overflow: hidden; font: 13px sans-serif; color: #fff }
canvas { display: block; cursor: grab; touch-action: none }
#name, #credit { position: fixed; padding: 4px 8px; background: #000a }
#name { left: 0; top: 0 } #credit { right: 0; bottom: 0 }
</style>
<canvas id="map"></canvas><div id="name"></div><div id="credit"></div>
<script>
'use strict';
const canvas = document.getElementById('map'), pen = canvas.getContext('2d');
const tiles = new Map();
let info, overlay, side = 256;
let zoom = 0, centre = [0.5, 0.5];      // of the world, 0 to 1, y down

const world = (lat, lon) => [lon / 360 + 0.5,
  0.5 - Math.asinh(Math.tan(lat * Math.PI / 180)) / (2 * Math.PI)];
const scale = () => side * 2 ** zoom;   // pixels of the whole world
const place = p => [(p[0] - centre[0]) * scale() + canvas.width / 2,
                    (p[1] - centre[1]) * scale() + canvas.height / 2];

function tile(z, x, y) {
  const key = z + '/' + x + '/' + y;
  if (!tiles.has(key)) {
    const image = new Image();
    image.onload = draw;
    image.src = '/' + key;
    tiles.set(key, image);
    if (tiles.size > 800) tiles.delete(tiles.keys().next().value);
  }
  return tiles.get(key);
}

function line(points, colour, width) {
  pen.beginPath();
  points.forEach((p, k) => pen[k ? 'lineTo' : 'moveTo'](...place(world(...p))));
  pen.strokeStyle = colour; pen.lineWidth = width; pen.stroke();
}

function draw() {
  if (!info) return;
  canvas.width = innerWidth; canvas.height = innerHeight;
  const z = Math.max(info.minzoom, Math.min(info.maxzoom, Math.round(zoom)));
  const n = 2 ** z, size = scale() / n;
  const [left, top] = [centre[0] * n - canvas.width / 2 / size,
                       centre[1] * n - canvas.height / 2 / size];
  const [right, bottom] = [left + canvas.width / size, top + canvas.height / size];
  if ((right - left) * (bottom - top) < 400)
    for (let y = Math.max(0, Math.floor(top)); y <= Math.min(n - 1, bottom); y++)
      for (let x = Math.floor(left); x <= right; x++) {
        const image = tile(z, (x % n + n) % n, y), [u, v] = place([x / n, y / n]);
        if (image.complete && image.naturalWidth)
          pen.drawImage(image, u, v, size + 0.5, size + 0.5);
      }
  line(overlay.track, '#4af', 3);
  line(overlay.truth, '#fff', 2);
  for (const [lat, lon, a, b, turn] of overlay.fixes) {
    const [u, v] = place(world(lat, lon));
    const metre = scale() / (40075016.7 * Math.cos(lat * Math.PI / 180));
    pen.beginPath();
    pen.ellipse(u, v, Math.max(a * metre, 1), Math.max(b * metre, 1), -turn, 0, 7);
    pen.strokeStyle = '#f80'; pen.lineWidth = 1; pen.stroke();
    pen.beginPath(); pen.arc(u, v, 2.5, 0, 7); pen.fillStyle = '#f80'; pen.fill();
  }
}

function look() {
  const all = [...overlay.track, ...overlay.truth, ...overlay.fixes].map(p => world(p[0], p[1]));
  if (!all.length && info.bounds) {
    const [w, s, e, n] = info.bounds;
    all.push(world(n, w), world(s, e));
  }
  if (!all.length) return;
  const x = all.map(p => p[0]), y = all.map(p => p[1]);
  const low = [Math.min(...x), Math.min(...y)], high = [Math.max(...x), Math.max(...y)];
  centre = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2];
  const span = Math.max((high[0] - low[0]) / innerWidth, (high[1] - low[1]) / innerHeight, 1e-9);
  zoom = Math.min(info.maxzoom + 1, Math.log2(0.9 / span / side));
}

canvas.onpointerdown = e => canvas.setPointerCapture(e.pointerId);
canvas.onpointermove = e => {
  if (!e.buttons) return;
  centre = [centre[0] - e.movementX / scale(), centre[1] - e.movementY / scale()];
  draw();
};
canvas.onwheel = e => {
  e.preventDefault();
  const at = [(e.clientX - canvas.width / 2) / scale(), (e.clientY - canvas.height / 2) / scale()];
  const before = scale();
  zoom = Math.max(0, Math.min(24, zoom - Math.sign(e.deltaY) * 0.5));
  const part = 1 - before / scale();
  centre = [centre[0] + at[0] * part, centre[1] + at[1] * part];
  draw();
};
onresize = draw;

Promise.all(['/tilejson.json', '/overlay.json'].map(p => fetch(p).then(r => r.json()))).then(
  ([one, two]) => {
    info = one; overlay = two; side = one.tileSize || 256;
    document.getElementById('name').textContent = one.name;
    document.getElementById('credit').textContent = one.attribution || 'source unknown';
    document.title = one.name;
    look(); draw();
  });
</script>
"""
