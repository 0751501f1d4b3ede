// The player page: search, play, seek, next, and what the node is doing. All text goes in by textContent.

import { api, open } from "/player/session.js";
import { Shop } from "/player/shop.js";
import { Palette, Waveform } from "/player/waveform.js";

const $ = (id) => document.getElementById(id);
const audio = $("audio");
const palette = new Palette();
const wave = new Waveform($("wave"), palette);
const SESSION_FIELDS = "segments,peers,bytes_per_s,bytes_fetched,first_sound_ms,complete,licensed";
const ENDED = "The licence to this track has ended.";
const state = { results: [], index: -1, session: null, duration: 0, reopenedAt: -Infinity, opening: 0 };

const shop = new Shop(() => begin(state.item));

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

function clock(seconds) {
  const s = Math.max(0, Math.floor(seconds || 0));
  const tail = `${String(Math.floor(s / 60) % 60).padStart(s >= 3600 ? 2 : 1, "0")}:${String(s % 60).padStart(2, "0")}`;
  return s >= 3600 ? `${Math.floor(s / 3600)}:${tail}` : tail;
}

function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  while (bytes >= 1000 && i < units.length - 1) { bytes /= 1000; i++; }
  return `${i && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${units[i]}`;
}

function age(s) {
  if (s < 3600) return `${Math.max(1, Math.floor(s / 60))} min`;
  return s < 86400 ? `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min` : `${Math.floor(s / 86400)} d`;
}

const brief = (peer) => (peer === "local" ? "this disk" : `…${peer.slice(-6)}`);

function tell(text, isInfo = false) {
  $("notice").textContent = text;
  $("notice").className = isInfo ? "info" : "";
  $("notice").hidden = !text;
}

async function trying(work) {
  try {
    return await work();
  } catch (err) {
    if (err.name !== "AbortError") tell(err.message, err.code === "no_session");
    return null;
  }
}

// — search —

let searching = null;
let typing = 0;

async function search() {
  searching?.abort();
  searching = new AbortController();
  const { signal } = searching;
  const q = $("query").value.trim();
  for (const swarm of q ? [0, 1] : [0]) { // what is here shows at once, the swarm's answers join it
    const query = new URLSearchParams({ q, limit: 50, swarm });
    const found = await trying(() => api(`/api/v1/search?${query}`, { signal }));
    if (!found) return;
    tell("");
    list(found.items);
    $("found").textContent = q && !swarm ? `${count(found.items)} here · asking the swarm…` : summary(q, found);
  }
}

function list(items) {
  const playing = state.results[state.index]?.id;
  const isSame = state.results.map((each) => each.id).join() === items.map((each) => each.id).join();
  state.results = items;
  state.index = items.findIndex((each) => each.id === playing);
  if (!isSame || !items.length) $("results").replaceChildren(...items.map(row)); // keeps the focus where it is
  mark();
}

const count = (items) => `${items.length} ${items.length === 1 ? "track" : "tracks"}`;

function summary(q, { items, sources, took_ms: took, hint }) {
  if (!items.length) return q ? `Nothing found for “${q}”. ${hint || ""}` : hint || "No music here yet. Search for something.";
  if (!q) return `${count(items)} on this node`;
  return `${count(items)} · ${Math.round(took)} ms here · ${sources.peers} ${sources.peers === 1 ? "peer" : "peers"} asked`;
}

function cover(node, item) {
  let hue = 0;
  for (const letter of item.artist || item.title) hue = (hue * 31 + letter.codePointAt(0)) % 360;
  node.style.background = `linear-gradient(135deg, hsl(${hue} 55% 45%), hsl(${(hue + 50) % 360} 60% 32%))`;
  node.textContent = [...(item.title.trim() || "♪")][0].toUpperCase();
  return node;
}

function row(item, index) {
  const names = element("span", "names");
  names.append(element("strong", "", item.title), element("span", "", item.artist));
  const seeders = item.seeders == null ? item.where : `${item.seeders} ${item.seeders === 1 ? "seeder" : "seeders"}`;
  const button = element("button");
  button.type = "button";
  button.append(
    cover(element("span", "cover"), item), names, element("span", "chip", item.licence),
    element("span", "meta", seeders), element("span", "meta end", clock(item.duration_ms / 1000)),
  );
  button.addEventListener("click", () => play(index));
  const line = element("li");
  line.append(button);
  return line;
}

function mark() {
  [...$("results").children].forEach((line, i) => {
    line.classList.toggle("current", i === state.index);
    line.firstChild.setAttribute("aria-current", String(i === state.index));
  });
}

// — play —

async function play(index, at = 0) {
  const item = state.results[index];
  if (!item) return;
  state.index = index;
  mark();
  await begin(item, at);
}

async function opening(item) {
  const ask = (quality) => api("/api/v1/play", { method: "POST", body: { target: item.id, quality, offline: false } });
  try {
    const opened = await ask($("quality").value);
    shop.close();
    return opened;
  } catch (err) {
    if (err.code !== "licence_needed") throw err;
    shop.offer(item, err.message.split(/: (buy|hear) /)[0] + "."); // the rest is for the command line
    return ask("preview"); // what is free of it is heard at once
  }
}

async function begin(item, at = 0) {
  const mine = ++state.opening;
  state.item = item;
  show(item);
  audio.pause();
  $("toggle").classList.add("busy");
  const opened = await trying(() => opening(item));
  if (mine !== state.opening) return; // another track was chosen meanwhile
  $("toggle").classList.remove("busy");
  if (!opened) return;
  tell("");
  if (state.session) api(`/api/v1/player/sessions/${state.session}`, { method: "DELETE" }).catch(() => null); // may be over
  state.session = opened.session;
  state.leased = opened.leased;
  state.complete = state.ended = false;
  state.duration = opened.duration_ms / 1000;
  wave.peaks = opened.peaks || [];
  wave.segments = opened.segments || [];
  audio.src = opened.stream_url;
  if (at) audio.currentTime = at;
  await audio.play().catch((err) => {
    // The browser wants a click before sound; a broken stream has its own event.
    if (err.name === "NotAllowedError") tell("Press play to start: this browser waits for a click before it plays sound.", true);
  });
}

function show(item) {
  $("player").hidden = false;
  $("title").textContent = item.title;
  $("artist").textContent = item.artist;
  cover($("cover"), item);
  document.title = [item.title, item.artist].filter(Boolean).join(" — ");
  state.duration = item.duration_ms / 1000;
  wave.peaks = [];
  wave.segments = [];
  $("peers").replaceChildren();
  $("speed").textContent = "";
  position(0);
  if ("mediaSession" in navigator) {
    navigator.mediaSession.metadata = new MediaMetadata({ title: item.title, artist: item.artist });
  }
}

function position(seconds) {
  const share = state.duration ? Math.min(1, seconds / state.duration) : 0;
  wave.played = share;
  $("elapsed").textContent = clock(seconds);
  $("length").textContent = clock(state.duration);
  const aria = { valuemax: Math.round(state.duration), valuenow: Math.round(seconds), valuetext: `${clock(seconds)} of ${clock(state.duration)}` };
  for (const [name, value] of Object.entries(aria)) $("wave").setAttribute(`aria-${name}`, value);
}

function seek(seconds) {
  if (!state.session) return;
  audio.currentTime = Math.max(0, Math.min(state.duration - 0.1, seconds));
  position(audio.currentTime);
}

function toggle() {
  if (!state.session) return play(Math.max(0, state.index));
  if (audio.paused) audio.play().catch(() => {}); // a failure arrives as the error event below
  else audio.pause();
}

function reopen() {
  // A ticket ends after some minutes, and peers may vanish: ask for a new stream and go on, but not for ever.
  if (!state.session || !state.item || state.ended) return;
  if (performance.now() - state.reopenedAt < 10_000) {
    tell("The sound broke off: no peer that has this track answers. Try again later, or play another.");
    return;
  }
  state.reopenedAt = performance.now();
  begin(state.item, audio.currentTime);
}

// — live facts —

async function watchSession() {
  if (!state.session || state.ended || (state.complete && !state.leased) || document.hidden) return;
  const mine = state.session;
  const facts = await api(`/api/v1/player/sessions/${encodeURIComponent(mine)}?fields=${SESSION_FIELDS}`).catch(() => null);
  if (!facts || mine !== state.session) return;
  if (facts.licensed === false) return end();
  state.complete = facts.complete && facts.first_sound_ms != null;
  wave.segments = facts.segments;
  $("peers").replaceChildren(...legend(facts));
  const sound = facts.first_sound_ms == null ? "" : `first sound ${Math.round(facts.first_sound_ms)} ms`;
  const rate = facts.bytes_fetched ? `${size(facts.bytes_per_s)}/s` : "from this disk";
  $("speed").textContent = [sound, rate].filter(Boolean).join(" · ");
}

function end() {
  state.ended = true;
  audio.pause();
  audio.removeAttribute("src");
  shop.offer(state.item, ENDED);
}

function legend({ segments, peers }) {
  const bytes = new Map(peers.map((each) => [each.peer, each.bytes]));
  return [...new Set(segments.map((each) => each.peer))].map((peer) => {
    const line = element("li");
    const dot = element("i", "dot");
    dot.style.background = palette.color(peer);
    line.title = peer;
    line.append(dot, element("span", "", bytes.has(peer) ? `${brief(peer)} ${size(bytes.get(peer))}` : brief(peer)));
    return line;
  });
}

async function watchNode() {
  if (document.hidden) return;
  const facts = await api("/api/v1/status").catch(() => null);
  const pill = $("node");
  pill.firstChild.className = `dot ${facts ? facts.health : "unhealthy"}`;
  const peers = facts?.swarm.peers;
  pill.lastChild.textContent = facts ? `${peers} ${peers === 1 ? "peer" : "peers"}` : "no answer";
  if (!facts || $("status").hidden) return;
  const rows = [
    ["Node", brief(facts.peer)], ["Running", age(facts.uptime_s)], ["Version", facts.version], ["Peers", peers],
    ["Received", size(facts.swarm.bytes_in)], ["Sent", size(facts.swarm.bytes_out)],
    ["Storage", `${size(facts.storage.bytes_used)} of ${size(facts.storage.bytes_quota)}`],
    ["Library", `${facts.library.tracks} tracks`], ["Vault", facts.locked ? "locked" : "unlocked"],
  ];
  $("facts").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", String(value))]));
  $("advice").textContent = facts.swarm.hint || "";
  const health = await api("/api/v1/health").catch(() => null);
  if (health) $("health").replaceChildren(...Object.entries(health.components).map(component));
}

function component([name, { status, message }]) {
  const line = element("li");
  line.append(element("i", `dot ${status}`), element("b", "", `${name} ${status}`), element("span", "", message));
  return line;
}

// — wiring —

$("search").addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(typing); search(); });
$("query").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(search, 250); });
$("toggle").addEventListener("click", toggle);
$("next").addEventListener("click", () => play(state.index + 1));
$("quality").addEventListener("change", () => state.item && begin(state.item, audio.currentTime));
$("node").addEventListener("click", () => {
  $("status").hidden = !$("status").hidden;
  $("node").setAttribute("aria-expanded", String(!$("status").hidden));
  watchNode();
});
audio.addEventListener("timeupdate", () => position(audio.currentTime));
audio.addEventListener("ended", () => play(state.index + 1));
audio.addEventListener("error", reopen);
for (const name of ["play", "pause", "ended"]) {
  audio.addEventListener(name, () => {
    $("toggle").classList.toggle("playing", !audio.paused);
    $("toggle").setAttribute("aria-label", audio.paused ? "Play" : "Pause");
  });
}
for (const [name, busy] of [["waiting", true], ["playing", false], ["pause", false]]) {
  audio.addEventListener(name, () => $("toggle").classList.toggle("busy", busy));
}
const seekTo = (event) => {
  const box = $("wave").getBoundingClientRect();
  seek(((event.clientX - box.left) / box.width) * state.duration);
};
$("wave").addEventListener("pointerdown", (event) => { $("wave").setPointerCapture(event.pointerId); seekTo(event); });
$("wave").addEventListener("pointermove", (event) => { if ($("wave").hasPointerCapture(event.pointerId)) seekTo(event); });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") return document.activeElement.blur();
  if (/^(INPUT|SELECT)$/.test(event.target.tagName)) return;
  const isPress = event.target.tagName === "BUTTON" && event.key === " ";
  const keys = {
    "/": () => $("query").focus(), " ": toggle, k: toggle, n: () => play(state.index + 1), p: () => play(state.index - 1),
    ArrowRight: () => seek(audio.currentTime + 5), ArrowLeft: () => seek(audio.currentTime - 5), Home: () => seek(0),
  };
  if (isPress || !keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});
if ("mediaSession" in navigator) {
  navigator.mediaSession.setActionHandler("nexttrack", () => play(state.index + 1));
  navigator.mediaSession.setActionHandler("previoustrack", () => play(state.index - 1));
}

async function start() {
  if (await trying(async () => { await open(); return true; })) {
    tell("");
    await Promise.all([search(), watchNode()]);
  } else {
    $("node").lastChild.textContent = "not connected";
  }
}

addEventListener("hashchange", start);
setInterval(watchSession, 500);
setInterval(watchNode, 5000);
start();
