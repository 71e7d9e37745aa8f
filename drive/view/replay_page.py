"""The closed loop's page: markup, style and the script that lists scenes and plays them. The data come as JSON."""

from __future__ import annotations

from string import Template

from drive.view.replay_script import DRAW

_STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --text: #1c2128; --faint: #656d76; --line: #d8dee4;
  --card: #f6f8fa; --bad: #cf222e; --warn: #9a6700; --on: #0969da; }
@media (prefers-color-scheme: dark) { :root { --ground: #0f1318; --text: #dfe5ec; --faint: #8b95a1; --line: #2b323b;
  --card: #171c23; --bad: #ff6b78; --warn: #ffaa3c; --on: #5aaaff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1500px; padding: 24px 20px 80px; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 34px 0 6px; scroll-margin-top: 12px; }
p { margin: 6px 0; max-width: 110ch; } .faint { color: var(--faint); } .bad { color: var(--bad); }
.warn { color: var(--warn); }
.wide { overflow-x: auto; } .wide td { white-space: nowrap; } .failures td:last-child { white-space: normal; }
.failures td, .failures th { text-align: left; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 8px 0; }
th, td { text-align: right; padding: 4px 14px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th:first-child, td:first-child { text-align: left; } th { color: var(--faint); font-weight: 500; }
.control { display: flex; gap: 12px; align-items: center; flex-wrap: wrap; margin: 8px 0; font-size: 14px; }
.control input[type=range] { flex: 1; min-width: 240px; }
button, select, input { font: inherit; color: inherit; }
.scenes { max-height: 340px; overflow: auto; border: 1px solid var(--line); border-radius: 6px; font-size: 14px; }
.scenes table { margin: 0; width: 100%; } .scenes th { position: sticky; top: 0; background: var(--card); }
.scenes td, .scenes th { padding: 3px 12px; text-align: left; } .scenes tr { cursor: pointer; }
.scenes tr.on { background: var(--card); box-shadow: inset 3px 0 var(--on); }
.scenes button { background: none; border: 0; padding: 0; text-align: left; cursor: pointer; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(400px, 1fr)); gap: 14px; }
.panels.many { grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); }
figure { margin: 0; min-width: 0; } figcaption { font-size: 14px; display: flex; gap: 10px; flex-wrap: wrap; }
canvas { display: block; width: 100%; border-radius: 6px; background: #101318; }
canvas.view { height: 440px; } canvas.strip { height: 84px; margin: 10px 0; cursor: pointer; }
.tell { font-size: 13px; color: var(--faint); min-height: 20px; font-variant-numeric: tabular-nums; }
.found button { display: block; width: 100%; text-align: left; cursor: pointer; font-size: 13px; margin-bottom: 4px;
  background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 4px 8px; }
.found button.on { border-color: var(--on); }
.failure { padding: 20px; border: 1px solid var(--bad); border-radius: 6px; color: var(--bad);
  overflow-wrap: anywhere; }
.key { display: inline-block; margin-right: 16px; font-size: 13.5px; }
.key i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px;
  vertical-align: -1px; background: var(--s); outline: 1px solid var(--line); }
"""

_SCRIPT = r"""
const index = JSON.parse(document.getElementById("index").textContent);
const get = id => document.getElementById(id);
const make = (tag, parent, text) => { const e = document.createElement(tag); if (text !== undefined)
  e.textContent = text; parent.appendChild(e); return e; };
const { planners, kinds, scenes } = index;
const cache = new Map(), waiting = new Map(), hidden = new Set();
let shown = null, number = -1, frame = 0, timer = null, panels = [];

// Where a drive's figures lie: [end, failure, score or null, counts by kind, seconds, planner].
const worseThan = (a, b) => { for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return b[i] - a[i]; return 0; };
function order() {
  const by = get("rank").value, mine = s => s.drives.filter(d => by === "all" || d[5] === +by);
  const key = scenes.map(s => { const own = mine(s), scores = own.map(d => d[2]).filter(v => v !== null);
    return { score: scores.length ? scores.reduce((a, b) => a + b, 0) / scores.length : null,
      counts: kinds.map((_, i) => own.reduce((sum, d) => sum + d[3][i], 0)), name: s.name }; });
  const rank = scenes.map((_, i) => i);
  if (by === "name") return rank.sort((a, b) => key[a].name < key[b].name ? -1 : 1);
  return rank.sort((a, b) => (key[a].score ?? Infinity) - (key[b].score ?? Infinity)
    || worseThan(key[a].counts, key[b].counts) || (key[a].name < key[b].name ? -1 : 1));
}
function passes(s) {
  const kind = get("kind").value, who = get("who").value, word = get("word").value.toLowerCase();
  if (word && !s.name.toLowerCase().includes(word)) return false;
  const own = s.drives.filter(d => who === "all" || d[5] === +who);
  if (kind === "all") return who === "all" || own.length > 0;
  if (kind === "none") return own.length > 0 && own.every(d => d[3].every(n => !n));
  return own.some(d => d[3][+kind] > 0);
}
function cell(parent, drive) {
  const td = make("td", parent);
  if (!drive) { make("span", td, "left out").className = "faint"; return; }
  const [end, failure, score, counts] = drive;
  if (score !== null) make("b", td, score.toFixed(3) + " ");
  if (failure) { make("span", td, "failed").className = "bad"; td.title = failure; return; }
  const said = kinds.map((k, i) => [k.replace("_", " "), counts[i], i]).filter(k => k[1]);
  for (const [k, n, i] of said) make("span", td, n > 1 ? `${n} ${k} ` : k + " ").className = i < 4 ? "bad" : "warn";
  if (!said.length && score === null) make("span", td, "clean").className = "faint";
}
function list() {
  const body = get("scenes"); body.replaceChildren();
  const found = order().filter(i => passes(scenes[i]));
  for (const i of found) {
    const row = make("tr", body), s = scenes[i]; row.dataset.scene = i;
    make("button", make("td", row), s.name).setAttribute("aria-label", `open ${s.name}`);
    planners.forEach((_, p) => cell(row, s.drives.find(d => d[5] === p)));
    make("td", row, Math.max(0, ...s.drives.map(d => d[4])).toFixed(1));
    row.classList.toggle("on", i === number); row.onclick = () => open(i);
  }
  get("count").textContent = `${found.length} of ${scenes.length} scenes`;
  return found;
}

function replay(i, text) { const wait = waiting.get(i); if (wait) wait(text); }  // a file beside the page calls it
function load(i) {
  if (!cache.has(i)) cache.set(i, new Promise((done, failed) => {
    const own = get("s" + i);
    if (own) return done(own.textContent);
    waiting.set(i, done);
    const script = document.createElement("script"); script.src = scenes[i].file;
    script.onerror = () => failed(new Error(`${scenes[i].file} is not beside the page`));
    document.head.appendChild(script);
  }).then(unpack));
  return cache.get(i);
}
async function open(i, k) {
  number = i; stop(); get("title").textContent = scenes[i].name; get("panels").replaceChildren(); panels = [];
  for (const row of get("scenes").children) row.classList.toggle("on", +row.dataset.scene === i);
  let scene;
  try { if (!window.DecompressionStream) throw new Error("this browser cannot inflate data (DecompressionStream)");
    scene = await load(i);
  } catch (error) { make("p", get("panels"), `The scene cannot be shown: ${error.message}`).className = "failure";
    return; }
  if (number !== i) return;
  shown = scene;
  get("about").textContent = [scene.missing && `Map, route and recording are not shown: ${scene.missing}`,
    scene.origin.length ? `origin ${scene.origin.join(", ")}` : "", ...scene.notes].filter(Boolean).join("; ");
  get("slider").max = scene.steps;
  build();
  const first = scene.drives.flatMap(d => d.infractions).map(f => f.step);
  show(k ?? (first.length ? Math.max(0, Math.min(...first)) : Math.floor(scene.steps / 2)));
}
function build() {
  const area = get("panels"); area.replaceChildren(); panels = [];
  const mine = shown.drives.filter(d => !hidden.has(d.planner));
  area.classList.toggle("many", mine.length > 3);
  for (const drive of mine) {
    const figure = make("figure", area), caption = make("figcaption", figure), entry = scenes[number].drives.find(
      d => d[5] === drive.planner);
    const name = make("b", caption, planners[drive.planner]); name.style.color = tone(drive.planner);
    if (entry[2] !== null) make("span", caption, `score ${entry[2].toFixed(3)}`);
    make("span", caption, drive.failure ? "failed" : drive.end).className =
      drive.failure || !drive.end.startsWith("end of") ? "bad" : "faint";
    if (drive.failure) make("p", figure, drive.failure).className = "failure";
    const canvas = drive.ego.length ? make("canvas", figure) : null; if (canvas) canvas.className = "view";
    const tell = make("div", figure); tell.className = "tell";
    const box = make("div", figure); box.className = "found";
    const buttons = drive.infractions.map(f => { const b = make("button", box,
      `${(f.step * DT).toFixed(1)} s  ${describe(f)}, at ${f.global.join(", ")}`); b.onclick = () => show(f.step);
      return b; });
    panels.push({ drive, canvas, tell, buttons });
  }
}
const options = () => ({ metres: +get("reach").value, turn: get("turn").checked, modes: get("modes").checked,
  scores: get("scores").checked, recorded: get("recorded").checked, numbers: get("numbers").checked });
function show(k) {
  if (!shown) return;
  frame = Math.max(0, Math.min(shown.steps, k)); get("slider").value = frame;
  get("where").textContent = `${(frame * DT).toFixed(1)} of ${(shown.steps * DT).toFixed(1)} s`;
  for (const { drive, canvas, tell, buttons } of panels) {
    if (!canvas) continue;
    draw(canvas, shown, drive, frame, options());
    const now = Math.min(frame, drive.ego.length - 1), [off, along, aside] = drive.beside[now];
    const plan = planAt(drive, now);
    const words = [`${drive.ego[now][3].toFixed(1)} m/s`];
    if (drive.known[1]) words.push(`route ${(along - drive.beside[0][1]).toFixed(1)} m, ${aside.toFixed(2)} m aside`);
    words.push(drive.known[0] ? `road ${off > 0 ? off.toFixed(2) + " m out" : "kept"}` : "road not known");
    if (plan) words.push(`planned in ${plan.ms} ms`);
    if (plan && plan.modes.length) words.push(`${plan.modes.length} modes, ${plan.modes[0].score} to `
      + `${plan.modes.at(-1).score}`);
    tell.textContent = words.join(" · ");
    buttons.forEach((b, i) => b.classList.toggle("on", drive.infractions[i].step === frame));
  }
  strip();
}
function strip() {
  const canvas = get("strip"), ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * ratio; canvas.height = height * ratio;
  const g = canvas.getContext("2d"); g.scale(ratio, ratio); g.font = "11px system-ui, sans-serif";
  const speeds = panels.map(p => p.drive.ego.map(e => e[3])), top = Math.max(5, ...speeds.flat()) * 1.1;
  const x = k => 34 + (width - 44) * k / Math.max(1, shown.steps), y = v => height - 16 - (height - 24) * v / top;
  g.strokeStyle = "#2b323b"; g.fillStyle = "#8b95a1";
  for (let v = 0; v <= top; v += top > 12 ? 5 : 2) { g.beginPath(); g.moveTo(34, y(v)); g.lineTo(width - 10, y(v));
    g.stroke(); g.fillText(v, 16, y(v) + 4); }
  g.fillText("m/s", 8, 12);
  panels.forEach(({ drive }, i) => { g.strokeStyle = tone(drive.planner); g.lineWidth = 1.6; g.beginPath();
    speeds[i].forEach((v, k) => k ? g.lineTo(x(k), y(v)) : g.moveTo(x(k), y(v))); g.stroke();
    for (const f of drive.infractions) { g.fillStyle = MARK[f.kind] || "#ffffff"; g.beginPath();
      g.arc(x(f.step), y(drive.ego[f.step][3]), 4.5, 0, 7); g.fill(); g.strokeStyle = tone(drive.planner); g.stroke(); }
    if (drive.ego.length && drive.ego.length <= shown.steps) { const k = drive.ego.length - 1;
      g.fillStyle = tone(drive.planner); g.fillText("\u00d7", x(k) - 3, y(speeds[i][k]) + 4); } });
  g.strokeStyle = "#ffffff"; g.lineWidth = 1; g.beginPath(); g.moveTo(x(frame), 4); g.lineTo(x(frame), height - 14);
  g.stroke(); g.fillStyle = "#8b95a1";
  const each = shown.steps > 120 ? 50 : 10;
  for (let k = 0; k <= shown.steps; k += each) g.fillText(`${k * DT} s`, x(k) - 6, height - 3);
}
function stop() { if (timer) clearInterval(timer); timer = null; get("play").textContent = "play"; }
get("play").onclick = () => { if (timer) return stop();
  if (shown && frame >= shown.steps) frame = -1;
  get("play").textContent = "stop"; timer = setInterval(() => { if (!shown || frame >= shown.steps) return stop();
    show(frame + 1); }, 100 / +get("speed").value); };
get("speed").onchange = () => { if (timer) { stop(); get("play").onclick(); } };
get("slider").oninput = e => { stop(); show(+e.target.value); };
get("strip").onclick = e => { if (shown)
  show(Math.round((e.offsetX - 34) / (get("strip").clientWidth - 44) * shown.steps)); };
for (const id of ["reach", "turn", "modes", "scores", "recorded", "numbers"]) get(id).onchange = () => show(frame);
for (const id of ["rank", "kind", "who"]) get(id).onchange = list;
get("word").oninput = list;
const step = by => { const rows = [...get("scenes").children].map(r => +r.dataset.scene), i = rows.indexOf(number);
  if (rows.length) open(rows[(i + by + rows.length) % rows.length]); };
get("next").onclick = () => step(1); get("back").onclick = () => step(-1);
window.addEventListener("resize", () => show(frame));
document.addEventListener("keydown", e => { if (["INPUT", "SELECT"].includes(e.target.tagName)) return;
  const jump = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
  if (jump) { e.preventDefault(); stop(); show(frame + jump); } });
planners.forEach((name, p) => {
  for (const id of ["rank", "who"]) { const o = make("option", get(id), id === "rank" ? `worst of ${name}` : name);
    o.value = p; }
  const label = make("label", get("choose")), check = make("input", label);
  check.type = "checkbox"; check.checked = true;
  make("b", label, " " + name).style.color = tone(p);
  check.onchange = () => { if (check.checked) hidden.delete(p); else hidden.add(p);
    if (shown) { build(); show(frame); } };
  make("th", get("head"), name);
});
make("th", get("head"), "seconds");
kinds.forEach((kind, i) => { make("option", get("kind"), kind.replace("_", " ")).value = i; });
const worst = list();
// #<scene name>:<step> opens that instant; #<scene name> the first infraction in it.
const asked = decodeURIComponent(location.hash.slice(1)), split = asked.match(/^(.*):(\d+)$/s);
const wanted = scenes.findIndex(s => s.name === asked || (split && s.name === split[1]));
if (wanted >= 0) open(wanted, split && scenes[wanted].name === split[1] ? +split[2] : undefined)
  .then(() => get("title").scrollIntoView());
else if (worst.length) open(worst[0]);
"""

PAGE = Template(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title><style>"""
    + _STYLE
    + """</style></head><body>
<h1>$title</h1>$text
<h2>Planners</h2>$figures
<h2>Scenes, worst first</h2><p class="faint">$rule</p>
<div class="control"><select id="rank" aria-label="order"><option value="all">worst of all planners</option>
<option value="name">by name</option></select>
<select id="kind" aria-label="what happened"><option value="all">whatever happened</option>
<option value="none">nothing went wrong</option></select>
<select id="who" aria-label="to whom"><option value="all">to any planner</option></select>
<input id="word" type="search" placeholder="part of a name" aria-label="part of a name"><span id="count"></span></div>
<div class="scenes"><table><thead><tr id="head"><th>scene</th></tr></thead><tbody id="scenes"></tbody></table></div>
<h2 id="title"></h2><p class="faint" id="about"></p>
<div class="control" id="choose"></div>
<div class="control"><button id="back">scene before</button><button id="next">next scene</button>
<button id="play">play</button><select id="speed" aria-label="speed"><option value="0.5">half speed</option>
<option value="1" selected>real time</option><option value="3">3 times</option></select>
<input type="range" id="slider" min="0" value="0" aria-label="time"><span id="where"></span></div>
<div class="control"><select id="reach" aria-label="how far to see"><option value="20">20 m around</option>
<option value="35" selected>35 m around</option><option value="60">60 m around</option>
<option value="0">the whole drive</option></select>
<label><input type="checkbox" id="turn" checked> turn with the ego</label>
<label><input type="checkbox" id="modes" checked> modes</label>
<label><input type="checkbox" id="scores"> their scores</label>
<label><input type="checkbox" id="recorded" checked> recorded drive</label>
<label><input type="checkbox" id="numbers"> numbers</label></div>
<div class="panels" id="panels"></div>
<canvas class="strip" id="strip" aria-label="speeds"></canvas>
<p>$key</p>
<script type="application/json" id="index">$index</script>
$data
<script>"""
    + (DRAW + _SCRIPT).replace("$", "$$")
    + """</script></body></html>
"""
)
