// SPDX-License-Identifier: Apache-2.0
// Shows what /api/events tells: numbers, two curves, a round's time, the workers.
"use strict";

const MAX_POINTS = 2000;
const MAX_ROWS = 200;
const RETRY_MS = 3000;
const run = { points: [], evaluations: [] };
let overBytes = false;
let ended = false;

const byId = (id) => document.getElementById(id);
const setText = (id, text) => {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
};

// Numbers as people read them.  64-bit numbers come as strings.
const whole = (x) => Number(x).toLocaleString("en-US");
const bytes = (x) => {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let value = Number(x);
  let unit = 0;
  while (value >= 1000 && unit + 1 < units.length) {
    value /= 1000;
    ++unit;
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${units[unit]}`;
};
const time = (seconds) => {
  if (!(seconds > 0)) return "0 s";
  if (seconds < 1e-3) return `${(seconds * 1e6).toPrecision(3)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toPrecision(3)} ms`;
  return `${seconds.toPrecision(3)} s`;
};
const ago = (seconds) => (seconds < 90 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds / 60)} min`);
const short = (x) => (Math.abs(x) >= 1000 ? whole(Math.round(x)) : Number(x.toPrecision(3)).toString());

// The share of what dense traffic would have been that was not sent.
function savedOf(status) {
  const traffic = status.traffic;
  const sent = Number(traffic.up_wire_bytes) + Number(traffic.down_wire_bytes);
  const dense = 4 * Number(status.dimension) *
    (Number(traffic.worker_steps) + Number(traffic.updates_sent));
  return dense > 0 ? 1 - sent / dense : 0;
}

function showNumbers(status) {
  const good = ["training", "finishing", "finished"].includes(status.phase);
  const bad = status.phase === "failed" || status.phase.startsWith("paused");
  const shard = status.shard ? `, shard ${status.shard.index}/${status.shard.count}` : "";
  setText("job", status.job.name + shard);
  setText("phase", status.phase);
  byId("phase").className = `badge${good ? " good" : bad ? " bad" : ""}`;
  document.title = `${status.job.name} ${status.point.version} – gradwire`;
  setText("version", whole(status.point.version));
  setText("steps", whole(status.job.steps));
  byId("progress").value = Number(status.point.version) / Math.max(1, Number(status.job.steps));
  setText("loss", Number(status.loss).toFixed(4));
  const metrics = status.evaluation?.metrics ?? [];
  const accuracy = metrics.find((metric) => metric.name === "accuracy");
  setText("accuracy", accuracy ? Number(accuracy.value).toFixed(4) : "-");
  setText("rate", Number(status.steps_per_second).toFixed(1));
  setText("up", bytes(status.traffic.up_wire_bytes));
  setText("down", bytes(status.traffic.down_wire_bytes));
  setText("saved", `${(100 * savedOf(status)).toFixed(1)} %`);
  setText("refused", whole(status.payloads_refused));
  setText("model", `${whole(status.dimension)} parameters, codec ${status.job.codec}, ` +
    `optimizer ${status.job.optimizer}` +
    (status.job.learning_rate > 0 ? `, learning rate ${status.job.learning_rate}` : ""));
}

const svgElement = (name, attributes, text) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
};

function showRound(status) {
  const times = status.round_times;
  const rounds = Math.max(1, Number(times.rounds));
  let all = 0;
  const parts = ["waiting", "aggregating", "log", "applying"].map((name) => {
    const mean = Number(times[`${name}_seconds`]) / rounds;
    setText(name, time(mean));
    all += mean;
    return { name, mean };
  });
  setText("round", time(all));
  let x = 0;
  byId("round-bar").replaceChildren(...parts.map(({ name, mean }) => {
    const width = all > 0 ? (100 * mean) / all : 0;
    const rect = svgElement("rect", { class: name, x, y: 0, width, height: 4 });
    x += width;
    return rect;
  }));
}

function cell(name, text, className = "") {
  const td = document.createElement("td");
  td.dataset.name = name;
  td.textContent = text;
  if (className) td.className = className;
  return td;
}

function workerRows(worker) {
  const row = document.createElement("tr");
  const gone = worker.state === "lost" || worker.state === "left";
  if (gone) row.className = "gone";
  row.dataset.worker = worker.id;
  row.append(
    cell("worker", worker.id), cell("rank", String(worker.rank)), cell("state", worker.state),
    cell("version", whole(worker.version)), cell("lag", whole(worker.lag)),
    cell("steps/s", Number(worker.steps_per_second).toFixed(1)),
    cell("last seen", ago(Number(worker.last_heard_seconds))),
    cell("refused", whole(worker.payloads_refused)));
  row.firstChild.title = worker.peer;
  if (!worker.note) return [row];
  const note = document.createElement("tr");
  note.className = "gone";
  note.append(cell("note", worker.note, "note"));
  note.firstChild.colSpan = 8;
  return [row, note];
}

function showWorkers(status) {
  const rank = { lost: 1, left: 1 };
  const workers = [...(status.workers ?? [])].sort(
    (a, b) => (rank[a.state] ?? 0) - (rank[b.state] ?? 0) || a.rank - b.rank);
  const members = workers.filter((worker) => worker.state === "member").length;
  const more = workers.length > MAX_ROWS ? `, the first ${MAX_ROWS} shown` : "";
  setText("worker-count", `${workers.length}, of them ${members} members${more}`);
  byId("workers").replaceChildren(...workers.slice(0, MAX_ROWS).flatMap(workerRows));
}

// Four or five round numbers from low to high.
function ticksOf(low, high) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const ticks = [];
  for (let t = Math.ceil(low / step) * step; t <= high + step * 1e-6; t += step) ticks.push(t);
  return ticks;
}

function drawChart(svg, points, xText) {
  const width = svg.clientWidth || 300;
  const height = svg.clientHeight || 200;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const good = points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y));
  if (good.length === 0) {
    svg.replaceChildren(svgElement("text", { x: width / 2, y: height / 2, "text-anchor": "middle" },
      "nothing yet"));
    return;
  }
  const range = (values, fromZero) => {
    let low = values.reduce((a, b) => Math.min(a, b));
    let high = values.reduce((a, b) => Math.max(a, b));
    if (fromZero) low = Math.min(low, 0);
    if (!(high > low)) [low, high] = [low - 0.5, high + 0.5];
    return [low, high];
  };
  const [x0, x1] = range(good.map(([x]) => x), true);
  const [y0, y1] = range(good.map(([, y]) => y), false);
  const box = { left: 46, right: width - 14, top: 8, bottom: height - 20 };
  const px = (x) => box.left + ((x - x0) / (x1 - x0)) * (box.right - box.left);
  const py = (y) => box.bottom - ((y - y0) / (y1 - y0)) * (box.bottom - box.top);
  const parts = [];
  for (const t of ticksOf(y0, y1)) {
    parts.push(svgElement("line", { class: "grid", x1: box.left, x2: box.right, y1: py(t), y2: py(t) }),
      svgElement("text", { x: box.left - 6, y: py(t) + 4, "text-anchor": "end" }, short(t)));
  }
  for (const t of ticksOf(x0, x1)) {
    const anchor = px(t) > box.right - 25 ? "end" : "middle";
    parts.push(svgElement("text", { x: px(t), y: height - 4, "text-anchor": anchor }, xText(t)));
  }
  const path = good.map(([x, y]) => `${px(x).toFixed(1)},${py(y).toFixed(1)}`).join(" ");
  parts.push(svgElement("polyline", { class: "line", points: path }));
  const [lastX, lastY] = good[good.length - 1];
  parts.push(svgElement("circle", { class: "dot", cx: px(lastX), cy: py(lastY), r: 3 }));
  svg.replaceChildren(...parts);
}

function showCurves() {
  const xText = overBytes ? bytes : short;
  drawChart(byId("loss-chart"),
    run.points.map((p) => [overBytes ? p[3] + p[4] : p[0], p[2] ?? NaN]), xText);
  drawChart(byId("accuracy-chart"),
    run.evaluations.map((e) => [overBytes ? e[3] : e[0], e[2] ?? NaN]), xText);
}

function keep(list, more) {
  list.push(...more);
  while (list.length > MAX_POINTS) {
    const last = list[list.length - 1];
    const half = list.filter((_, i) => i % 2 === 0);
    if (half[half.length - 1] !== last) half.push(last);
    list.splice(0, list.length, ...half);
  }
}

function connect() {
  run.points.length = 0;
  run.evaluations.length = 0;
  const source = new EventSource("/api/events");
  source.addEventListener("run", (event) => {
    const more = JSON.parse(event.data);
    keep(run.points, more.points);
    keep(run.evaluations, more.evaluations);
    showCurves();
  });
  source.addEventListener("status", (event) => {
    const status = JSON.parse(event.data);
    showNumbers(status);
    showRound(status);
    showWorkers(status);
    setText("connection", `live, ${new Date().toLocaleTimeString()}`);
  });
  source.addEventListener("end", () => {
    ended = true;
    source.close();
    setText("connection", "the server has ended: this is how it was");
  });
  source.onerror = () => {
    source.close();
    if (ended) return;
    setText("connection", "no answer from the server: trying again");
    setTimeout(connect, RETRY_MS);
  };
}

function choose(withBytes) {
  overBytes = withBytes;
  byId("over-steps").setAttribute("aria-pressed", String(!withBytes));
  byId("over-bytes").setAttribute("aria-pressed", String(withBytes));
  showCurves();
}

byId("over-steps").addEventListener("click", () => choose(false));
byId("over-bytes").addEventListener("click", () => choose(true));
window.addEventListener("resize", showCurves);
showCurves();
connect();
