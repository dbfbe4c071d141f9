"use strict";
// Renews the parts of the page that have changed. All markup comes from the server, which escapes what it quotes.
const lost = document.getElementById("lost");
const filter = document.getElementById("filter");
let source = null;

function put(parts) {
  const focused = document.activeElement && document.activeElement.id;
  for (const [id, markup] of Object.entries(parts)) {
    const part = document.getElementById(id);
    if (!part) continue;
    const opened = Array.from(part.querySelectorAll("details"), (one) => one.open);
    const scrolled = Array.from(part.querySelectorAll(".wide"), (one) => one.scrollLeft);
    part.innerHTML = markup;
    part.querySelectorAll("details").forEach((one, index) => { one.open = opened[index] || false; });
    part.querySelectorAll(".wide").forEach((one, index) => { one.scrollLeft = scrolled[index] || 0; });
  }
  if (focused && (!document.activeElement || document.activeElement.id !== focused)) {
    const again = document.getElementById(focused);
    if (again) again.focus({ preventScroll: true });
  }
  narrow();
}

function connected(is) {
  lost.hidden = is;
  document.body.classList.toggle("stale", !is);
}

function follow() {
  if (source || !document.body.dataset.live) return;
  source = new EventSource(document.body.dataset.live);
  source.onmessage = (event) => { connected(true); put(JSON.parse(event.data)); };
  // Whoever has signed out, or whose session has ended, sees the page where one signs in.
  source.addEventListener("signed-out", () => { leave(); location.reload(); });
  source.onerror = () => {
    connected(false);
    if (source.readyState === EventSource.CLOSED) {
      source = null;
      setTimeout(follow, 3000);
    }
  };
}

function leave() {
  if (source) source.close();
  source = null;
}

function narrow() {
  if (!filter) return;
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of document.querySelectorAll("#main tbody tr")) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((one) => text.includes(one));
  }
}

// Nobody looks at a page in the background, so nobody is asked for it.
document.addEventListener("visibilitychange", () => { if (document.hidden) leave(); else follow(); });
addEventListener("pagehide", leave);
addEventListener("pageshow", follow);
if (filter) filter.addEventListener("input", narrow);
for (const form of document.forms) {
  form.addEventListener("submit", () => {
    const button = form.querySelector("#yes");
    if (button) { button.disabled = true; button.textContent = "Asked; waiting for the operator's answer…"; }
  });
}
