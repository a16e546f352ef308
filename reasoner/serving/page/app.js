// The page of `reasoner serve`: asks one or two strategies and shows votes and cost as they arrive.
//
// What it reads of GET v1/models:            data[].{id, description, group}; an id is MODEL or MODEL@ALIAS.
// What it reads of each chunk of a stream:   choices[0].{delta.{content, reasoning}, finish_reason}, error.message,
//   and reasoner: of a chunk of progress       {samples, votes[].{answer, count, weight}, cost.tokens},
//                 of the last chunk            these and {answer, confidence, ended_by, reason, saved, notes[], trace,
//                                              cost.{samples, seconds, usd}}. Each of these may be missing or null.
//
// Texts of models are only ever set as textContent.

const SHOWN = 20_000;
const SHORT = 200;
const MAX_ANSWERS = 8;
const MAX_NAMED = 40;
const MAX_NOTES = 12;
const MAX_LINE = 32 << 20;
const ENDINGS = {
  budget: "the budget", rule: "a stop rule", price: "the price of a sample", error: "an error",
};
const LEVELS = [["", "as the model does"], ["none", "none"], ["low", "low"], ["medium", "medium"], ["high", "high"]];

const byId = (id) => document.getElementById(id);
const grouped = (number) => Number(number).toLocaleString("en-US");
const plural = (number, word) => `${grouped(number)} ${word}${number === 1 ? "" : "s"}`;

/** The text with control, direction and unknown characters replaced by their code points. */
function visible(text) {
  return String(text).replace(/(?![\n\t\u200c\u200d])[\p{C}\p{Zl}\p{Zp}]/gu, (character) =>
    `[U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}]`);
}

const short = (text, limit = SHORT) => {
  const line = visible(String(text).slice(0, limit)).replace(/\s+/g, " ").trim();
  return String(text).length > limit ? `${line}…` : line;
};

function element(name, { text = "", ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

/** A text of any length; its beginning is kept. */
class Beginning {
  head = "";
  length = 0;

  add(part) {
    this.length += part.length;
    if (this.head.length < SHOWN) this.head += part.slice(0, SHOWN - this.head.length);
  }

  get rest() {
    const more = this.length - this.head.length;
    return more ? `${plural(more, "more character")}, not shown.` : "";
  }
}

/** One failure of the server, or of the way to it, in a line. */
class Failure extends Error {}

function headers() {
  const key = byId("key").value.trim();
  return key ? { Authorization: `Bearer ${key}` } : {};
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...headers(), ...options?.headers }, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(error.message.includes("ISO-8859-1")
      ? "the API key holds a character that no key has: copy it again"
      : "the server does not answer: see whether it still runs");
  }
  if (response.ok) return response;
  if (response.status === 401) byId("key-field").hidden = false;
  throw new Failure(await complaint(response));
}

async function complaint(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `the server answered with status ${response.status}`;
  }
}

/** The data of each event of a stream of server-sent events. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Failure("the connection ended before the answer was complete");
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    if (rest.length > MAX_LINE) throw new Failure("the server sent more in one line than this page reads");
    for (const line of lines) {
      const data = line.startsWith("data:") ? line.slice(5).trim() : "";
      if (data === "[DONE]") return;
      if (data) yield JSON.parse(data);
    }
  }
}

/** What one strategy answers, as it arrives. */
class Result {
  constructor(name) {
    this.name = name;
    this.section = byId("result").content.cloneNode(true).firstElementChild;
    this.part = (selector) => this.section.querySelector(selector);
    this.part("h2").textContent = short(name);
    this.content = new Beginning();
    this.thinking = new Beginning();
    this.votes = [];
    this.report = {};
    this.finish = "";
    this.failure = "";
    this.state = "waiting";
    this.due = false;
    this.show();
  }

  take(chunk) {
    if (chunk.error) throw new Failure(chunk.error.message);
    const choice = chunk.choices?.[0];
    if (choice?.delta?.content) this.content.add(choice.delta.content);
    // With the object, it is a line of progress in words.
    if (choice?.delta?.reasoning && !chunk.reasoner) this.thinking.add(choice.delta.reasoning);
    this.finish = choice?.finish_reason || this.finish;
    // The last chunk has the whole object, those before it only what is known by then.
    for (const [key, value] of Object.entries(chunk.reasoner ?? {})) {
      if (value !== null && value !== undefined) this.report[key] = value;
    }
    this.state = "running";
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => this.show());
  }

  end(failure = "") {
    this.failure = failure;
    this.state = "ended";
    this.show();
  }

  /** The answer in a line; empty where there is none, or it is the whole reply. */
  get answer() {
    if (this.state !== "ended" || this.failure) return "";
    const answer = String(this.report.answer ?? this.content.head);
    return answer.length <= SHORT && !answer.trim().includes("\n") ? answer : "";
  }

  get line() {
    if (this.failure) return `${short(this.name)}: ${short(this.failure)}`;
    const cost = this.report.cost?.tokens === undefined ? "" : ` for ${plural(this.report.cost.tokens, "token")}`;
    return `${short(this.name)}: ${short(this.answer) || "a reply"}${cost}`;
  }

  show() {
    this.due = false;
    const ended = this.state === "ended";
    this.section.setAttribute("aria-busy", String(!ended));
    this.text(".error", short(this.failure, 1000));
    this.text(".headline", short(this.answer));
    this.part(".progress").textContent = ended ? "" : this.progress();
    this.showVotes();
    this.showFacts();
    this.showTexts();
    const notes = ended ? (this.report.notes ?? []).slice(0, MAX_NOTES) : [];
    this.part(".notes").replaceChildren(...notes.map((note) => element("li", { text: short(note, 500) })));
    const trace = ended ? this.report.trace : undefined;
    this.part(".tree").hidden = !trace;
    if (trace) this.part(".tree a").href = `v1/reasoner/traces/${encodeURIComponent(trace)}`;
  }

  text(selector, text) {
    this.part(selector).textContent = text;
    this.part(selector).hidden = !text;
  }

  progress() {
    if (this.state === "waiting") return "waiting for the first sample …";
    return this.report.samples ? `${plural(this.report.samples, "sample")} so far …` : "running …";
  }

  showVotes() {
    const votes = this.report.votes ?? [];
    const weighted = votes.some((vote) => vote.weight !== vote.count);
    const counted = votes.reduce((sum, vote) => sum + vote.count, 0);
    // Samples without an answer count too: a bar is full where all samples agree.
    const samples = Math.max(this.report.samples ?? 0, counted);
    const whole = weighted ? votes.reduce((sum, vote) => sum + vote.weight, 0) : samples;
    const rows = votes.length > 1 || (votes[0]?.count ?? 0) > 1 ? votes.slice(0, MAX_ANSWERS) : [];
    this.part(".votes").replaceChildren(...rows.map((vote) => {
      const bar = element("i");
      bar.style.width = `${100 * vote.weight / (whole || 1)}%`;
      const count = `${grouped(vote.count)} of ${grouped(samples)}` + (weighted ? `, weight ${vote.weight.toFixed(2)}` : "");
      return element("li", {},
        element("span", { className: "answer", dir: "auto", text: short(vote.answer) || "(empty)", title: short(vote.answer) }),
        element("span", { className: "bar", ariaHidden: "true" }, bar),
        element("span", { className: "count", text: count }));
    }));
    const left = rows.length ? votes.length - rows.length : 0;
    this.text(".more", left ? `${plural(left, "more answer")}.` : "");
  }

  showFacts() {
    const { confidence, cost, saved, ended_by: endedBy, reason } = this.report;
    const samples = this.report.samples || cost?.samples;
    const facts = [];
    if (confidence !== undefined) facts.push(["confidence", `${Math.round(100 * confidence)} %`]);
    if (samples !== undefined) facts.push(["samples", grouped(samples)]);
    if (cost?.tokens !== undefined) facts.push(["tokens computed", grouped(cost.tokens)]);
    if (cost?.seconds !== undefined) facts.push(["seconds", cost.seconds.toFixed(cost.seconds < 1 ? 2 : 1)]);
    if (typeof cost?.usd === "number") facts.push(["price", `$${cost.usd.toFixed(6)}`]);
    if (saved) facts.push(["samples saved", grouped(saved)]);
    if (endedBy) facts.push([endedBy === "strategy" ? "end" : `ended by ${ENDINGS[endedBy] ?? short(endedBy)}`, short(reason ?? "") || "no reason given"]);
    if (this.state === "ended" && this.finish === "length") facts.push(["reply", "cut at its limit"]);
    this.part(".facts").replaceChildren(...facts.map(([name, value]) =>
      element("div", {}, element("dt", { text: name }), element("dd", { text: value }))));
  }

  showTexts() {
    for (const [selector, text] of [[".thinking", this.thinking], [".reply", this.content]]) {
      const whole = selector === ".reply" && this.content.head === this.answer;
      this.part(selector).hidden = !text.length || whole;
      this.part(`${selector} pre`).textContent = visible(text.head) + (text.rest ? "…" : "");
      this.part(`${selector} .note`).textContent = text.rest;
    }
  }
}

/** What the form asks of one side. */
function bodyOf(side) {
  const body = {
    model: byId(`strategy-${side}`).value,
    messages: [{ role: "user", content: byId("question").value }],
    stream: true,
  };
  const effort = byId(`effort-${side}`).value;
  const kind = byId("kind").value;
  if (effort) body.reasoning_effort = effort;
  if (kind) body.reasoner = { answer: kind };
  return body;
}

function nameOf(side) {
  const strategy = byId(`strategy-${side}`);
  const effort = byId(`effort-${side}`);
  const name = strategy.selectedOptions[0]?.textContent ?? "";
  return effort.value ? `${name}, thinking ${effort.value}` : name;
}

async function ask(side, result, signal) {
  try {
    const response = await request("v1/chat/completions", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(bodyOf(side)), signal,
    });
    for await (const chunk of events(response)) result.take(chunk);
    result.end();
  } catch (error) {
    if (error.name === "AbortError") result.end("stopped");
    else if (error instanceof Failure) result.end(error.message);
    else result.end("the connection broke before the answer was complete");
  }
}

let running = null;

async function submit(event) {
  event.preventDefault();
  if (running || !byId("ask").reportValidity()) return;
  running = new AbortController();
  const sides = byId("compare").checked ? [0, 1] : [0];
  const results = sides.map((side) => new Result(nameOf(side)));
  byId("results").classList.toggle("two", sides.length > 1);
  byId("results").replaceChildren(...results.map((result) => result.section));
  byId("verdict").hidden = true;
  busy(true);
  say("asked");
  await Promise.all(sides.map((side, index) => ask(side, results[index], running.signal)));
  if (results.length > 1) compare(results);
  running = null;
  busy(false);
  say(results.map((result) => result.line).join(". "));
}

function busy(is) {
  byId("submit").disabled = is;
  byId("stop").hidden = !is;
}

const say = (text) => { byId("spoken").textContent = text; };

/** The answers and the costs of two strategies, in a line. */
function compare(results) {
  if (results.some((result) => result.failure || !result.report.cost?.tokens)) return;
  const answers = results.map((result) => short(result.answer));
  const same = answers[0] && answers[0] === answers[1];
  const costs = results.map((result) => `${short(result.name)} (${plural(result.report.cost.tokens, "token")})`);
  const named = answers.map((answer) => (answer && answer.length <= MAX_NAMED ? answer : "a reply"));
  byId("verdict").textContent = same
    ? `The same answer: ${costs.join(", ")}`
    : costs.map((cost, index) => `${cost}: ${named[index]}`).join("; ");
  byId("verdict").hidden = false;
}

/** Open a tree on a server with keys: a link cannot carry a key, and an address must not, so a form does. */
function openTree(event) {
  const link = event.target.closest(".tree a");
  const key = byId("key").value.trim();
  if (!link || !key) return;
  event.preventDefault();
  const form = element("form", { method: "post", action: link.href, target: "_blank", rel: "noopener", hidden: true },
    element("input", { type: "hidden", name: "key", value: key }));
  document.body.append(form);
  form.submit();
  form.remove();
}

function describe(side, models) {
  const chosen = models.find((model) => model.id === byId(`strategy-${side}`).value);
  byId(`strategy-${side}`).closest("fieldset").querySelector(".about").textContent = short(chosen?.description ?? "", 500);
}

async function load() {
  let models;
  try {
    models = (await (await request("v1/models")).json()).data;
  } catch (error) {
    problem(error instanceof Failure ? error.message : "the server's list of models cannot be read");
    return;
  }
  problem("");
  const plain = models.find((model) => !model.id.includes("@"))?.id ?? "";
  byId("model").textContent = short(plain);
  for (const side of [0, 1]) {
    const strategy = byId(`strategy-${side}`);
    const groups = new Map();
    for (const model of models) groups.set(model.group ?? "", [...(groups.get(model.group ?? "") ?? []), model]);
    strategy.replaceChildren(...[...groups].flatMap(([group, members]) => {
      const options = members.map((model) => element("option", {
        value: model.id,
        text: model.id === plain ? "the server's default" : short(model.id.slice(model.id.indexOf("@") + 1)),
      }));
      return group ? [element("optgroup", { label: short(group) }, ...options)] : options;
    }));
    strategy.selectedIndex = Math.min(side ? 0 : 1, models.length - 1);
    strategy.onchange = () => describe(side, models);
    describe(side, models);
  }
}

function problem(text) {
  byId("problem").textContent = short(text, 1000);
  byId("problem").hidden = !text;
}

for (const effort of document.querySelectorAll("select.effort")) {
  effort.replaceChildren(...LEVELS.map(([value, text]) => element("option", { value, text })));
}
byId("ask").addEventListener("submit", submit);
byId("stop").addEventListener("click", () => running?.abort());
byId("results").addEventListener("click", openTree);
byId("key").addEventListener("change", load);
byId("compare").addEventListener("change", (event) => {
  document.querySelector('fieldset[data-side="1"]').hidden = !event.target.checked;
  byId("sides").classList.toggle("two", event.target.checked);
});
byId("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("ask").requestSubmit();
});
load();
