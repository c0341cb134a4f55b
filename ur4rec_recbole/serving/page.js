// All that comes from the service is set as text, never as markup.
"use strict";

const history = [];
const element = (id) => document.getElementById(id);

async function ask(path, body) {
  const headers = { "Content-Type": "application/json", "X-API-Key": element("key").value };
  const options = body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers };
  const response = await fetch(path, options);
  const answer = await response.json();
  if (!response.ok) throw new Error(JSON.stringify(answer.detail));
  return answer;
}

function made(tag, text, className) {
  const node = document.createElement(tag);
  node.textContent = text;
  if (className) node.className = className;
  return node;
}

function entry(item, label, action) {
  const node = document.createElement("li");
  node.append(made("span", item.title || item.item), " ", made("span", item.item, "id"), " ");
  const button = made("button", label);
  button.addEventListener("click", () => guarded(() => action(node)));
  node.append(button);
  return node;
}

async function guarded(action) {
  try {
    element("problem").textContent = "";
    await action();
  } catch (error) {
    element("problem").textContent = error.message;
  }
}

async function search() {
  const found = await ask("search?query=" + encodeURIComponent(element("query").value));
  element("found").replaceChildren(
    ...found.map((item) => entry(item, "add", () => change(() => history.push(item)))));
}

async function change(action) {
  action();
  element("history").replaceChildren(
    ...history.map((item, place) =>
      entry(item, "remove", () => change(() => history.splice(place, 1)))));
  const answer = await ask("recommend", { items: history.map((item) => item.item) });
  element("recommended").replaceChildren(
    ...answer.items.map((item) => entry(item, "why?", (node) => why(item, node))));
}

async function why(item, node) {
  const told = await ask("explain", { items: history.map((each) => each.item), item: item.item });
  const titles = new Map(history.map((each) => [each.item, each.title || each.item]));
  const list = (pairs) => pairs.map(([name, value]) => `${name} ${value.toFixed(2)}`).join(", ");
  const lines = [
    "Scores: " + list(Object.entries(told.parts)),
    "Modalities: " + list(Object.entries(told.routes)),
    "History: " + list(told.history.slice(0, 3).map(([id, by]) => [titles.get(id), by])),
  ];
  node.querySelectorAll(".why").forEach((line) => line.remove());
  node.append(...lines.map((line) => made("p", line, "why")));
}

element("query").addEventListener("input", () => guarded(search));
element("clear").addEventListener("click", () => guarded(() => change(() => history.splice(0))));
guarded(() => change(() => undefined));
