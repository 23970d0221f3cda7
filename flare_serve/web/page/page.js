"use strict";
// Hands in scans, follows their jobs, and shows what was made of them. Texts from elsewhere are only ever text.
(() => {
  const find = (id) => document.getElementById(id);
  const ONE_EACH = /\.(nii|nii\.gz|mha|nrrd|zip)$/i;
  const FINAL = new Set(["done", "failed"]);
  const SECOND_MS = 1000;
  const jobs = new Map(); // id: { job, item }
  let stream = null;

  function made(tag, text = "", fields = {}) {
    const node = document.createElement(tag);
    node.textContent = text;
    return Object.assign(node, fields);
  }
  const say = (text) => { find("said").textContent = text; };

  // Sign in.

  async function isKnown() {
    return (await fetch("session")).ok;
  }
  async function signIn(token) {
    const done = await fetch("session", { method: "POST", body: new URLSearchParams({ token }) });
    return done.ok;
  }
  function askForToken() {
    if (stream) stream.close();
    find("main").hidden = true;
    find("login").hidden = false;
    find("token").focus();
  }
  find("login").addEventListener("submit", async (event) => {
    event.preventDefault();
    const ok = await signIn(find("token").value);
    find("wrong").hidden = ok;
    if (ok) { find("token").value = ""; begin(); }
  });

  async function begin() {
    find("login").hidden = true;
    find("main").hidden = false;
    follow();
    const facts = await (await fetch("model")).json();
    find("model").textContent = `Model ${facts.model} on ${facts.devices}, version ${facts.version}.`;
  }

  // Follow jobs.

  function follow() {
    stream = new EventSource("events");
    stream.addEventListener("open", () => { find("connection").textContent = ""; });
    stream.addEventListener("job", (event) => show(JSON.parse(event.data)));
    stream.addEventListener("removed", (event) => forget(JSON.parse(event.data).id));
    stream.addEventListener("error", async () => {
      find("connection").textContent = "The connection is lost; trying again ...";
      if (stream.readyState !== EventSource.CLOSED) return;
      const asked = await isKnown().then((known) => !known, () => false);
      if (asked) askForToken(); else setTimeout(follow, 3 * SECOND_MS);
    });
  }

  function forget(id) {
    const known = jobs.get(id);
    if (!known) return;
    if (known.item.contains(document.activeElement)) find("choose-files").focus();
    known.item.remove();
    jobs.delete(id);
    if (find("result").dataset.job === id) closeResult();
    find("none").hidden = jobs.size > 0;
  }

  function show(job) {
    let known = jobs.get(job.id);
    if (!known) {
      known = { item: newItem(job.id) };
      jobs.set(job.id, known);
      const later = Array.from(find("jobs").children).find((other) => other.dataset.created < job.created);
      known.item.dataset.created = job.created;
      find("jobs").insertBefore(known.item, later || null);
    } else if (known.job.state !== job.state && FINAL.has(job.state)) {
      say(`${job.name}: ${job.state}`);
    }
    known.job = job;
    fill(known.item, job);
    find("none").hidden = true;
  }

  function newItem(id) {
    const item = made("li");
    item.id = `job-${id}`;
    const head = made("div", "", { className: "head" });
    head.append(made("h3"), made("span", "", { className: "when" }));
    const actions = made("div", "", { className: "actions" });
    const remove = made("button", "Delete", { type: "button" });
    remove.addEventListener("click", () => askToRemove(id, remove));
    actions.append(remove);
    item.append(head, made("p", "", { className: "state" }), made("progress"), made("div", "", { className: "more" }), actions);
    return item;
  }

  function inWords(job) {
    const { windows_done: done, windows } = job.progress;
    if (job.state === "queued") return job.place ? `waits for ${job.place} other${job.place > 1 ? "s" : ""}` : "is next";
    if (job.state === "running") return windows ? `is segmented: ${done} of ${windows} windows` : "is read";
    if (job.state === "failed") return `failed: ${job.reason}`;
    return `done in ${job.seconds.toFixed(1)} s`;
  }

  function fill(item, job) {
    const [title, when] = item.querySelector(".head").children;
    title.textContent = job.name;
    when.textContent = new Date(job.created).toLocaleString();
    const state = item.querySelector(".state");
    state.textContent = inWords(job);
    state.classList.toggle("failed", job.state === "failed");
    item.dataset.state = job.state;
    const bar = item.querySelector("progress");
    bar.hidden = FINAL.has(job.state);
    bar.setAttribute("aria-label", `Progress of ${job.name}`);
    if (job.progress.windows) { bar.max = job.progress.windows; bar.value = job.progress.windows_done; }
    else bar.removeAttribute("value");
    const actions = item.querySelector(".actions");
    actions.lastChild.setAttribute("aria-label", `Delete ${job.name}`);
    if (job.state !== "done" || actions.childElementCount > 1) return;
    const open = made("button", "Show", { type: "button" });
    open.setAttribute("aria-label", `Show ${job.name}`);
    open.addEventListener("click", () => openResult(job));
    const links = Object.entries(job.results).filter(([name]) => name !== "report.html");
    actions.prepend(open, ...links.map(([name, href]) => made("a", name, { href, download: "" })));
    tellDoubts(item.querySelector(".more"), [...job.flags, ...job.notices]);
  }

  function tellDoubts(place, lines) {
    if (!lines.length) return;
    const list = made("ul");
    list.append(...lines.map((line) => made("li", line)));
    const details = made("details");
    details.append(made("summary", `${lines.length} reason${lines.length > 1 ? "s" : ""} to look with care`), list);
    place.replaceChildren(details);
  }

  function askToRemove(id, button) {
    if (button.dataset.asked) { removeJob(id, button); return; }
    button.dataset.asked = "yes";
    button.textContent = "Delete for good?";
    setTimeout(() => { delete button.dataset.asked; button.textContent = "Delete"; }, 5 * SECOND_MS);
  }

  async function removeJob(id, button) {
    button.disabled = true;
    const name = jobs.get(id).job.name;
    const done = await fetch(`jobs/${id}`, { method: "DELETE" });
    button.disabled = false;
    if (done.status === 401) askForToken();
    if (done.ok || done.status === 404) { forget(id); say(`${name}: deleted`); }
  }

  // The result of a job.

  function openResult(job) {
    const section = find("result");
    section.dataset.job = job.id;
    find("result-title").textContent = job.name;
    find("alone").href = job.results["report.html"];
    find("viewer").src = job.results["report.html"];
    section.hidden = false;
    section.focus();
    section.scrollIntoView();
  }
  function closeResult() {
    const known = jobs.get(find("result").dataset.job);
    find("result").hidden = true;
    find("viewer").removeAttribute("src");
    (known ? known.item.querySelector("button") : find("choose-files")).focus();
  }
  find("close").addEventListener("click", closeResult);

  // Hand in.

  function handIn(files) {
    const single = files.filter((file) => ONE_EACH.test(file.name));
    const slices = files.filter((file) => !ONE_EACH.test(file.name));
    for (const file of single) upload([file], file.name);
    if (slices.length) upload(slices, slices.length > 1 ? `${slices.length} files` : slices[0].name);
  }

  function upload(files, name) {
    const item = made("li");
    const text = made("p", `${name}: is sent`);
    const bar = made("progress", "", { max: 1 });
    bar.setAttribute("aria-label", `Upload of ${name}`);
    const stop = made("button", "Stop", { type: "button" });
    stop.setAttribute("aria-label", `Stop the upload of ${name}`);
    item.append(text, bar, stop);
    find("uploads").append(item);

    const request = new XMLHttpRequest();
    let body = files[0];
    request.open("POST", files.length > 1 ? "jobs" : `jobs?name=${encodeURIComponent(name)}`);
    if (files.length > 1) {
      body = new FormData();
      for (const file of files) body.append("file", file, file.name);
    } else {
      request.setRequestHeader("Content-Type", "application/octet-stream");
    }
    const fail = (reason) => {
      text.textContent = `${name}: ${reason}`;
      text.className = "failed";
      bar.remove();
      stop.textContent = "Dismiss";
      stop.setAttribute("aria-label", `Dismiss the message about ${name}`);
      say(text.textContent);
    };
    request.upload.addEventListener("progress", (event) => { if (event.lengthComputable) bar.value = event.loaded / event.total; });
    request.addEventListener("load", () => {
      if (request.status === 401) askForToken();
      if (request.status !== 201) { fail(reasonOf(request)); return; }
      item.remove();
      show(JSON.parse(request.responseText));
      say(`${name}: was accepted`);
    });
    request.addEventListener("error", () => fail("the connection was lost; send it again"));
    stop.addEventListener("click", () => { request.abort(); item.remove(); });
    request.send(body);
  }

  function reasonOf(request) {
    try { return JSON.parse(request.responseText).detail; }
    catch { return `refused with status ${request.status}`; }
  }

  for (const kind of ["files", "folder"]) {
    const input = find(kind);
    find(`choose-${kind}`).addEventListener("click", () => input.click());
    input.addEventListener("change", () => { handIn(Array.from(input.files)); input.value = ""; });
  }

  // Dropped folders are read to any depth.
  async function filesOf(entry) {
    if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
    const reader = entry.createReader();
    const found = [];
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return found;
      for (const inside of some) found.push(...await filesOf(inside));
    }
  }
  const drop = find("drop");
  let depth = 0;
  const isOver = (change) => { depth = Math.max(0, depth + change); drop.classList.toggle("over", depth > 0); };
  for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
  drop.addEventListener("dragenter", () => isOver(1));
  drop.addEventListener("dragleave", () => isOver(-1));
  drop.addEventListener("drop", async (event) => {
    isOver(-depth);
    const entries = Array.from(event.dataTransfer.items, (one) => one.webkitGetAsEntry()).filter(Boolean);
    const found = [];
    for (const entry of entries) found.push(...await filesOf(entry));
    handIn(found.length ? found : Array.from(event.dataTransfer.files));
  });

  // Begin: the token may stand in the address that the program printed.
  (async () => {
    const given = new URLSearchParams(location.hash.slice(1)).get("token");
    if (given) {
      history.replaceState(null, "", location.pathname);
      await signIn(given);
    }
    if (await isKnown()) begin(); else askForToken();
  })();
})();
