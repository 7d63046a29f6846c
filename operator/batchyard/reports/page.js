"use strict";
(async () => {
  const byId = (id) => document.getElementById(id);
  const unpacked = async (id) => {
    const packed = Uint8Array.from(atob(byId(id).textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };
  const about = JSON.parse(new TextDecoder().decode(await unpacked("about")));
  const bytes = await unpacked("columns");
  const total = bytes.length / about.layout.reduce((sum, [, size]) => sum + size, 0);
  const column = {};
  let offset = 0;
  for (const [name, size] of about.layout) {
    const values = new Uint32Array(total);
    for (let place = 0; place < size; place++, offset += total) {
      for (let i = 0; i < total; i++) values[i] |= bytes[offset + i] << (8 * place);
    }
    column[name] = values;
  }
  const amounts = new Float64Array(65536);
  for (let code = 1; code < 65536; code++) amounts[code] = about.least * Math.exp((code - 1) * about.step);
  const amount = (name, i) => amounts[column[name][i]];
  const score = (i) => (column.score[i] === 255 ? null : column.score[i] / 250);
  const start = (i) => (column.start[i] / 65535) * about.lastStart / 1000;
  const PASSED = about.outcomes.indexOf("Passed");
  const judgedOnes = new Set(["Passed", "Failed", "TimedOut", "NeedsInput"].map((one) => about.outcomes.indexOf(one)));
  const combination = (n) => about.combinations[n] ?? `combination no. ${n + 1}`;
  const caseName = (n) => about.cases[n] ?? `case no. ${n + 1}`;
  const idOf = (i) => `${combination(column.combination[i])}/${caseName(column.case[i])}/${column.repeat[i]}`;
  const brief = (value) => (value === null || value === undefined ? "-" : String(Number(value.toPrecision(4))));
  const time = (value) => (value < 1 ? `${brief(value * 1000)} ms` : `${brief(value)} s`);

  // Every text goes in as text: nothing that a workflow wrote is ever read as HTML.
  const make = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    if (text instanceof Node) made.append(text);
    else if (text !== undefined && text !== null) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const fill = (table, heads, rows) => {
    const head = make("tr");
    for (const title of heads) head.append(make("th", title, { scope: "col" }));
    table.tHead.replaceChildren(head);
    table.tBodies[0].replaceChildren(...rows.map((cells) => {
      const row = make("tr");
      cells.forEach((cell, n) => row.append(
        cell instanceof HTMLTableCellElement ? cell : n ? make("td", cell) : make("th", cell, { scope: "row" })));
      return row;
    }));
  };
  const tableOf = (caption, heads, rows) => {
    const table = make("table");
    table.append(make("caption", caption), make("thead"), make("tbody"));
    fill(table, heads, rows);
    const wide = make("div", table, { class: "wide", tabindex: "0", role: "region", "aria-label": caption });
    return wide;
  };
  const pager = (place, noun, size, draw) => {
    let page = 0;
    const back = make("button", `Previous ${noun}`, { type: "button" });
    const on = make("button", `Next ${noun}`, { type: "button" });
    const said = make("span", "", { role: "status" });
    const show = (count) => {
      const pages = Math.max(1, Math.ceil(count / size));
      page = Math.min(page, pages - 1);
      back.disabled = page === 0;
      on.disabled = page === pages - 1;
      const last = Math.min(count, (page + 1) * size);
      said.textContent = count ? `${noun} ${page * size + 1} to ${last} of ${count}` : `no ${noun}`;
      return [page * size, last];
    };
    back.addEventListener("click", () => { page--; draw(); });
    on.addEventListener("click", () => { page++; draw(); });
    byId(place).append(back, on, said);
    return { show, reset: () => { page = 0; } };
  };

  // -- one trial ---------------------------------------------------------------------------------------------------
  const dialog = byId("trial");
  const facts = (pairs) => {
    const list = make("dl", null, { class: "facts" });
    for (const [name, value] of pairs) {
      const pair = make("div");
      pair.append(make("dt", name), make("dd", value));
      list.append(pair);
    }
    return list;
  };
  const open = (i) => {
    const detail = about.details[i];
    const id = detail ? detail.id : idOf(i);
    const body = byId("trial-body");
    byId("trial-title").textContent = `Trial ${id}`;
    const exact = detail ?? { outcome: about.outcomes[column.outcome[i]], score: score(i), seconds: amount("seconds", i) };
    const shown = [["outcome", exact.outcome], ["score", brief(exact.score)], ["time", time(exact.seconds)]];
    if (about.trialSeconds) shown.push(["deadline", time(about.trialSeconds)]);
    shown.push(["tokens", brief(amount("tokens", i))], ["cost", brief(amount("cost", i))]);
    const parts = [facts(shown)];
    if (detail) {
      parts.push(facts([["reason", detail.reason || "-"], ["attempt", detail.attempt], ["slot", detail.worker || "-"],
        ["started", detail.started]]));
      if (detail.fault) parts.push(make("p", make("strong", `At fault: ${detail.fault}.`)));
      if (detail.message) parts.push(make("pre", detail.message));
      parts.push(make("h3", "Node boundaries"));
      if (detail.skipped) parts.push(make("p", `The last 50; ${detail.skipped} before them are left out.`));
      parts.push(tableOf("Each node's run, between two checkpoints",
        ["node", "status", "time", "step", "checkpoint before", "checkpoint after", "error"],
        detail.nodes.map(([node, status, seconds, step, before, after, error]) =>
          [node, status, time(seconds), step, before || "-", after || "-", error || "-"])));
      if (detail.scores.length) {
        parts.push(make("h3", "Scores"), tableOf("What each evaluator said", ["evaluator", "score", "weight", "error"],
          detail.scores.map(([name, value, weight, error]) => [name, brief(value), brief(weight), error || "-"])));
      }
      const metrics = Object.entries(detail.metrics);
      if (metrics.length) parts.push(make("h3", "Metrics"), facts(metrics.map(([name, value]) => [name, brief(value)])));
      parts.push(make("h3", "Audit entries"));
      const listed = detail.entries.length;
      if (!listed) parts.push(make("p", "None are in this file."));
      else if (detail.more) parts.push(make("p", `The first ${listed} of ${listed + detail.more}.`));
      if (listed) {
        parts.push(tableOf("Entries of this trial", ["entry", "at", "type", "severity", "message"], detail.entries));
      }
    } else {
      parts.push(make("p", "This file has only the numbers of this trial. The rest of it:"));
    }
    parts.push(make("pre", `batchyard show ${about.batch}${about.options} --trial '${id.replaceAll("'", "'\\''")}'`));
    body.replaceChildren(...parts);
    dialog.showModal();
    byId("trial-title").focus();
  };
  byId("trial-close").addEventListener("click", () => dialog.close());
  const opener = (text, i, label) => {
    const button = make("button", text, { type: "button", "aria-haspopup": "dialog" });
    if (label) button.setAttribute("aria-label", label);
    button.addEventListener("click", () => open(i));
    return button;
  };

  // -- heat map: cells are gathered once ---------------------------------------------------------------------------
  let combinations = 0, cases = 0;
  for (let i = 0; i < total; i++) {
    combinations = Math.max(combinations, column.combination[i] + 1);
    cases = Math.max(cases, column.case[i] + 1);
  }
  const size = combinations * cases;
  const cell = { judged: new Uint32Array(size), passed: new Uint32Array(size), scored: new Uint32Array(size),
    sum: new Float64Array(size), first: new Int32Array(size).fill(-1), bad: new Int32Array(size).fill(-1) };
  const ofCase = { judged: new Uint32Array(cases), passed: new Uint32Array(cases) };
  for (let i = 0; i < total; i++) {
    const at = column.case[i] * combinations + column.combination[i];
    if (cell.first[at] < 0) cell.first[at] = i;
    const outcome = column.outcome[i];
    if (outcome !== PASSED && cell.bad[at] < 0) cell.bad[at] = i;
    if (!judgedOnes.has(outcome)) continue;
    cell.judged[at]++;
    ofCase.judged[column.case[i]]++;
    if (outcome === PASSED) { cell.passed[at]++; ofCase.passed[column.case[i]]++; }
    // As the gate counts: what failed without a score is worth 0, what passed without one says nothing.
    const worth = score(i) ?? (about.scored && outcome !== PASSED ? 0 : null);
    if (worth !== null) { cell.scored[at]++; cell.sum[at] += worth; }
  }
  const ranked = [...new Set([...about.ranked.map((row) => row.number), ...Array(combinations).keys()])];
  const share = (n) => (ofCase.judged[n] ? ofCase.passed[n] / ofCase.judged[n] : 2);
  const worst = Uint32Array.from({ length: cases }, (_, n) => n).sort((a, b) => share(a) - share(b) || a - b);
  const WIDTH = 12;
  let left = 0;
  const heatPages = pager("heat-pages", "cases", 25, () => drawHeat());
  const drawHeat = () => {
    const wanted = byId("heat-find").value.toLowerCase();
    let order = byId("heat-order").value === "worst" ? worst : worst.slice().sort();
    if (wanted) order = order.filter((n) => caseName(n).toLowerCase().includes(wanted));
    const [from, to] = heatPages.show(order.length);
    const shown = ranked.slice(left, left + WIDTH);
    fill(byId("heat-table"), ["case", ...shown.map(combination)], [...order.slice(from, to)].map((n) => [caseName(n),
      ...shown.map((c) => {
        const at = n * combinations + c;
        if (cell.first[at] < 0) return make("td", "-");
        const judged = cell.judged[at], passed = cell.passed[at];
        const mean = cell.scored[at] ? cell.sum[at] / cell.scored[at] : null;
        const told = `${passed}/${judged}${mean === null ? "" : ` · ${mean.toFixed(2)}`}`;
        const label = `${caseName(n)}, ${combination(c)}: ${passed} of ${judged} passed` +
          (mean === null ? "" : `, score ${mean.toFixed(2)}`);
        const level = judged ? ` l${Math.floor((passed / judged) * 4)}` : "";
        return make("td", opener(told, cell.bad[at] < 0 ? cell.first[at] : cell.bad[at], label), { class: `c${level}` });
      })]));
  };
  if (combinations > WIDTH) {
    const step = (by, text) => {
      const button = make("button", text, { type: "button" });
      button.addEventListener("click", () => {
        left = Math.min(Math.max(0, left + by), Math.floor((combinations - 1) / WIDTH) * WIDTH);
        drawHeat();
      });
      byId("heat-pages").append(button);
    };
    step(-WIDTH, "Previous combinations");
    step(WIDTH, "Next combinations");
  }
  byId("heat-find").addEventListener("input", () => { heatPages.reset(); drawHeat(); });
  byId("heat-order").addEventListener("change", () => { heatPages.reset(); drawHeat(); });

  // -- the list of trials ------------------------------------------------------------------------------------------
  const counts = new Uint32Array(about.outcomes.length);
  for (let i = 0; i < total; i++) counts[column.outcome[i]]++;
  const outcomePick = byId("trials-outcome"), combinationPick = byId("trials-combination");
  outcomePick.append(make("option", `all (${total})`, { value: "all" }),
    make("option", `did not pass (${total - counts[PASSED]})`, { value: "bad" }));
  about.outcomes.forEach((name, n) => {
    if (counts[n]) outcomePick.append(make("option", `${name} (${counts[n]})`, { value: n }));
  });
  outcomePick.value = total - counts[PASSED] ? "bad" : "all";
  combinationPick.append(make("option", "all", { value: "all" }));
  for (const n of ranked) combinationPick.append(make("option", combination(n), { value: n }));
  const trialPages = pager("trials-pages", "trials", 25, () => drawTrials());
  const drawTrials = () => {
    const outcome = outcomePick.value, chosen = combinationPick.value, wanted = byId("trials-find").value.toLowerCase();
    const found = [];
    for (let i = 0; i < total; i++) {
      if (outcome === "bad" ? column.outcome[i] === PASSED : outcome !== "all" && column.outcome[i] !== +outcome) continue;
      if (chosen !== "all" && column.combination[i] !== +chosen) continue;
      if (wanted && !caseName(column.case[i]).toLowerCase().includes(wanted)) continue;
      found.push(i);
    }
    const [from, to] = trialPages.show(found.length);
    fill(byId("trials-table"), ["trial", "outcome", "score", "time", "tokens", "cost", "at fault"],
      found.slice(from, to).map((i) => [make("th", opener(idOf(i), i), { scope: "row" }),
        about.outcomes[column.outcome[i]], brief(score(i)), time(amount("seconds", i)),
        brief(amount("tokens", i)), brief(amount("cost", i)), about.details[i]?.fault || "-"]));
  };
  for (const [id, kind] of [["trials-outcome", "change"], ["trials-combination", "change"], ["trials-find", "input"]]) {
    byId(id).addEventListener(kind, () => { trialPages.reset(); drawTrials(); });
  }

  // -- pictures ----------------------------------------------------------------------------------------------------
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const canvasOf = (id, height) => {
    const canvas = byId(id), ratio = devicePixelRatio || 1, width = canvas.clientWidth || 800;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = "12px system-ui, sans-serif";
    return [pen, width, height];
  };
  const tones = about.outcomes.map((name) =>
    ({ Passed: "good", Failed: "bad", TimedOut: "late", NeedsInput: "unsure" })[name] ?? "other");
  const slot = (i) => (column.worker[i] === 65535 ? about.workers.length : column.worker[i]);
  const slots = [];
  const TIMED_OUT = about.outcomes.indexOf("TimedOut");
  let end = 0, carried = 0, late = 0;
  for (let i = 0; i < total; i++) {
    // What was carried over ran on slots and at times of another batch.
    if (column.worker[i] === about.carriedSlot) { carried++; continue; }
    late += column.outcome[i] === TIMED_OUT;
    const one = (slots[slot(i)] ??= { trials: 0, busy: 0, bad: 0 });
    one.trials++;
    one.busy += amount("seconds", i);
    one.bad += column.outcome[i] !== PASSED;
    end = Math.max(end, start(i) + amount("seconds", i));
  }
  const slotName = (n) => about.workers[n] || (n < about.workers.length ? "not told" : "others");
  const LANES = 64;
  const drawTimeline = () => {
    const used = [...slots.keys()].filter((n) => slots[n]), lanes = used.slice(0, LANES);
    const lane = new Map(lanes.map((n, at) => [n, at]));
    const tall = Math.max(6, Math.min(22, Math.floor(420 / Math.max(1, lanes.length))));
    const [pen, width, height] = canvasOf("timeline-canvas", lanes.length * tall + 34);
    const near = about.deadline <= end * 3;
    const span = Math.max(end, near ? about.deadline : 0, 1e-6);
    const at = (seconds) => 70 + (seconds / span) * (width - 90);
    pen.fillStyle = colour("fg");
    lanes.forEach((n, place) => { if (tall >= 12) pen.fillText(slotName(n).slice(0, 10), 2, place * tall + tall - 3); });
    for (let i = 0; i < total; i++) {
      const place = lane.get(slot(i));
      if (place === undefined) continue;
      const from = at(start(i)), wide = Math.max(1, at(start(i) + amount("seconds", i)) - from);
      pen.fillStyle = colours[tones[column.outcome[i]]];
      pen.fillRect(from, place * tall + 1, wide - (wide > 3 ? 1 : 0), tall - 3);
      if (about.trialSeconds && total <= 2000) {
        // Where this trial would have been ended.
        pen.fillStyle = colours.soft;
        pen.fillRect(at(start(i) + about.trialSeconds), place * tall + 1, 1, tall - 3);
      }
    }
    pen.fillStyle = colour("fg");
    const foot = lanes.length * tall + 16;
    pen.fillText("0 s", 70, foot);
    pen.fillText(time(span), width - 60, foot);
    if (near) {
      pen.fillStyle = colour("bad");
      pen.fillRect(at(about.deadline) - 1, 0, 2, height - 30);
      pen.fillText("deadline", at(about.deadline) - 50, foot + 14);
    }
    byId("timeline-said").textContent = `${total - carried} trials on ${used.length} slots in ${time(end)}; ` +
      `the batch's deadline was at ${time(about.deadline)}${near ? "" : ", beyond the right edge"}. ` +
      (about.trialSeconds ? `Each trial could take ${time(about.trialSeconds)}` +
        `${total <= 2000 ? " (thin marks)" : ""}; ${late} ran out of it. ` : `${late} ran out of time. `) +
      (carried ? `${carried} more were carried over from another batch and are not drawn. ` : "") +
      (used.length > LANES ? `The first ${LANES} slots are drawn. ` : "") +
      "Green passed, red failed, orange timed out.";
  };
  const drawScatter = () => {
    const name = byId("scatter-x").value;
    const [pen, width, height] = canvasOf("scatter-canvas", 360);
    let most = 0;
    for (let i = 0; i < total; i++) most = Math.max(most, amount(name, i));
    const x = (value) => 40 + (value / (most || 1)) * (width - 60), y = (value) => height - 30 - value * (height - 50);
    pen.fillStyle = colours.point;
    let drawn = 0;
    for (let i = 0; i < total; i++) {
      if (score(i) === null) continue;
      drawn++;
      pen.fillRect(x(amount(name, i)) - 1.5, y(score(i)) - 1.5, 3, 3);
    }
    pen.strokeStyle = pen.fillStyle = colour("fg");
    pen.strokeRect(40, 20, width - 60, height - 50);
    pen.fillText("1", 26, 26);
    pen.fillText("0", 26, height - 28);
    const unit = name === "seconds" ? time(most) : brief(most);
    pen.fillText(`${name} up to ${unit}`, 44, height - 12);
    const labels = [];
    for (const row of about.ranked.filter((row) => row.score !== null).slice(0, 20)) {
      const px = x(row[name] ?? 0), py = y(row.score);
      pen.beginPath();
      pen.arc(px, py, 5, 0, 7);
      pen.fill();
      const label = combination(row.number).slice(0, 24);
      const wide = pen.measureText(label).width, from = Math.min(px + 8, width - 24 - wide);
      // A name that would lie on another is left to the table.
      if (labels.some(([x0, x1, y0]) => from < x1 && from + wide > x0 && Math.abs(py - y0) < 13)) continue;
      labels.push([from, from + wide, py]);
      pen.fillText(label, from, py - 6);
    }
    byId("scatter-said").textContent = `${drawn} scored trials as small squares, the means of the first 20 combinations ` +
      `as dots, with names where there is room. ${most ? "" : `No trial reported ${name}.`}`;
  };
  let colours = {};
  const draw = () => {
    colours = Object.fromEntries(["good", "bad", "late", "unsure", "other", "soft", "point"].map((n) => [n, colour(n)]));
    drawTimeline();
    drawScatter();
  };
  fill(byId("slots-table"), ["slot", "trials", "busy", "did not pass"], [...slots.keys()].filter((n) => slots[n])
    .map((n) => [slotName(n), slots[n].trials, time(slots[n].busy), slots[n].bad]));
  fill(byId("means-table"), ["combination", "score", "time", "cost", "tokens"], about.ranked.map((row) =>
    [combination(row.number), brief(row.score), row.seconds === null ? "-" : time(row.seconds), brief(row.cost),
      brief(row.tokens)]));
  byId("scatter-x").addEventListener("change", drawScatter);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("resize", draw);
  drawHeat();
  drawTrials();
  draw();
  document.documentElement.dataset.ready = "yes";
})();
