// All that comes from the service is set as text, never as markup.
"use strict";

const history = [];
let pictures = false; // whether the service has images
let waiting = 0; // answers that are under way
const element = (id) => document.getElementById(id);

async function request(path, body) {
  const headers = { "Content-Type": "application/json", "X-API-Key": element("key").value };
  return fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
}

async function ask(path, body) {
  const response = await request(path, body);
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
  const name = made("div", item.title || item.item, "label");
  if (item.title) name.append(" ", made("span", item.item, "id"));
  const button = made("button", label);
  button.addEventListener("click", () => guarded(() => action(node)));
  node.append(name, button);
  if (pictures) {
    const frame = made("div", "", "picture"); // stays empty where an item has none
    node.prepend(frame);
    guarded(() => addPicture(frame, item));
  }
  return node;
}

async function addPicture(frame, item) {
  const response = await request("image?item=" + encodeURIComponent(item.item));
  if (!response.ok) return; // this item has none
  const image = document.createElement("img");
  image.alt = "";
  image.src = URL.createObjectURL(await response.blob());
  image.addEventListener("load", () => URL.revokeObjectURL(image.src));
  frame.append(image);
}

async function guarded(action) {
  waiting += 1;
  document.body.ariaBusy = "true";
  try {
    element("problem").textContent = "";
    await action();
  } catch (error) {
    element("problem").textContent = error.message;
  }
  waiting -= 1;
  if (!waiting) document.body.ariaBusy = "false";
}

async function search() {
  const query = element("query").value;
  const found = query ? await ask("search?query=" + encodeURIComponent(query)) : [];
  if (query !== element("query").value) return; // a later one is under way
  element("found").replaceChildren(
    ...found.map((item) => entry(item, "add", () => change(() => history.push(item)))));
}

async function change(action) {
  action();
  element("clear").hidden = !history.length;
  element("empty").hidden = history.length > 0;
  element("history").replaceChildren(
    ...history.map((item, place) =>
      entry(item, "remove", () => change(() => history.splice(place, 1)))));
  const answer = await ask("recommend", { items: history.map((item) => item.item) });
  element("recommended").replaceChildren(
    ...answer.items.map((item) =>
      history.length ? entry(item, "why?", (node) => why(item, node))
                     : entry(item, "add", () => change(() => history.push(item)))));
}

async function why(item, node) {
  const shown = node.querySelector(".why");
  if (shown) return shown.remove();
  const told = await ask("explain", { items: history.map((each) => each.item), item: item.item });
  const titles = new Map(history.map((each) => [each.item, each.title || each.item]));
  const list = (pairs) => pairs.map(([name, value]) => `${value.toFixed(2)} ${name}`).join("\n");
  const lines = {
    Scores: list(Object.entries(told.parts)),
    Modalities: list(Object.entries(told.routes)),
    History: list(told.history.slice(0, 3).map(([id, by]) => [titles.get(id), by])),
  };
  const box = made("dl", "", "why");
  for (const [name, text] of Object.entries(lines))
    if (text) box.append(made("dt", name), made("dd", text));
  node.append(box);
}

async function begin() {
  pictures = (await ask("health")).images > 0;
  await change(() => undefined);
}

element("query").addEventListener("input", () => guarded(search));
element("clear").addEventListener("click", () => guarded(() => change(() => history.splice(0))));
element("key").addEventListener("change", () => guarded(begin));
guarded(begin);
