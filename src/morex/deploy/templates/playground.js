"use strict";
// The playground. All figures come from the server; this script asks for them and shows them.
(() => {
  const setup = JSON.parse(document.getElementById("setup").textContent);
  const at = (id) => document.getElementById(id);
  const percent = (share) => `${(100 * share).toFixed(1)}%`;
  const known = [...setup.transforms, ...setup.searched];
  const inputs = new Map();

  function make(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  // ---- The state, which the address keeps: #image=3&at.fog=0.5&attack=pgd:linf&seed=0

  const fresh = () => ({sample: 0, picture: null, strengths: {}, attack: null, steps: 20, seed: 0});
  let state = fresh();

  const strength = (name) => state.strengths[name] ?? (isSearched(name) ? 1 : 0);
  const isSearched = (name) => setup.searched.some((one) => one.name === name);
  const whole = (text, least, most, otherwise) =>
    /^\d+$/.test(text ?? "") ? Math.min(most, Math.max(least, Number(text))) : otherwise;

  function readAddress() {
    const said = new URLSearchParams(location.hash.slice(1));
    state = fresh();
    state.sample = whole(said.get("image"), 0, setup.samples.length - 1, 0);
    state.picture = said.get("picture")?.replaceAll("-", "+").replaceAll("_", "/") ?? null;
    state.steps = whole(said.get("steps"), 1, setup.most_steps, 20);
    state.seed = whole(said.get("seed"), 0, 2147483647, 0);
    for (const {name, strengths} of known) {
      const wanted = said.get(`at.${name}`);
      const found = strengths.find(({factor}) => wanted !== null && factor === Number(wanted));
      if (found && (found.factor > 0 || !isSearched(name))) state.strengths[name] = found.factor;
    }
    const [kind, ...within] = (said.get("attack") ?? "").split(":");
    const name = within.join(":");
    if (isSearched(name) && (kind === "pgd" || (kind === "steering" && setup.gate))) state.attack = {kind, within: name};
  }

  function writeAddress() {
    const said = new URLSearchParams();
    if (state.picture) said.set("picture", state.picture.replaceAll("+", "-").replaceAll("/", "_"));
    else said.set("image", state.sample);
    for (const {name} of known) {
      if (strength(name) !== (isSearched(name) ? 1 : 0)) said.set(`at.${name}`, strength(name));
    }
    if (state.attack) said.set("attack", `${state.attack.kind}:${state.attack.within}`);
    if (state.steps !== 20) said.set("steps", state.steps);
    if (state.seed) said.set("seed", state.seed);
    history.replaceState(null, "", `#${said}`);
    at("copied").textContent = "";
  }

  // ---- Asking: one request at a time, and only the last wish counts

  let asking = false, stale = false;

  function wish() {
    const strengths = Object.fromEntries(
      setup.transforms.map(({name}) => [name, strength(name)]).filter(([, factor]) => factor > 0));
    const attack = state.attack && {...state.attack, radius: strength(state.attack.within), steps: state.steps};
    const image = state.picture ? {picture: state.picture} : {sample: state.sample};
    return {...image, strengths, attack, seed: state.seed};
  }

  async function post(path, body) {
    const answer = await fetch(path, {method: "POST", body});
    const content = await answer.json().catch(() => ({error: `the server answered ${answer.status}`}));
    if (!answer.ok) throw new Error(content.error);
    return content;
  }

  async function ask() {
    writeAddress();
    showControls();
    stale = true;
    if (asking) return;
    asking = true;
    document.querySelector(".seen").setAttribute("aria-busy", "true");
    while (stale) {
      stale = false;
      try {
        const found = await post("/play", JSON.stringify(wish()));
        if (!stale) { complain(""); show(found); }
      } catch (error) { complain(error); }
    }
    document.querySelector(".seen").setAttribute("aria-busy", "false");
    asking = false;
  }

  function complain(error) {
    const lost = error instanceof TypeError ? "the server does not answer; is it still running?" : error.message;
    at("trouble").hidden = !error;
    at("trouble").textContent = error ? `This did not work: ${lost}` : "";
  }

  // ---- Showing

  function show(found) {
    const {before, after, difference} = found;
    at("before-picture").src = before.picture;
    at("after-picture").src = after.picture;
    at("before-picture").alt = `the picture as the model sees it: ${before.classes[0].name}`;
    at("after-picture").alt = `the picture after what happened to it: ${after.classes[0].name}`;
    at("no-difference").hidden = difference !== null;
    at("difference-picture").hidden = difference === null;
    at("factor").textContent = difference ? `× ${difference.factor}, around grey` : "";
    if (difference) at("difference-picture").src = difference.picture;
    at("difference-picture").alt = "what changed";
    showClasses(at("before-classes"), before.classes);
    showClasses(at("after-classes"), after.classes);
    at("norms").replaceChildren(make("caption", {}, "how far it moved"), ...Object.entries(found.norms).map(([name, length]) =>
      make("tr", {}, make("th", {scope: "row"}, name), make("td", {}, inUnits(name, length)))));
    showVerdict(found);
    showExperts(found);
  }

  const inUnits = (name, length) =>
    name === "linf" ? `${(255 * length).toFixed(1)}/255` : length.toFixed(2);

  function showClasses(table, classes) {
    table.replaceChildren(...classes.map(({name, probability}) => make("tr", {},
      make("th", {scope: "row", title: name}, name),
      make("td", {class: "bar", "aria-hidden": "true"}, bar(probability)),
      make("td", {}, percent(probability)))));
  }

  function bar(share) {
    const made = make("span");
    made.style.width = percent(share);
    return made;
  }

  function said(side, label) {
    const [{name, probability}] = side.classes;
    const judged = label === null ? "" : name === label ? "right" : "wrong";
    return [make("b", judged ? {class: judged} : {}, name), ` (${percent(probability)})`];
  }

  function showVerdict({label, before, after, difference}) {
    const parts = [make("span", {}, setup.title, " says ", ...said(before, label))];
    if (difference) parts.push(" before and ", ...said(after, label), ` after ${happened()}.`);
    else parts.push(".");
    if (label !== null) parts.push(` True class: ${label}.`);
    at("verdict").replaceChildren(...parts);
  }

  function happened() {
    const active = setup.transforms.filter(({name}) => strength(name) > 0).map(({name}) => name);
    if (state.attack) active.push(`${state.attack.kind === "pgd" ? "PGD" : "gate steering"} in ${state.attack.within}`);
    return active.join(", then ") || "nothing";
  }

  function showExperts({label, before, after}) {
    at("inside").hidden = !before.experts.length;
    if (!before.experts.length) return;
    const weighs = before.experts[0].weight !== null;
    at("inside-title").textContent = weighs ? "Its experts, and the weights of its gate" : "Its experts";
    const head = ["expert", ...(weighs ? ["weight before and after"] : []), "says before", "says after"];
    const rows = before.experts.map((first, k) => {
      const then = after.experts[k];
      const weights = weighs ? [make("td", {class: "weights"}, pair(first.weight, then.weight))] : [];
      return make("tr", {}, make("th", {scope: "row"}, first.name), ...weights,
        answer(first, label, "before"), answer(then, label, "after"));
    });
    at("experts").replaceChildren(
      make("thead", {}, make("tr", {}, ...head.map((text) => make("th", {scope: "col"}, text)))),
      make("tbody", {}, ...rows));
    at("gate").textContent = gateWords(before, after);
  }

  function pair(before, after) {
    return make("div", {class: "pair"},
      make("span", {class: "track before"}, bar(before)), make("i", {class: "quiet"}, before.toFixed(2)),
      make("span", {class: "track after"}, bar(after)), make("i", {}, after.toFixed(2)));
  }

  function answer(expert, label, when) {
    const judged = label === null ? "" : expert.class === label ? "right" : "wrong";
    return make("td", {class: "answer"}, make("b", judged ? {class: judged} : {}, expert.class), " ",
      make("small", {}, percent(expert.probability)),
      make("span", {class: `track ${when}`, "aria-hidden": "true"}, bar(expert.probability)));
  }

  const listed = (names) => [names.slice(0, -1).join(", "), names.at(-1)].filter(Boolean).join(" or ");

  function gateWords(before, after) {
    if (!after.gate) return "";
    const sentence = ({gate, taken_for: names}) =>
      names.length ? `${gate}; it takes the picture for ${listed(names)}` : gate;
    const [first, then] = [sentence(before), sentence(after)];
    return first === then ? `Before and after, ${then}.` : `Before, ${first}. After, ${then}.`;
  }

  // ---- Controls

  function slider(one, least) {
    const {name, strengths} = one;
    const usable = strengths.filter(({factor}) => factor >= least);
    const id = `at-${known.indexOf(one)}`;
    const input = make("input", {type: "range", id, min: 0, max: usable.length - 1, step: 1});
    const output = make("output", {for: id});
    const note = make("p", {class: "note"});
    input.addEventListener("input", () => {
      state.strengths[name] = usable[input.valueAsNumber].factor;
      if (least === 0 || state.attack?.within === name) ask();
      else { writeAddress(); showControls(); }
    });
    inputs.set(name, () => {
      const index = Math.max(0, usable.findIndex(({factor}) => factor === strength(name)));
      const {factor, text} = usable[index];
      input.value = index;
      input.setAttribute("aria-valuetext", text);
      output.textContent = factor ? `× ${factor}` : "off";
      note.textContent = factor ? text : "";
      note.hidden = !factor;
    });
    return make("div", {class: "slider"}, make("label", {for: id, title: name}, name), input, output, note);
  }

  function button(text, kind, within) {
    const made = make("button", {type: "button", "data-kind": kind, "data-within": within}, text);
    made.addEventListener("click", () => {
      const on = state.attack?.kind === kind && state.attack.within === within;
      state.attack = on ? null : {kind, within};
      ask();
    });
    return made;
  }

  function showControls() {
    for (const update of inputs.values()) update();
    for (const made of at("attacks").querySelectorAll("button")) {
      const {kind, within} = made.dataset;
      made.setAttribute("aria-pressed", state.attack?.kind === kind && state.attack.within === within);
    }
    at("steps").value = state.steps;
    at("seed").value = state.seed;
    for (const radio of at("samples").querySelectorAll("input")) {
      radio.checked = !state.picture && Number(radio.value) === state.sample;
    }
  }

  function number(id, least, most) {
    at(id).addEventListener("change", () => {
      state[id] = whole(at(id).value, least, most, state[id]);
      ask();
    });
  }

  async function take(file) {
    if (!file) return;
    try {
      const {picture} = await post("/picture", file);
      state.picture = picture.slice(picture.indexOf(",") + 1);
      ask();
    } catch (error) { complain(error); }
  }

  setup.samples.forEach(({name, label, picture}, k) => {
    const title = label === null ? name : `${name}: ${label}`;
    const radio = make("input", {type: "radio", name: "sample", value: k, "aria-label": title});
    radio.addEventListener("change", () => { state.sample = k; state.picture = null; ask(); });
    at("samples").append(make("label", {title}, radio, make("img", {src: picture, alt: ""})));
  });
  for (const one of setup.transforms) at("transforms").append(slider(one, 0));
  for (const one of setup.searched) {
    const steer = setup.gate ? [button("Steer the gate", "steering", one.name)] : [];
    at("attacks").append(make("div", {class: "attack"}, slider(one, 0.05),
      make("div", {class: "buttons"}, button("PGD", "pgd", one.name), ...steer)));
  }
  at("attack-title").hidden = !setup.searched.length;
  number("steps", 1, setup.most_steps);
  number("seed", 0, 2147483647);
  at("again").addEventListener("click", () => { state.seed = (state.seed + 1) % 2147483648; ask(); });
  at("reset").addEventListener("click", () => { state = fresh(); ask(); });
  at("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      at("copied").textContent = "copied";
    } catch { at("copied").textContent = "the address of this page is the link"; }
  });

  at("file").addEventListener("change", () => { take(at("file").files[0]); at("file").value = ""; });
  addEventListener("paste", (event) => take(event.clipboardData?.files[0]));
  addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dragged"); });
  addEventListener("dragleave", () => document.body.classList.remove("dragged"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragged");
    take(event.dataTransfer?.files[0]);
  });
  addEventListener("hashchange", () => { readAddress(); ask(); });
  readAddress();
  ask();
})();
