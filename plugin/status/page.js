"use strict";
// Fetches the page anew every few seconds and puts in what changed, so that scroll
// position, focus and selection stay.
(() => {
  const every = 5000;
  const note = document.getElementById("note");
  let lost = null;

  // What the reader opened stays open, and is no difference.
  const closed = (element) => element.innerHTML.replaceAll(' open=""', "");

  const put = (text) => {
    const next = new DOMParser().parseFromString(text, "text/html");
    if (!next.getElementById("note")) throw new Error("not this page");
    const selection = document.getSelection();
    for (const fresh of next.querySelectorAll("[data-live]")) {
      const old = document.getElementById(fresh.id);
      if (!old) continue;
      old.toggleAttribute("data-more", fresh.hasAttribute("data-more"));
      if (closed(old) === fresh.innerHTML) continue;
      if (selection && !selection.isCollapsed && selection.containsNode(old, true)) continue;
      const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
      const open = [...old.querySelectorAll("details[open]")].map((details) => details.id);
      old.className = fresh.className;
      old.replaceChildren(...document.importNode(fresh, true).childNodes);
      for (const id of open) document.getElementById(id)?.setAttribute("open", "");
      if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    }
    // The browser may have been given another token, by a tab that it opened from elsewhere.
    const given = next.querySelector("input[name=seqheal_token]")?.value;
    if (given) for (const token of document.querySelectorAll("input[name=seqheal_token]")) token.value = given;
    document.title = next.title;
  };

  let latest = 0; // a slow answer must not overwrite a later one
  const ask = async (request) => {
    const turn = ++latest;
    const response = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(40000), ...request });
    const text = await response.text();
    if (!response.ok) throw new Error(text.trim() || response.statusText);
    if (turn !== latest) return;
    if (response.redirected) history.replaceState(null, "", response.url);
    put(text);
    lost = null;
    note.textContent = "";
  };

  let timer = 0, moving = false;
  const refresh = async () => {
    clearTimeout(timer);
    try {
      if (!document.hidden && !moving) await ask();
    } catch (error) {
      lost ??= new Date();
      note.textContent = "No answer since " + lost.toLocaleTimeString() + ": what you see is from before.";
    }
    clearTimeout(timer);
    // While not all is read, each answer has a step more.
    timer = setTimeout(refresh, !lost && document.querySelector("[data-more]") ? 100 : every);
  };
  timer = setTimeout(refresh, document.querySelector("[data-more]") ? 100 : every);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });

  // The filter is in the address; the server answers with what it lets through.
  const filter = document.getElementById("filter");
  let typing = 0;
  const narrow = () => {
    clearTimeout(typing);
    const query = new URLSearchParams([...new FormData(filter)].filter(([, value]) => value !== ""));
    history.replaceState(null, "", "?" + query);
    refresh();
  };
  filter.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(narrow, 200); });
  document.getElementById("filter-button").hidden = true;

  const copy = async (button) => {
    const code = button.closest("details").querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch { // not offered over plain HTTP
      getSelection().selectAllChildren(code);
      if (!document.execCommand("copy")) return; // it is selected at least
      getSelection().removeAllRanges();
    }
    button.textContent = "Copied";
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.copy");
    if (button) copy(button);
  });

  document.addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.target;
    if (form === filter) return narrow();
    const button = form.querySelector("button");
    if (!button || button.disabled) return;
    button.disabled = moving = true;
    note.textContent = "Moving sequences …";
    try {
      await ask({ method: "POST", body: new URLSearchParams(new FormData(form)) });
    } catch (error) {
      note.textContent = error.message;
    }
    moving = false;
    const again = document.getElementById(button.id) ?? document.getElementById("resync-button");
    if (again) { again.disabled = false; again.focus({ preventScroll: true }); }
  });
})();
