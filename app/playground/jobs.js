// Batch jobs: how far the newest ones are, where the service has any. Asked for again as long as one
// is unfinished, and when the page comes back into sight.

import { addressOf, fetchFile, fetchJobs, keyed } from "./api.js";
import { byId, html } from "./dom.js";
import { save } from "./downloads.js";
import { counted } from "./notices.js";

const PAUSE_MS = 2000;
const UNFINISHED = new Set(["validating", "in_progress", "finalizing", "cancelling"]);
const POOR = new Set(["failed", "expired"]);

/** What each row of the list was last drawn of. */
const drawn = new WeakMap();
let jobs = [];
let timer = 0;
/** Told apart from the requests before, whose answers are not shown any more. */
let latest = 0;

/** Show the newest jobs, and go on while one is unfinished. */
export async function showJobs() {
  clearTimeout(timer);
  latest += 1;
  const asked = latest;
  const found = await fetchJobs();
  if (asked !== latest) {
    return;
  }
  jobs = found ?? jobs;
  draw();
  if (jobs.some(({ status }) => UNFINISHED.has(status)) && !document.hidden) {
    timer = setTimeout(showJobs, PAUSE_MS);
  }
}

/** What has not changed stays as it is, and keeps the focus. */
function draw() {
  byId("jobs").hidden = jobs.length === 0;
  byId("to-jobs").hidden = jobs.length === 0;
  const running = jobs.filter(({ status }) => UNFINISHED.has(status)).length;
  byId("jobs-lead").textContent =
    jobs.length === 1 ? "The newest one." : `The ${jobs.length} newest, ${running} unfinished.`;
  const list = byId("jobs-list");
  const rows = new Map([...list.children].map((row) => [row.dataset.job, row]));
  const wanted = jobs.map(({ id }) => rows.get(id) ?? html("li", { "data-job": id }));
  if (wanted.length !== rows.size || wanted.some((row, i) => row !== list.children[i])) {
    list.replaceChildren(...wanted);
  }
  jobs.forEach((job, i) => {
    const said = JSON.stringify(job);
    if (drawn.get(wanted[i]) !== said) {
      drawn.set(wanted[i], said);
      wanted[i].replaceChildren(...parts(job));
    }
  });
}

function parts(job) {
  const { total, completed, failed } = job.request_counts;
  const done = completed + failed;
  const status = html("span", { class: "status" }, job.status.replace("_", " "));
  status.classList.toggle("poor", POOR.has(job.status));
  status.classList.toggle("good", job.status === "completed");
  const made = new Date(job.created_at * 1000);
  const when = made.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  return [
    html("p", { class: "job-name" }, html("code", {}, job.id), status),
    ...(total ? progress(job, done) : []),
    ...(job.errors?.data ?? []).slice(0, 1).map(({ message }) => html("p", {}, message)),
    html("p", { class: "hint" }, `${job.endpoint}, made ${when}`),
    ...files(job),
  ];
}

/** A bar, and in words what it says; each number on its own, so that lines break between them. */
function progress(job, done) {
  const { total } = job.request_counts;
  const said = numbers(job, done).map((each) => html("span", {}, each));
  return [
    html("progress", { max: total, value: done, "aria-label": `Lines of ${job.id}` }),
    html("p", { class: "job-said" }, ...said),
  ];
}

function numbers(job, done) {
  const { total, failed } = job.request_counts;
  const { requests_per_s, tokens_per_s, seconds_left } = job.progress;
  const said = [`${done.toLocaleString("en")} of ${counted(total, "line")}`];
  if (failed) {
    said.push(`${failed.toLocaleString("en")} of them in the error file`);
  }
  if (requests_per_s) {
    said.push(`${rate(requests_per_s)} lines/s`, `${rate(tokens_per_s)} tokens/s`);
  }
  if (seconds_left !== null) {
    said.push(`about ${duration(seconds_left)} left`);
  }
  return said;
}

function rate(number) {
  const digits = number < 10 ? 1 : 0;
  return number.toLocaleString("en", { maximumFractionDigits: digits });
}

function duration(seconds) {
  const units = [
    [86_400, "day"],
    [3600, "hour"],
    [60, "minute"],
    [1, "second"],
  ];
  const [size, noun] = units.find(([size]) => seconds >= 2 * size) ?? units.at(-1);
  return counted(Math.round(seconds / size), noun);
}

function files(job) {
  const links = [
    ["Output", job.output_file_id],
    ["Errors", job.error_file_id],
  ]
    .filter(([, id]) => id)
    .map(([words, id]) => html("a", { href: addressOf(id), download: "", "data-file": id }, words));
  return links.length ? [html("p", { class: "job-files" }, ...links)] : [];
}

/**
 * Have the links of jobs do what they say.
 * @param {(act: () => Promise<void>) => Promise<void>} attempt does it, and says why it failed
 */
export function listenToJobs(attempt) {
  byId("jobs-list").addEventListener("click", (event) => {
    const id = event.target.dataset.file;
    if (id && keyed()) {
      event.preventDefault();
      attempt(async () => save(await fetchFile(id), `${id}.jsonl`));
    }
  });
  byId("to-jobs").addEventListener("click", (event) => {
    event.preventDefault();
    byId("jobs").scrollIntoView();
    byId("jobs").focus({ preventScroll: true });
  });
  document.addEventListener("visibilitychange", () => {
    const known = !byId("views").hidden;
    if (known && !document.hidden) {
      showJobs();
    }
  });
}
