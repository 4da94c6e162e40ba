"use strict";
// Fetches the page anew every few seconds and puts in what changed, so that scroll
// position, focus and selection stay.
(() => {
  const every = 5000;
  const note = document.getElementById("note");
  let lost = null;

  const put = (text) => {
    const next = new DOMParser().parseFromString(text, "text/html");
    if (!next.getElementById("note")) throw new Error("not this page");
    const selection = document.getSelection();
    for (const fresh of next.querySelectorAll("[data-live]")) {
      const old = document.getElementById(fresh.id);
      if (!old || old.innerHTML === fresh.innerHTML) continue;
      if (selection && !selection.isCollapsed && selection.containsNode(old, true)) continue;
      const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
      old.className = fresh.className;
      old.replaceChildren(...document.importNode(fresh, true).childNodes);
      if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    }
    // The browser may have been given another token, by a tab that it opened from elsewhere.
    const token = document.querySelector("form input"), given = next.querySelector("form input");
    if (token && given) token.value = given.value;
    document.title = next.title;
  };

  const ask = async (request) => {
    const response = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(40000), ...request });
    const text = await response.text();
    if (!response.ok) throw new Error(text.trim() || response.statusText);
    put(text);
    lost = null;
    note.textContent = "";
  };

  let timer = 0;
  const refresh = async () => {
    clearTimeout(timer);
    try {
      if (!document.hidden) await ask();
    } catch (error) {
      lost ??= new Date();
      note.textContent = "No answer since " + lost.toLocaleTimeString() + ": what you see is from before.";
    }
    timer = setTimeout(refresh, every);
  };
  timer = setTimeout(refresh, every);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });

  document.addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.target, button = form.querySelector("button");
    if (button.disabled) return;
    button.disabled = true;
    note.textContent = "Moving sequences …";
    try {
      await ask({ method: "POST", body: new URLSearchParams(new FormData(form)) });
    } catch (error) {
      note.textContent = error.message;
    }
    const again = document.getElementById(button.id);
    if (again) { again.disabled = false; again.focus({ preventScroll: true }); }
  });
})();
