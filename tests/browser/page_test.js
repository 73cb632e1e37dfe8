// SPDX-License-Identifier: Apache-2.0
// The server's page in headless Chromium: its numbers are those of /api/status, a run is watched
// from start to end, it fits a phone, in light and dark, and no error comes.
//
// tests/run --browser runs it, with the folders of programs and screenshots in
// GRADWIRE_BROWSER_TEST=BIN:SCREENSHOTS.
"use strict";

const assert = require("node:assert");
const { spawn } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { test } = require("node:test");
const { chromium } = require("playwright-core");

const [bin, shots] = process.env.GRADWIRE_BROWSER_TEST.split(":");
const CHROMIUM = process.env.GRADWIRE_CHROMIUM || "/usr/bin/chromium";
const DATA = "/usr/share/datasets/fashion-mnist";
const PATIENCE_MS = 120000;
const JOB = `name: "fashion" model { mlp { inputs: 784 hidden: [32] classes: 10 } } steps: 300
codec: "top_k:0.05" optimizer: "sgd:lr=0.1" membership { workers: 3 }
trainer { batch: 16 eval_every: 30 }
`;

// A started program whose output is kept; ended with the test.
function start(context, name, flags) {
  const child = spawn(path.join(bin, name), flags, { stdio: ["ignore", "pipe", "pipe"] });
  child.text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (data) => (child.text += data));
  }
  child.ended = new Promise((resolve) => child.on("exit", resolve));
  context.after(() => child.kill("SIGKILL"));
  return child;
}

async function until(condition, what) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function startServer(context, ...more) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "gradwire-browser-"));
  context.after(() => fs.rmSync(folder, { recursive: true }));
  fs.writeFileSync(path.join(folder, "job.textproto"), JOB);
  const server = start(context, "gradwire-server", [
    `--job=${folder}/job.textproto`, "--listen=127.0.0.1:0", "--http_listen=0",
    `--state_dir=${folder}/state`, ...more]);
  server.folder = folder;
  return listens(server);
}

async function listens(server) {
  const found = (pattern) => until(() => server.text.match(pattern)?.[1], `${pattern}`);
  server.grpc = await found(/^listening on (\S+)$/m);
  server.url = `http://${await found(/^http on (\S+)$/m)}`;
  return server;
}

const startWorkers = (context, server, delay) => [0, 1, 2].map((i) => start(
  context, "gradwire-worker",
  [`--server=${server.grpc}`, `--worker_id=worker-${i}`, `--data=${DATA}`, `--step_delay=${delay}`]));

async function launch(context) {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  context.after(() => browser.close());
  return browser;
}

// A page that remembers every error, and every request that goes elsewhere.
async function open(browser, url, options) {
  const page = await (await browser.newContext(options)).newPage();
  page.faults = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") page.faults.push(message.text());
  });
  page.on("pageerror", (error) => page.faults.push(String(error)));
  page.on("request", (request) => {
    const ours = request.url().startsWith(url) || request.url().startsWith("data:");
    if (!ours) page.faults.push(`asks ${request.url()}`);
  });
  await page.goto(url);
  return page;
}

const texts = (page, ids) => page.evaluate(
  (names) => Object.fromEntries(names.map((id) => [id, document.getElementById(id).textContent])),
  ids);
const version = async (page) => Number((await texts(page, ["version"])).version.replace(/\D/g, ""));
const pointsIn = (page, id) => page.evaluate(
  (name) => (document.querySelector(`#${name} polyline`)?.getAttribute("points") ?? "")
    .split(" ").filter(Boolean).map((pair) => pair.split(",").map(Number)), id);

// What the page has to say of a status; worked out here on its own.
function expected(status) {
  const traffic = status.traffic;
  const sent = Number(traffic.up_wire_bytes) + Number(traffic.down_wire_bytes);
  const dense = 4 * Number(status.dimension) *
    (Number(traffic.worker_steps) + Number(traffic.updates_sent));
  const accuracy = status.evaluation.metrics.find((metric) => metric.name === "accuracy").value;
  return {
    job: status.job.name,
    phase: status.phase,
    version: status.point.version,
    steps: status.job.steps,
    loss: status.loss.toFixed(4),
    accuracy: accuracy.toFixed(4),
    saved: `${(100 * (1 - sent / dense)).toFixed(1)} %`,
    refused: status.payloads_refused,
  };
}

async function numbersEqualStatus(page, url) {
  const status = await (await fetch(`${url}/api/status`)).json();
  const want = expected(status);
  await until(async () => (await version(page)) === Number(want.version), "the newest version");
  assert.deepStrictEqual(await texts(page, Object.keys(want)), want);
  const megabytes = (text) => Number(text.split(" ")[0]) * { B: 1, kB: 1e3, MB: 1e6 }[text.split(" ")[1]];
  const shown = await texts(page, ["up", "down", "waiting"]);
  for (const [id, field] of [["up", "up_wire_bytes"], ["down", "down_wire_bytes"]]) {
    const real = Number(status.traffic[field]);
    assert.ok(Math.abs(megabytes(shown[id]) / real - 1) < 0.006, `${id}: ${shown[id]}, ${real}`);
  }
  const mean = status.round_times.waiting_seconds / Number(status.round_times.rounds);
  assert.ok(Math.abs(parseFloat(shown.waiting) / 1e3 / mean - 1) < 0.006, shown.waiting);
  const rows = await page.evaluate(() => [...document.querySelectorAll("tr[data-worker]")].map(
    (row) => [...row.children].map((cell) => cell.textContent)));
  assert.deepStrictEqual(
    rows.map((row) => [row[0], row[1], row[2], row[3], row[4], row[7]]).sort(),
    status.workers.map((w) => [w.id, String(w.rank), w.state, w.version, w.lag,
      w.payloads_refused]).sort());
}

test("a run is watched from its start to its end", { timeout: 300000 }, async (context) => {
  const server = await startServer(context);
  const browser = await launch(context);
  const page = await open(browser, server.url, { viewport: { width: 1200, height: 1100 } });
  await until(async () => (await texts(page, ["phase"])).phase === "waiting for workers", "the phase");
  const workers = startWorkers(context, server, "15ms");
  await until(async () => (await version(page)) > 100, "100 versions");
  await page.screenshot({ path: `${shots}/desktop.png`, fullPage: true });

  const late = await open(browser, server.url, {
    viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true,
    colorScheme: "dark" });
  await until(async () => (await version(late)) > 100, "the late page");
  await late.screenshot({ path: `${shots}/phone-dark.png`, fullPage: true });
  const wide = await late.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
  assert.ok(!wide, "a phone has to scroll sideways");

  for (const worker of workers) assert.strictEqual(await worker.ended, 0);
  assert.strictEqual(await server.ended, 0);
  for (const one of [page, late]) {
    await until(async () => (await texts(one, ["phase"])).phase === "finished", "the end");
    assert.strictEqual(await version(one), 300);
    assert.match((await texts(one, ["connection"])).connection, /has ended/);
    const loss = await pointsIn(one, "loss-chart");
    assert.strictEqual(loss.length, 300, "the run from its start");
    assert.ok(loss.every(([x], i) => i === 0 || x > loss[i - 1][0]));
    assert.ok(loss[299][1] > loss[0][1] + 20, "the loss falls");  // y grows downwards
    const accuracy = await pointsIn(one, "accuracy-chart");
    assert.ok(accuracy.length >= 10 && accuracy[0][1] > accuracy.at(-1)[1], "accuracy grows");
    assert.deepStrictEqual(one.faults, []);
  }
  await page.click("#over-bytes");
  assert.strictEqual(await page.getAttribute("#over-bytes", "aria-pressed"), "true");
  assert.match(await page.textContent("#loss-chart"), /[kM]B/);
  await page.screenshot({ path: `${shots}/desktop-end.png`, fullPage: true });
});

test("its numbers are those of /api/status", { timeout: 300000 }, async (context) => {
  const server = await startServer(context, "--when_done=serve");
  const browser = await launch(context);
  const page = await open(browser, server.url, {
    viewport: { width: 1200, height: 1100 }, colorScheme: "dark" });
  const workers = startWorkers(context, server, "0s");
  for (const worker of workers) assert.strictEqual(await worker.ended, 0);
  await until(async () => (await texts(page, ["phase"])).phase === "finished", "the end");
  await numbersEqualStatus(page, server.url);
  await page.screenshot({ path: `${shots}/desktop-dark.png`, fullPage: true });
  const phone = await open(browser, server.url, {
    viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true });
  await until(async () => (await texts(phone, ["phase"])).phase === "finished", "the phone");
  await numbersEqualStatus(phone, server.url);
  await phone.screenshot({ path: `${shots}/phone.png`, fullPage: true });
  assert.deepStrictEqual([...page.faults, ...phone.faults], []);
});

test("a page survives the server's restart", { timeout: 300000 }, async (context) => {
  const server = await startServer(context, "--when_done=serve");
  const browser = await launch(context);
  const page = await open(browser, server.url);
  const connection = async () => (await texts(page, ["connection"])).connection;
  await until(async () => /live/.test(await connection()), "the first events");
  server.kill("SIGKILL");
  await until(async () => /no answer/.test(await connection()), "a word that it is gone");
  await server.ended;
  const again = await listens(start(context, "gradwire-server", [
    `--job=${server.folder}/job.textproto`, "--listen=127.0.0.1:0",
    `--http_listen=${server.url.slice("http://".length)}`, `--state_dir=${server.folder}/state`]));
  await until(async () => /live/.test(await connection()), "events of the next server");
  const workers = startWorkers(context, again, "0s");
  await until(async () => (await texts(page, ["phase"])).phase === "finished", "the end");
  assert.strictEqual(await version(page), 300);
  for (const worker of workers) assert.strictEqual(await worker.ended, 0);
});
