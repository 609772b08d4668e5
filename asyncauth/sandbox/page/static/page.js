// The page: builds itself from the sandbox's description, then follows its events.

import { announce } from "./dom.js";
import { order } from "./orders.js";
import { Requests } from "./requests.js";
import { System } from "./system.js";
import { language, say, speak, translate } from "./texts.js";

const description = await (await fetch("description")).json();
const systems = description.systems.map((one) => new System(one, change));
const requests = new Requests(Object.fromEntries(systems.map((system) => [system.name, system.title])));
const connection = document.getElementById("connection");
const chooser = document.getElementById("language");
let state = null;
let lead = 0;

document.getElementById("systems").append(...systems.map((system) => system.element));
chooser.value = language;
translate();

function render() {
  if (state !== null) for (const system of systems) system.show(state[system.name], lead);
}

// An order is answered with the new state; one that was refused shows the old one again.
function change(answer) {
  if (answer !== null) for (const name of Object.keys(state)) Object.assign(state[name], answer[name]);
  render();
}

function connected(how) {
  connection.className = how;
  connection.dataset.text = `connection.${how}`;
  if (connection.textContent !== say(connection.dataset.text)) connection.textContent = say(connection.dataset.text);
}

const events = new EventSource("events");
events.addEventListener("open", () => connected("open"));
events.addEventListener("error", () => {
  connected("lost");
  // After an answer that is no stream (too many pages, a proxy) a browser does not try again.
  if (events.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 10000);
});
events.addEventListener("state", (event) => {
  const news = JSON.parse(event.data);
  lead = news.now - performance.now() / 1000;
  state = news.systems;
  render();
});
events.addEventListener("requests", (event) => {
  requests.add(JSON.parse(event.data));
  requests.body.dataset.seen = event.lastEventId; // up to where the page has followed: tests wait for it
});

setInterval(() => {
  if (state !== null) for (const system of systems) system.tokens.tick();
}, 200);

chooser.addEventListener("change", () => {
  speak(chooser.value);
  render();
  requests.render();
});

document.getElementById("reset-counts").addEventListener("click", async () => {
  const answer = await order("reset", { only: "counts" });
  change(answer);
  if (answer) announce(say("reset.counts.done"));
});

document.getElementById("reset").addEventListener("click", async () => {
  const answer = await order("reset", {});
  change(answer);
  if (answer) announce(say("reset.all.done"));
});
