"use strict";
// Replays frames that were rendered when this file was made (see the lines' format in lines.rs of the tool's source).
// Everything that comes from the recorded session is put into the page as text, never as markup.
(async () => {
  const IDLE = 1000;          // ms: pauses longer than this are shortened to it
  const HISTORY = 400;        // rows above the screen that are in the page
  const TICK = 30;            // ms between two screens while playing: there are no more frames
  const KEYFRAME = 100;       // frames between two stored screens
  const MAX_FOUND = 500;      // search results listed
  const MAX_EVENTS = 5000;    // events listed
  const $ = id => document.getElementById(id);
  const make = (tag, text, name) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (name) node.className = name;
    return node;
  };

  const meta = JSON.parse($("meta").textContent);
  const clock = (ms, tenths) => {
    const s = Math.floor(ms / 1000), two = n => String(n).padStart(2, "0");
    const text = (s >= 3600 ? Math.floor(s / 3600) + ":" + two(Math.floor(s / 60) % 60) : Math.floor(s / 60)) + ":" + two(s % 60);
    return tenths ? text + "." + Math.floor(ms % 1000 / 100) : text;
  };

  for (const [name, value] of meta.header) {
    const entry = make("div");
    entry.append(make("dt", name), make("dd", value));
    $("about").append(entry);
  }
  for (const warning of meta.warnings) $("warnings").append(make("div", warning));

  // The data

  async function unpack() {
    const data = $("data");
    if (data.dataset.packing === "plain") return data.textContent;
    if (typeof DecompressionStream === "undefined")
      throw new Error("This browser is too old to unpack the recording. Use one of 2023 or later, or make the file with --uncompressed.");
    const raw = atob(data.textContent.trim());
    const bytes = Uint8Array.from(raw, c => c.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  const styles = [null];
  const events = [];
  const channels = meta.channels.map(about => ({ about, frames: [], history: [], keys: [] }));
  const textOf = row => row.map(run => typeof run === "string" ? run : run[0]).join("");

  function load(text) {
    const now = channels.map(() => ({ rows: [], size: [80, 24] }));
    for (const line of text.split("\n")) {
      if (!line) continue;
      const item = JSON.parse(line);
      if (item[0] === "s") styles[item[1]] = item.slice(2);
      else if (item[0] === "e") events.push({ channel: item[1], t: item[2], kind: item[3], text: item[4] });
      else if (item[0] === "f") {
        const channel = channels[item[1]], state = now[item[1]];
        const frame = { t: item[2], cursor: item[3], changed: item[4], gone: (item[5] || []).length, size: item[6] || null };
        (item[5] || []).forEach((row, n) => channel.history.push(row === 0 ? state.rows[n] : row));
        frame.past = channel.history.length;
        if (frame.size) state.size = frame.size;
        frame.height = state.size[1];
        state.rows = apply(state.rows, frame);
        if (channel.frames.length % KEYFRAME === 0) channel.keys.push({ rows: state.rows.slice(), size: state.size });
        channel.frames.push(frame);
      }
    }
    events.sort((a, b) => a.t - b.t);
  }

  function apply(rows, frame) {
    const next = rows.slice(frame.gone);
    while (next.length < frame.height) next.push([]);
    next.length = frame.height;
    for (let n = 0; n < frame.changed.length; n += 2) next[frame.changed[n]] = frame.changed[n + 1];
    return next;
  }

  // The last frame at or before a time; -1 if none.
  function frameAt(channel, t) {
    let low = 0, high = channel.frames.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (channel.frames[middle].t <= t) low = middle + 1; else high = middle;
    }
    return low - 1;
  }

  // The screen

  let current = 0, position = 0, playing = false, needle = "";
  let shown = { channel: -1, frame: -2, rows: [], size: [80, 24] };
  let historyShown = { from: 0, to: 0 };

  function colour(c) {
    if (c === null || typeof c === "string") return c;
    const base = ["#000000", "#cd3131", "#0dbc79", "#e5e510", "#2472c8", "#bc3fbc", "#11a8cd", "#e5e5e5",
      "#666666", "#f14c4c", "#23d18b", "#f5f543", "#3b8eea", "#d670d6", "#29b8db", "#ffffff"];
    if (c < 16) return base[c];
    if (c >= 232) return "rgb(" + Array(3).fill(8 + (c - 232) * 10).join(",") + ")";
    const level = n => n ? 55 + n * 40 : 0;
    return "rgb(" + [Math.floor((c - 16) / 36), Math.floor((c - 16) / 6) % 6, (c - 16) % 6].map(level).join(",") + ")";
  }

  function drawRow(row) {
    const node = make("div", undefined, "row");
    if (needle && textOf(row).toLowerCase().includes(needle)) node.classList.add("hit");
    for (const run of row) {
      if (typeof run === "string") { node.append(run); continue; }
      const [text, number, columns] = run;
      const span = make("span", text);
      if (columns) { span.style.width = columns + "ch"; span.className = "wide"; }
      const style = styles[number];
      if (style) {
        let [foreground, background, flags] = style;
        if (flags & 1 && typeof foreground === "number" && foreground < 8) foreground += 8;
        let ink = colour(foreground), paper = colour(background);
        if (flags & 32) [ink, paper] = [paper || "var(--screen)", ink || "var(--text)"];
        if (ink) span.style.color = ink;
        if (paper) span.style.background = paper;
        if (flags & 1) span.style.fontWeight = "bold";
        if (flags & 2) span.style.opacity = "0.6";
        if (flags & 4) span.style.fontStyle = "italic";
        const lines = [flags & 8 ? "underline" : "", flags & 64 ? "line-through" : ""].join(" ").trim();
        if (lines) span.style.textDecoration = lines;
      }
      node.append(span);
    }
    return node;
  }

  function drawHistory(channel, past) {
    const box = $("history"), from = Math.max(0, past - HISTORY);
    if (past < historyShown.to || from > historyShown.to) {
      box.replaceChildren();
      historyShown = { from, to: from };
    }
    for (let n = historyShown.to; n < past; n++) box.append(drawRow(channel.history[n]));
    while (historyShown.from < from) { box.firstChild.remove(); historyShown.from++; }
    historyShown.to = past;
  }

  function redraw() {
    shown = { channel: -1, frame: -2, rows: [], size: [80, 24] };
    historyShown = { from: 0, to: 0 };
    $("history").replaceChildren();
    $("rows").replaceChildren();
  }

  function draw() {
    const channel = channels[current];
    $("seek").value = position;
    $("time").textContent = clock(position, true) + " / " + clock(meta.duration);
    $("moment").textContent = moment(position);
    if (!channel) return;
    if (shown.channel !== current) redraw();
    const at = frameAt(channel, position);
    const terminal = $("terminal");
    if (at !== shown.frame) {
      const follow = terminal.scrollTop + terminal.clientHeight >= terminal.scrollHeight - 40 || shown.frame < -1;
      let rows, size, from;
      if (at < 0) { rows = []; size = [80, 24]; from = at; }
      else if (shown.frame >= 0 && shown.frame < at && at - shown.frame < KEYFRAME) ({ rows, size } = shown, from = shown.frame);
      else { const key = channel.keys[Math.floor(at / KEYFRAME)]; rows = key.rows; size = key.size; from = Math.floor(at / KEYFRAME) * KEYFRAME; }
      for (let n = from + 1; n <= at; n++) { rows = apply(rows, channel.frames[n]); size = channel.frames[n].size || size; }
      const box = $("rows");
      while (box.children.length > rows.length) box.lastChild.remove();
      rows.forEach((row, n) => {
        if (n >= box.children.length) box.append(drawRow(row));
        else if (row !== shown.rows[n]) box.children[n].replaceWith(drawRow(row));
      });
      const frame = at >= 0 ? channel.frames[at] : null;
      drawHistory(channel, frame ? frame.past : 0);
      $("screen").style.minWidth = size[0] + "ch";
      const cursor = $("cursor");
      cursor.hidden = !frame || !frame.cursor;
      if (!cursor.hidden) { cursor.style.left = frame.cursor[0] + "ch"; cursor.style.top = frame.cursor[1] * 1.25 + "em"; }
      $("note").textContent = frame ? size[0] + " × " + size[1] : channel.about.note || "Nothing was shown yet.";
      shown = { channel: current, frame: at, rows, size };
      if (follow) terminal.scrollTop = terminal.scrollHeight;
    }
    document.body.dataset.at = Math.round(position);
  }

  function moment(t) {
    const date = new Date(meta.start + t);
    return isNaN(date) ? "" : date.toISOString().replace("T", " ").replace(/\.\d+Z/, "Z");
  }

  // Time

  let last = 0;
  // When something happens next on this channel, and when it did last: what lies between is idle time.
  function gap() {
    const channel = channels[current];
    const at = channel ? frameAt(channel, position) : -1;
    const before = at >= 0 ? channel.frames[at].t : 0;
    const after = channel && at + 1 < channel.frames.length ? channel.frames[at + 1].t : meta.duration;
    return after - before;
  }
  function tick() {
    if (!playing) return;
    const now = performance.now();
    let left = Math.min(now - last, 1000) * Number($("speed").value);
    last = now;
    if ($("idle").checked && gap() > IDLE) left *= gap() / IDLE;
    go(position + left, true);
    if (position >= meta.duration) play(false);
    else setTimeout(tick, TICK);
  }
  function play(on) {
    playing = on;
    $("play").textContent = on ? "Pause" : "Play";
    if (on) {
      if (position >= meta.duration) position = 0;
      last = performance.now();
      setTimeout(tick, TICK);
    }
  }
  function go(t, quietly) {
    position = Math.max(0, Math.min(meta.duration, t));
    draw();
    mark();
    if (!quietly) history.replaceState(null, "", "#t=" + Math.round(position) / 1000 + "&c=" + (channels[current] ? channels[current].about.id : ""));
  }
  function step(by) {
    const channel = channels[current];
    if (!channel || !channel.frames.length) return;
    play(false);
    let at = frameAt(channel, position);
    if (by < 0 && at >= 0 && channel.frames[at].t < position) at++;
    const frame = channel.frames[Math.max(0, Math.min(channel.frames.length - 1, at + by))];
    go(frame.t);
  }

  // Channels, events, search

  function select(n) {
    if (n < 0 || n >= channels.length) return;
    current = n;
    [...$("tabs").children].forEach((tab, m) => tab.setAttribute("aria-selected", m === n));
    draw();
  }
  channels.forEach((channel, n) => {
    const tab = make("button", channel.about.title);
    tab.title = channel.about.title;
    tab.setAttribute("role", "tab");
    tab.addEventListener("click", () => select(n));
    $("tabs").append(tab);
  });

  let items = [];
  function list() {
    events.slice(0, MAX_EVENTS).forEach(event => {
      const item = make("li", undefined, event.kind);
      const where = event.channel === null ? "" : " #" + event.channel;
      const tab = channels.findIndex(channel => channel.about.id === event.channel);
      item.append(make("time", clock(event.t)), make("b", event.kind + where), make("span", event.text));
      item.addEventListener("click", () => { select(tab); go(event.t); });
      $("events").append(item);
      items.push(item);
    });
    if (events.length > MAX_EVENTS) $("events").append(make("li", events.length - MAX_EVENTS + " more are not listed"));
  }
  let marked = null;
  function mark() {
    let low = 0, high = Math.min(events.length, items.length);
    while (low < high) { const middle = (low + high) >> 1; if (events[middle].t <= position) low = middle + 1; else high = middle; }
    const item = items[low - 1] || null;
    if (item === marked) return;
    if (marked) marked.classList.remove("now");
    if (item) { item.classList.add("now"); item.scrollIntoView({ block: "nearest" }); }
    marked = item;
  }

  function* occurrences(text) {
    for (let c = 0; c < channels.length; c++) {
      let rows = [], past = 0;
      const channel = channels[c];
      for (const frame of channel.frames) {
        // Rows that rushed by without being on a screen of any frame, then rows that appeared.
        for (let n = past; n < frame.past; n++) {
          const row = channel.history[n];
          if (row !== rows[n - past] && textOf(row).toLowerCase().includes(text)) yield { t: frame.t, c, text: textOf(row) };
        }
        past = frame.past;
        const moved = rows.slice(frame.gone);
        rows = apply(rows, frame);
        for (let n = 0; n < frame.changed.length; n += 2) {
          const number = frame.changed[n], now = textOf(frame.changed[n + 1]);
          const before = moved[number] ? textOf(moved[number]).toLowerCase() : "";
          if (now.toLowerCase().includes(text) && !before.includes(text)) yield { t: frame.t, c, text: now };
        }
      }
    }
  }
  function search(text) {
    needle = text.trim().toLowerCase();
    const found = $("found");
    found.replaceChildren();
    $("search").classList.toggle("used", needle !== "");
    let count = 0;
    if (needle) for (const hit of occurrences(needle)) {
      if (++count > MAX_FOUND) continue;
      const item = make("li");
      item.append(make("time", clock(hit.t)), make("b", "#" + channels[hit.c].about.id), make("span", hit.text.trim()));
      item.addEventListener("click", () => { play(false); select(hit.c); go(hit.t); });
      found.append(item);
    }
    $("count").textContent = count + (count === 1 ? " place" : " places") + (count > MAX_FOUND ? ", the first " + MAX_FOUND + " are listed" : "");
    redraw();
    draw();
  }

  // Hands

  $("play").addEventListener("click", () => play(!playing));
  $("seek").addEventListener("input", () => go(Number($("seek").value)));
  $("form").addEventListener("submit", event => { event.preventDefault(); search($("query").value); });
  $("query").addEventListener("search", () => search($("query").value));
  document.addEventListener("keydown", event => {
    if (event.target.matches("input[type=search], select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = {
      " ": () => play(!playing), ".": () => step(1), ",": () => step(-1), "/": () => $("query").focus(),
      ArrowRight: () => go(position + 5000), ArrowLeft: () => go(position - 5000), Home: () => go(0), End: () => go(meta.duration),
    };
    const act = keys[event.key] || (/^[0-9]$/.test(event.key) && (() => go(meta.duration * Number(event.key) / 10)));
    if (act) { event.preventDefault(); act(); }
  });

  try {
    load(await unpack());
  } catch (error) {
    $("warnings").append(make("div", error.message));
    document.body.dataset.state = "failed";
    return;
  }
  $("seek").max = meta.duration;
  list();
  const wanted = new URLSearchParams(location.hash.slice(1));
  select(Math.max(0, channels.findIndex(channel => wanted.has("c") ? String(channel.about.id) === wanted.get("c") : channel.frames.length)));
  if (wanted.get("q")) { $("query").value = wanted.get("q"); search(wanted.get("q")); }
  go(Number(wanted.get("t") || 0) * 1000, true);
  if (wanted.has("play")) play(true);
  document.body.dataset.state = "ready";
})();
