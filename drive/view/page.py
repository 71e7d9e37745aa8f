"""The page's skeleton: markup, style and the few lines of script that move through its frames."""

from __future__ import annotations

from string import Template

_STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --text: #1c2128; --faint: #656d76; --line: #d8dee4;
  --card: #f6f8fa; --run0: #0969da; --run1: #d9730d; --run2: #8250df; --run3: #1a7f64; --run4: #bf3989;
  --run5: #7d6b00; }
@media (prefers-color-scheme: dark) { :root { --ground: #0f1318; --text: #dfe5ec; --faint: #8b95a1; --line: #2b323b;
  --card: #171c23; --run0: #5aaaff; --run1: #ffaa3c; --run2: #be82ff; --run3: #78dcc8; --run4: #ff78a0;
  --run5: #ffdc5a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1360px; padding: 24px 20px 80px; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 40px 0 10px; }
p { margin: 6px 0; } .faint, small { color: var(--faint); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 4px 14px 4px 0; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } th { color: var(--faint); font-weight: 500; }
.key { margin-right: 18px; font-weight: 600; } .key::before { content: "\\25CF"; margin-right: 6px; }
.run0 { --c: var(--run0); } .run1 { --c: var(--run1); } .run2 { --c: var(--run2); }
.run3 { --c: var(--run3); } .run4 { --c: var(--run4); } .run5 { --c: var(--run5); } .key::before { color: var(--c); }
.bar { display: flex; align-items: center; width: 460px; height: 18px; gap: 8px; }
.bar i { display: block; flex: none; height: 11px; min-width: 1px; background: var(--c); border-radius: 2px; }
.charts { display: flex; flex-wrap: wrap; gap: 14px; }
.chart { width: 420px; max-width: 100%; background: var(--card); border-radius: 6px; } .small .chart { width: 280px; }
.chart text { fill: var(--faint); font: 11px system-ui, sans-serif; }
.chart .name { fill: var(--text); font-weight: 600; }
.chart .grid { stroke: var(--line); } .chart polyline { fill: none; stroke: var(--c); stroke-width: 1.6; }
.worst { display: flex; gap: 10px; overflow-x: auto; padding-bottom: 6px; }
.worst button { flex: none; width: 172px; padding: 6px; text-align: left; font: inherit; font-size: 13px;
  cursor: pointer; color: inherit; background: var(--card); border: 1px solid var(--line); border-radius: 6px; }
.worst button.on { border-color: var(--run0); } .worst img { width: 100%; display: block; border-radius: 3px; }
.control { display: flex; gap: 12px; align-items: center; flex-wrap: wrap; margin: 12px 0; }
.control input[type=range] { flex: 1; min-width: 240px; }
.control button, .control select { font: inherit; padding: 2px 10px; }
.pictures { display: flex; flex-wrap: wrap; gap: 16px; } .pictures figure { margin: 0; flex: 1 1 400px;
  max-width: 664px; }
.pictures img { width: 100%; display: block; margin-top: 6px; border-radius: 4px; } figcaption { font-size: 14px; }
details { margin: 8px 0; } summary { cursor: pointer; } pre { background: var(--card); padding: 12px; overflow: auto;
  max-height: 480px; border-radius: 6px; font-size: 12.5px; }
.swatch { font-weight: 600; margin-right: 14px; }
.swatch::before { content: "\\25A0"; margin-right: 5px; color: var(--s); }
"""

_SCRIPT = """
const frames = JSON.parse(document.getElementById("data").textContent);
const names = JSON.parse(document.getElementById("names").textContent);
const get = id => document.getElementById(id);
const make = (tag, text, parent) => { const e = document.createElement(tag); if (text !== null) e.textContent = text;
  parent.appendChild(e); return e; };
const sum = values => values.reduce((a, b) => a + b, 0);
const worst = frames.map((_, i) => i);
const inTime = worst.slice().sort((a, b) => frames[a].log < frames[b].log ? -1 : frames[a].log > frames[b].log ? 1
  : frames[a].index - frames[b].index);
let order = worst, playing = null;
function show(position) {
  const frame = frames[order[position]], area = get("pictures");
  get("slider").value = position;
  get("where").textContent = `${frame.log}, frame ${frame.index} (${position + 1} of ${frames.length}), `
    + `${frame.labels} labels`;
  area.replaceChildren();
  names.forEach((name, run) => {
    const figure = make("figure", null, area);
    make("figcaption", `${name}: ${frame.missed[run]} missed, ${frame.false[run]} false, `
      + `${frame.predictions[run]} shown`, figure).className = "key run" + run % 6;
    for (const [source, what] of [[frame.above[run], "from above"], [frame.ahead[run], "front camera"]])
      if (source) { const image = make("img", null, figure); image.src = source; image.alt = `${name}, ${what}`; }
  });
  [...get("worst").children].forEach((b, i) => b.classList.toggle("on", i === order[position]));
}
if (frames.length) {
  get("slider").max = frames.length - 1;
  get("slider").oninput = e => show(+e.target.value);
  get("order").onchange = e => { order = e.target.value === "time" ? inTime : worst; show(0); };
  get("back").onclick = () => show((+get("slider").value + frames.length - 1) % frames.length);
  get("next").onclick = () => show((+get("slider").value + 1) % frames.length);
  get("play").onclick = e => { if (playing) { clearInterval(playing); playing = null; } else
    playing = setInterval(get("next").onclick, 500); e.target.textContent = playing ? "stop" : "play"; };
  worst.slice(0, 12).forEach(i => {
    const button = make("button", null, get("worst")), image = make("img", null, button);
    image.src = frames[i].above[0]; image.alt = "";
    make("div", `${frames[i].log}, frame ${frames[i].index}`, button);
    make("div", `${sum(frames[i].missed)} missed, ${sum(frames[i].false)} false`, button).className = "faint";
    button.onclick = () => show(order.indexOf(i));
  });
  show(0);
} else { get("frames").hidden = true; }
"""

PAGE = Template(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title><style>"""
    + _STYLE
    + """</style></head><body>
<h1>$title</h1>$text<p>$legend</p>
<h2>Figures</h2>$figures
<h2>Average precision by class</h2>$per_class$classes
<div id="frames"><h2>Frames, worst first</h2>
<p class="faint">$frame_count; ranked by missed and false boxes. A label is found if a prediction of its class lies
within 2 m; of each class those predictions are shown whose score is at or above the point where its F1 is best.</p>
<div class="worst" id="worst"></div>
<div class="control"><button id="back">back</button><button id="next">next</button><button id="play">play</button>
<input type="range" id="slider" min="0" value="0" aria-label="frame"><select id="order" aria-label="order">
<option value="worst">worst first</option><option value="time">in time</option></select><span id="where"></span></div>
<p><span class="swatch" style="--s:#4ac86e">label, found</span>
<span class="swatch" style="--s:#ff465a">label, missed</span>
<span class="swatch" style="--s:#5aaaff">prediction</span>
<span class="swatch" style="--s:#ffaa3c">prediction, false</span></p>
<div class="pictures" id="pictures"></div></div>
<h2>Precision over recall, matched within 2 m</h2><div class="charts small">$precision</div>
<h2>Average precision by distance from the ego</h2>$ranges
<h2>Training</h2><div class="charts">$curves</div>
<h2>With failing sensors</h2>$robustness
<h2>What was missing</h2>$missing
<h2>Configuration</h2>$configs
<script type="application/json" id="data">$data</script><script type="application/json" id="names">$names</script>
<script>"""
    + _SCRIPT.replace("$", "$$")
    + """</script></body></html>
"""
)
