"""The tracking page's skeleton: markup, style and the script that draws its frames. The data come as JSON."""

from __future__ import annotations

from string import Template

_STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --text: #1c2128; --faint: #656d76; --line: #d8dee4;
  --card: #f6f8fa; --mark: #c2185b; }
@media (prefers-color-scheme: dark) { :root { --ground: #0f1318; --text: #dfe5ec; --faint: #8b95a1; --line: #2b323b;
  --card: #171c23; --mark: #ff6fa8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1360px; padding: 24px 20px 80px; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 44px 0 4px; scroll-margin-top: 12px; }
p { margin: 6px 0; max-width: 100ch; } .faint { color: var(--faint); } a { color: inherit; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 8px 0; }
th, td { text-align: right; padding: 4px 14px 4px 0; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } th { color: var(--faint); font-weight: 500; }
.stage { display: grid; grid-template-columns: minmax(0, 1fr) 300px; gap: 14px; }
@media (max-width: 900px) { .stage { grid-template-columns: minmax(0, 1fr); } }
canvas { display: block; width: 100%; border-radius: 6px; background: #101318; }
canvas.view { height: 520px; } canvas.strip { height: 34px; margin-top: 6px; cursor: pointer; }
.control { display: flex; gap: 12px; align-items: center; flex-wrap: wrap; margin: 8px 0; font-size: 14px; }
.control input[type=range] { flex: 1; min-width: 220px; } .control button, .control select { font: inherit; }
.list { max-height: 596px; overflow-y: auto; font-size: 13.5px; }
.list button { display: block; width: 100%; text-align: left; font: inherit; cursor: pointer; color: inherit;
  background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 5px 9px; margin-bottom: 5px; }
.list button.on { border-color: var(--mark); } .list b { color: var(--mark); font-weight: 600; }
.key { display: inline-block; margin-right: 18px; } .key svg { vertical-align: -3px; margin-right: 6px; }
"""

_SCRIPT = """
const logs = JSON.parse(document.getElementById("data").textContent);
const make = (tag, parent, text) => { const e = document.createElement(tag); if (text !== undefined)
  e.textContent = text; parent.appendChild(e); return e; };
const colour = (id, alpha) => `hsl(${(id * 137.508) % 360} 75% 62% / ${alpha})`;

// Each object is [head, flat]: `width` whole numbers a frame, the first three as differences to the row before.
function unpack(objects, width, count) {
  const frames = Array.from({ length: count }, () => []);
  for (const [head, flat] of objects) {
    const past = []; let f = 0, x = 0, y = 0;
    for (let i = 0; i < flat.length; i += width) {
      f += flat[i]; x += flat[i + 1]; y += flat[i + 2];
      past.push([f, x / 100, y / 100]);
      frames[f].push({ head, x: x / 100, y: y / 100, yaw: flat[i + 3] / 100, more: flat.slice(i + 4, i + width), past,
        at: past.length - 1 });
    }
  }
  return frames;
}

function section(log) {
  const area = document.getElementById(log.anchor), tracks = unpack(log.tracks, 7, log.times.length);
  const truth = unpack(log.truth, 5, log.times.length), stage = make("div", area); stage.className = "stage";
  const left = make("div", stage), view = make("canvas", left), strip = make("canvas", left);
  view.className = "view"; strip.className = "strip";
  const bar = make("div", left); bar.className = "control";
  const play = make("button", bar, "play"), slider = make("input", bar), where = make("span", bar);
  slider.type = "range"; slider.max = log.times.length - 1; slider.value = 0;
  slider.setAttribute("aria-label", "frame");
  const options = make("div", left); options.className = "control";
  const reach = make("select", options); reach.setAttribute("aria-label", "how far to see");
  for (const metres of [20, 35, 50, 80, 0]) {
    const o = make("option", reach, metres ? `${metres} m around` : "everything");
    o.value = metres; o.selected = metres === log.reach; }
  const check = (text, on) => { const l = make("label", options), b = make("input", l); b.type = "checkbox";
    b.checked = on; l.append(" " + text); return b; };
  const turn = check("turn with the ego", true), labels = check("labels", true), names = check("numbers", true);
  const list = make("div", stage); list.className = "list";
  make("p", list, log.switches.length ? `${log.switches.length} changes of identity` : "no change of identity");
  const buttons = log.switches.map(s => { const b = make("button", list), [f, x, y, label, who, before, after] = s;
    make("span", b, `${log.times[f].toFixed(1)} s  ${log.classes[label]}: `);
    make("b", b, `${before} \\u2192 ${after}`);
    make("div", b, `frame ${log.index[f]}, at ${(x / 100 + log.origin[0]).toFixed(1)}, `
      + `${(y / 100 + log.origin[1]).toFixed(1)} m`).className = "faint";
    b.onclick = () => show(f); return b; });
  let frame = 0, timer = null;

  function place(width, height) {  // metres to pixels: a function of a point
    const [ex, ey, eh] = log.ego[frame], metres = +reach.value; let cx, cy, scale, angle = log.heading;
    if (metres) { cx = ex / 100; cy = ey / 100; scale = Math.min(width, height) / (2 * metres);
      if (turn.checked) angle = eh / 1000;
      if (log.ahead) { cx += metres * 0.7 * Math.cos(angle); cy += metres * 0.7 * Math.sin(angle); }
    } else { const [x0, y0, x1, y1] = log.box, w = Math.abs(Math.cos(angle)), v = Math.abs(Math.sin(angle));
      cx = (x0 + x1) / 200; cy = (y0 + y1) / 200; const a = (x1 - x0) / 100 + 10, b = (y1 - y0) / 100 + 10;
      scale = Math.min(width / (a * v + b * w), height / (a * w + b * v)); }
    const c = Math.cos(Math.PI / 2 - angle), s = Math.sin(Math.PI / 2 - angle);
    const to = (x, y) => [width / 2 + scale * (c * (x - cx) - s * (y - cy)),
      height / 2 - scale * (s * (x - cx) + c * (y - cy))];
    to.scale = scale; return to;
  }
  function draw() {
    const ratio = window.devicePixelRatio || 1, width = view.clientWidth, height = view.clientHeight;
    view.width = width * ratio; view.height = height * ratio;
    const g = view.getContext("2d"); g.scale(ratio, ratio); g.lineJoin = "round";
    const to = place(width, height);
    const line = points => { g.beginPath();
      points.forEach(([x, y], i) => i ? g.lineTo(...to(x, y)) : g.moveTo(...to(x, y))); };
    const outline = (o, length, wide) => {
      const c = Math.cos(o.yaw), s = Math.sin(o.yaw), a = length / 2, b = wide / 2;
      line([[a, b], [-a, b], [-a, -b], [a, -b]].map(([u, v]) => [o.x + c * u - s * v, o.y + s * u + c * v]));
      g.closePath(); };
    g.strokeStyle = "#3a424d"; g.lineWidth = 1;
    for (const road of log.map) { const p = []; let x = 0, y = 0; for (let i = 0; i < road.length; i += 2) {
      x += road[i]; y += road[i + 1]; p.push([x / 10, y / 10]); } line(p); g.stroke(); }
    const [ex, ey, eh] = log.ego[frame];
    if (log.moves) { g.strokeStyle = "#59636f"; g.setLineDash([2, 4]); line(log.ego.map(e => [e[0] / 100, e[1] / 100]));
      g.stroke(); g.setLineDash([]); }
    g.strokeStyle = "#2a313a"; for (const r of [20, 40, 60]) { const [u, v] = to(ex / 100, ey / 100); g.beginPath();
      g.arc(u, v, r * to.scale, 0, 7); g.stroke(); }
    g.fillStyle = "#f0f0f0"; outline({ x: ex / 100, y: ey / 100, yaw: eh / 1000 }, 4.4, 1.8); g.fill();
    if (labels.checked) for (const o of truth[frame]) { g.strokeStyle = o.more[0] ? "#e8edf4" : "#ff465a";
      g.lineWidth = o.more[0] ? 0.9 : 1.6; outline(o, o.head[1] / 100 + 0.5, o.head[2] / 100 + 0.5); g.stroke(); }
    const since = log.times[frame] - log.trail;
    for (const o of tracks[frame]) { const [id, length, wide] = o.head, [vx, vy, state] = o.more;
      const trail = [];
      for (let i = o.at; i >= 0 && log.times[o.past[i][0]] >= since; i--) trail.push(o.past[i].slice(1));
      g.lineWidth = 2; g.strokeStyle = colour(id, 0.75); line(trail); g.stroke();
      g.fillStyle = colour(id, state & 2 ? 0.1 : 0.4); outline(o, length / 100, wide / 100); g.fill();
      g.strokeStyle = colour(id, 1); g.setLineDash(state & 1 ? [] : [4, 3]); g.stroke(); g.setLineDash([]);
      if (vx || vy) { g.lineWidth = 1; line([[o.x, o.y], [o.x + vx / 10, o.y + vy / 10]]); g.stroke(); }
      if (names.checked && to.scale > 3) { const [u, v] = to(o.x, o.y); g.fillStyle = colour(id, 1);
        g.font = "11px system-ui, sans-serif"; g.fillText(id, u + 7, v - 7); } }
    for (const [f, x, y, label, who, before, after] of log.switches) {
      const late = log.times[frame] - log.times[f]; if (late < 0 || late > 1.01) continue;
      const [u, v] = to(x / 100, y / 100); g.strokeStyle = g.fillStyle = "#ff6fa8"; g.lineWidth = 2.5; g.beginPath();
      g.arc(u, v, 16, 0, 7); g.stroke(); g.font = "600 13px system-ui, sans-serif";
      g.fillText(`${before} \\u2192 ${after}`, u + 20, v + 5); }
    const [missed, wrong] = counts[frame];
    where.textContent = `${log.times[frame].toFixed(1)} s, frame ${log.index[frame]}: ${tracks[frame].length} tracked`
      + (log.labelled ? `, ${missed} missed, ${wrong} false` : "");
    buttons.forEach((b, i) => b.classList.toggle("on", log.switches[i][0] === frame));
    slider.value = frame; drawStrip(ratio);
  }
  const counts = log.times.map((_, f) => [truth[f].filter(o => !o.more[0]).length,
    log.labelled ? tracks[f].filter(o => !(o.more[2] & 1)).length : 0]);
  const most = Math.max(1, ...counts.map(([m, w]) => Math.max(m, w)));
  function drawStrip(ratio) {
    const width = strip.clientWidth, height = strip.clientHeight, step = width / log.times.length;
    strip.width = width * ratio; strip.height = height * ratio; const g = strip.getContext("2d"); g.scale(ratio, ratio);
    counts.forEach(([missed, wrong], f) => { const bar = Math.max(step - 0.4, 0.6), half = height / 2 - 1;
      g.fillStyle = "#ff465a"; g.fillRect(f * step, half - half * missed / most, bar, half * missed / most);
      g.fillStyle = "#ffaa3c"; g.fillRect(f * step, half + 2, bar, half * wrong / most); });
    g.fillStyle = "#ff6fa8"; for (const s of log.switches) g.fillRect((s[0] + 0.5) * step - 1, 0, 2, height);
    g.strokeStyle = "#ffffff"; g.lineWidth = 1.5; g.strokeRect(frame * step, 0.75, Math.max(step, 2), height - 1.5);
  }
  function show(f) { frame = Math.max(0, Math.min(log.times.length - 1, f)); draw(); }
  slider.oninput = () => show(+slider.value);
  strip.onclick = e => show(Math.floor(e.offsetX / strip.clientWidth * log.times.length));
  for (const e of [reach, turn, labels, names]) e.onchange = draw;
  play.onclick = () => { if (timer) { clearInterval(timer); timer = null; } else {
    const gap = log.times.length > 1 ? (log.times.at(-1) - log.times[0]) / (log.times.length - 1) : 1;
    timer = setInterval(() => show((frame + 1) % log.times.length), Math.max(50, 1000 * gap)); }
    play.textContent = timer ? "stop" : "play"; };
  window.addEventListener("resize", draw);
  const asked = location.hash.match(/^#(\\w+):(\\d+)$/);  // #log2:57 opens frame 57 of the third log
  show(asked && asked[1] === log.anchor ? +asked[2] : log.first);
  if (asked && asked[1] === log.anchor) area.scrollIntoView();
}
logs.forEach(log => { if (log.times.length) section(log); });
"""

PAGE = Template(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title><style>"""
    + _STYLE
    + """</style></head><body>
<h1>$title</h1>$text
<h2>Figures</h2>$figures
<h2>Logs, worst first</h2>$logs
<p class="faint">$rule</p>
<p>$key</p>
$sections
<script type="application/json" id="data">$data</script>
<script>"""
    + _SCRIPT.replace("$", "$$")
    + """</script></body></html>
"""
)
