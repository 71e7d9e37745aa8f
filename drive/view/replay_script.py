"""The replay page's script, first half: a scene's data unpacked, and one instant of one drive drawn on a canvas."""

from __future__ import annotations

DRAW = r"""
const DT = 0.1, STATES = ["unknown", "red", "yellow", "green"];
const LIGHT = ["#8b95a1", "#ff465a", "#ffd23c", "#46d282"], CROSSING = 64, CARPARK = 16;
const DRIVES = ["#5aaaff", "#ffaa3c", "#be82ff", "#78dcc8", "#ff78a0", "#ffdc5a"];
const ACTORS = ["#8fa3bd", "#ffcf70", "#a8e05f", "#7d7668"];
const MARK = { collision: "#ff465a", off_road: "#ffaa3c", red_light: "#ff5fd2", off_route: "#c8a2ff",
  wrong_way: "#ffe65a", standing: "#96beff", no_progress: "#96e6d7" };
const tone = planner => DRIVES[planner % DRIVES.length];

// Base64 of deflated JSON.
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return decode(JSON.parse(await new Response(stream).text()));
}
// Rows of `width` whole numbers, each the difference to the row before.
function rows(flat, width, units) {
  const found = [], last = new Array(width).fill(0);
  for (let i = 0; i < flat.length; i += width) {
    for (let j = 0; j < width; j++) last[j] += flat[i + j];
    found.push(last.map((v, j) => v * units[j]));
  }
  return found;
}
const places = (flat, unit) => rows(flat, 2, [unit, unit]);
const track = stretches => stretches.map(([start, flat]) => [start, rows(flat, 3, [0.01, 0.01, 0.001])]);
const at = (stretches, k) => { for (const [start, found] of stretches)
  if (k >= start && k < start + found.length) return found[k - start]; return null; };

function decode(scene) {
  const path = lines => { const p = new Path2D();
    for (const line of lines) line.forEach(([x, y], i) => i ? p.lineTo(x, y) : p.moveTo(x, y)); return p; };
  const m = scene.map, area = rings => { const p = new Path2D();
    for (const ring of rings) { places(ring, 0.05).forEach(([x, y], i) => i ? p.lineTo(x, y) : p.moveTo(x, y));
      p.closePath(); } return p; };
  scene.areas = m.areas.map(([layer, rings]) => [layer, area(rings)]);
  scene.laneLines = m.lanes.map(([lane, connector, flat]) => [lane, connector, places(flat, 0.05)]);
  scene.roads = path(scene.laneLines.filter(l => !l[1]).map(l => l[2]));
  scene.turns = path(scene.laneLines.filter(l => l[1]).map(l => l[2]));
  scene.edges = path(m.edges.map(flat => places(flat, 0.05)));
  scene.route = m.route ? path([places(m.route, 0.05)]) : null;
  scene.recorded = scene.recorded && rows(scene.recorded, 3, [0.01, 0.01, 0.001]);
  for (const light of scene.lights) { const states = []; const [x, y, lane, runs] = light;
    for (let i = 0; i < runs.length; i += 2) for (let j = 0; j < runs[i + 1]; j++) states.push(runs[i]);
    light.states = states; light.path = path(scene.laneLines.filter(l => l[0] === lane).map(l => l[2])); }
  scene.actors = scene.actors.map(([kind, length, width, token, stretches]) =>
    ({ kind, length: length / 100, width: width / 100, token, track: track(stretches) }));
  for (const drive of scene.drives) {
    drive.ego = rows(drive.ego, 4, [0.01, 0.01, 0.001, 0.01]);
    drive.beside = rows(drive.beside, 3, [0.01, 0.1, 0.01]);
    drive.tracks = scene.actors.map(a => a.track);
    for (const [i, stretches] of drive.moved) drive.tracks[i] = track(stretches);
    drive.plans = drive.plans.map(([step, flat, ms, points, scores, modes]) => {
      const own = { step, ms, line: [drive.ego[step].slice(0, 2), ...places(flat, 0.01)], modes: [] };
      if (scores) { const every = places(modes, 0.01), low = Math.min(...scores), high = Math.max(...scores);
        own.modes = scores.map((score, i) => ({ score, share: high > low ? (score - low) / (high - low) : 1,
          line: [own.line[0], ...every.slice(i * points, (i + 1) * points)] }));
        own.modes.sort((a, b) => a.score - b.score); }
      return own; });
  }
  return scene;
}
const planAt = (drive, k) => drive.plans.findLast(p => p.step <= k);
// Low scores violet, high ones yellow.
const ramp = share => { const s = [[98, 92, 178], [70, 130, 200], [60, 175, 170], [110, 200, 110], [245, 230, 100]];
  const p = Math.min(share, 0.999) * 4, i = Math.floor(p), r = p - i;
  return `rgb(${s[i].map((v, j) => Math.round(v + r * (s[i + 1][j] - v))).join(" ")})`; };

function describe(i) {
  const more = { collision: () => `with a ${i.whose || "?"}, ${i.what}${i.amount ? `, ${i.amount} m/s` : ""}`,
    off_road: () => `${i.amount} m out at the worst, for ${i.lasted.toFixed(1)} s`,
    off_route: () => `${i.amount} m aside at the worst, for ${i.lasted.toFixed(1)} s`,
    wrong_way: () => `${i.amount} m against the lanes in a second, for ${i.lasted.toFixed(1)} s`,
    standing: () => `for ${i.lasted.toFixed(1)} s, ${i.amount} m behind the log's driver`,
    no_progress: () => `${i.amount} m behind the log's driver`, red_light: () => "" };
  return `${i.kind.replace("_", " ")}${i.fault ? "" : ", not at fault"} ${(more[i.kind] || (() => ""))()}`.trim();
}

// One instant k of one drive. options: metres (0: everything), turn, modes, scores, recorded, numbers.
function draw(canvas, scene, drive, k, options) {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * ratio; canvas.height = height * ratio;
  const g = canvas.getContext("2d"), now = Math.min(k, drive.ego.length - 1);
  if (now < 0) return;
  const [ex, ey, eh, ev] = drive.ego[now], angle = options.turn ? eh : drive.ego[0][2];
  let cx = ex, cy = ey, scale = Math.min(width, height) / (2 * (options.metres || 1));
  if (options.metres) { cx += 0.3 * options.metres * Math.cos(angle) * (options.turn ? 1 : 0);
    cy += 0.3 * options.metres * Math.sin(angle) * (options.turn ? 1 : 0);
  } else { const all = scene.drives.flatMap(d => d.ego).concat(scene.recorded || []);
    const u = p => [Math.cos(angle) * p[0] + Math.sin(angle) * p[1], Math.cos(angle) * p[1] - Math.sin(angle) * p[0]];
    const a = all.map(u), span = j => [Math.min(...a.map(p => p[j])), Math.max(...a.map(p => p[j]))];
    const [a0, a1] = span(0), [b0, b1] = span(1), m = (a0 + a1) / 2, n = (b0 + b1) / 2;
    cx = Math.cos(angle) * m - Math.sin(angle) * n; cy = Math.sin(angle) * m + Math.cos(angle) * n;
    scale = Math.min(width / (b1 - b0 + 40), height / (a1 - a0 + 40)); }
  const c = Math.cos(Math.PI / 2 - angle) * scale, s = Math.sin(Math.PI / 2 - angle) * scale;
  const to = (x, y) => [width / 2 + c * (x - cx) - s * (y - cy), height / 2 - s * (x - cx) - c * (y - cy)];
  const [ox, oy] = to(0, 0), px = 1 / scale;
  const world = () => g.setTransform(ratio * c, -ratio * s, -ratio * s, -ratio * c, ratio * ox, ratio * oy);
  const screen = () => g.setTransform(ratio, 0, 0, ratio, 0, 0);
  const poly = points => { g.beginPath(); points.forEach(([x, y], i) => i ? g.lineTo(x, y) : g.moveTo(x, y)); };
  const box = ([x, y, h], length, wide, shift) => {
    const a = Math.cos(h), b = Math.sin(h), l = length / 2, w = wide / 2;
    poly([[l, w], [-l, w], [-l, -w], [l, -w]].map(([u, v]) =>
      [x + a * (u + shift) - b * v, y + b * (u + shift) + a * v])); g.closePath(); };
  const write = (text, x, y, colour, dx, dy) => { screen(); const [u, v] = to(x, y); g.fillStyle = colour;
    const room = width - g.measureText(text).width - 6; g.fillText(text, Math.max(6, Math.min(u + dx, room)), v + dy);
    world(); };
  g.lineJoin = g.lineCap = "round"; g.font = "11px system-ui, sans-serif"; world();

  for (const [layer, area] of scene.areas) if (!(layer & CROSSING)) {
    g.fillStyle = layer & CARPARK ? "#222a38" : "#262c35"; g.fill(area, "evenodd"); }
  g.fillStyle = "#4a4636"; for (const [layer, area] of scene.areas) if (layer & CROSSING) g.fill(area, "evenodd");
  g.strokeStyle = "#39414d"; g.lineWidth = px; g.stroke(scene.turns);
  g.strokeStyle = "#4c5665"; g.stroke(scene.roads);
  g.strokeStyle = "#9aa7b8"; g.lineWidth = 1.6 * px; g.stroke(scene.edges);
  if (scene.route) { g.strokeStyle = "#3fb6a833"; g.lineWidth = Math.max(1.6, 3 * px); g.stroke(scene.route); }
  for (const light of scene.lights) { const state = light.states[now] || 0; if (!state) continue;
    g.strokeStyle = LIGHT[state] + "66"; g.lineWidth = 2 * px; g.stroke(light.path);
    g.fillStyle = LIGHT[state]; g.beginPath(); g.arc(light[0] / 100, light[1] / 100, Math.max(0.7, 4 * px), 0, 7);
    g.fill(); }

  const [length, wide, centre] = scene.car.map(v => v / 100);
  if (options.recorded && scene.recorded) { g.strokeStyle = "#c9d2de"; g.lineWidth = 1.2 * px;
    g.setLineDash([2 * px, 4 * px]); poly(scene.recorded); g.stroke();
    if (now < scene.recorded.length) { box(scene.recorded[now], length, wide, centre); g.stroke(); }
    g.setLineDash([]); }
  const done = drive.infractions.filter(i => i.step <= now), struck = new Set(done.map(i => i.who));
  scene.actors.forEach((actor, i) => { const pose = at(drive.tracks[i], now); if (!pose) return;
    box(pose, actor.length, actor.width, 0); g.fillStyle = ACTORS[actor.kind] + (struck.has(i) ? "ff" : "99"); g.fill();
    g.strokeStyle = struck.has(i) ? "#ff465a" : ACTORS[actor.kind]; g.lineWidth = (struck.has(i) ? 2.5 : 1) * px;
    g.stroke();
    if (actor.kind !== 3) { const f = actor.length / 2, a = Math.cos(pose[2]), b = Math.sin(pose[2]);
      poly([[pose[0], pose[1]], [pose[0] + a * f, pose[1] + b * f]]); g.stroke(); }
    if (options.numbers && scale > 4) write(i, pose[0], pose[1], "#dfe5ec", 6, -6); });

  const colour = tone(drive.planner), plan = planAt(drive, now);
  g.strokeStyle = colour; g.lineWidth = 2.2 * px; poly(drive.ego.slice(0, now + 1)); g.stroke();
  if (plan && options.modes) for (const mode of plan.modes) { g.strokeStyle = ramp(mode.share);
    g.globalAlpha = 0.45 + 0.45 * mode.share; g.lineWidth = 1.3 * px; poly(mode.line); g.stroke(); g.globalAlpha = 1;
    if (options.scores) write(String(mode.score), ...mode.line.at(-1), ramp(mode.share), 3, 3); }
  box([ex, ey, eh], length, wide, centre); g.fillStyle = colour; g.globalAlpha = 0.85; g.fill(); g.globalAlpha = 1;
  g.strokeStyle = "#ffffff"; g.lineWidth = 1.5 * px; g.stroke();
  poly([[ex, ey], [ex + Math.cos(eh) * (length / 2 + centre), ey + Math.sin(eh) * (length / 2 + centre)]]); g.stroke();
  if (plan) { g.strokeStyle = "#ffffff"; g.lineWidth = 2.6 * px; poly(plan.line); g.stroke(); g.fillStyle = "#ffffff";
    for (const [x, y] of plan.line.slice(1)) { g.beginPath(); g.arc(x, y, 2.4 * px, 0, 7); g.fill(); } }
  for (const i of drive.infractions) { const past = i.step <= now, fresh = past && now - i.step <= 10;
    const [x, y] = i.at.map(v => v / 100); g.strokeStyle = MARK[i.kind] || "#ffffff"; g.globalAlpha = past ? 1 : 0.35;
    g.lineWidth = (fresh ? 3 : 2) * px; g.setLineDash(i.fault ? [] : [3 * px, 3 * px]); g.beginPath();
    g.arc(x, y, (fresh ? 17 : 10) * px, 0, 7); g.stroke(); g.setLineDash([]); g.globalAlpha = 1;
    if (fresh) write(describe(i), x, y, MARK[i.kind] || "#ffffff", 20, -18); }

  screen(); g.fillStyle = "#dfe5ec"; g.strokeStyle = "#dfe5ec"; g.lineWidth = 1.5;
  const bar = options.metres > 40 || !options.metres ? 20 : 10;
  g.beginPath(); g.moveTo(12, height - 14); g.lineTo(12 + bar * scale, height - 14); g.stroke();
  g.fillText(`${bar} m`, 12, height - 19);
  if (k > now) { g.font = "600 13px system-ui, sans-serif"; g.fillStyle = MARK.collision;
    g.fillText(`ended at ${(now * DT).toFixed(1)} s: ${drive.end}`, 12, 20); }
}
"""
