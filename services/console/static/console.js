// Keeps an open page up to date and gives it keyboard shortcuts. Every page works without it.
"use strict";
(() => {
  const state = document.getElementById("live-state");
  const announcer = document.getElementById("announcer");
  const only = document.body.dataset.incident;
  const served = new Map(); // region id -> HTML as the server sent it, to see what changed
  const regions = (page) => page.querySelectorAll("[data-live]");
  regions(document).forEach((region) => served.set(region.id, region.outerHTML));

  // What somebody types into is left alone: it is brought up to date when they are done.
  const inUse = (region) => {
    if (region.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")) return true;
    return [...region.querySelectorAll("input, textarea")].some((field) => field.value !== field.defaultValue);
  };

  const swap = (region, fresh) => {
    if (served.get(region.id) === fresh.outerHTML || inUse(region)) return;
    served.set(region.id, fresh.outerHTML);
    const folded = new Map([...region.querySelectorAll("details[id]")].map((one) => [one.id, one.open]));
    const focused = region.contains(document.activeElement) ? document.activeElement.id || document.activeElement.href : "";
    const next = document.adoptNode(fresh);
    next.querySelectorAll("details[id]").forEach((one) => {
      if (folded.has(one.id)) one.open = folded.get(one.id);
    });
    region.replaceWith(next);
    if (focused) [...next.querySelectorAll("a, button, summary")].find((one) => focused === (one.id || one.href))?.focus();
  };

  // A button must not move away from under the pointer: news wait until it has rested for a second.
  let still = 0;
  let later = 0;
  document.addEventListener("pointermove", (event) => {
    if (event.target.closest?.("button, summary, a, input, select, textarea")) still = Date.now() + 1000;
  });
  const held = () => {
    if (Date.now() >= still) return false;
    clearTimeout(later);
    later = setTimeout(() => refresh(), still - Date.now() + 20);
    return true;
  };

  let running = false;
  let again = false;
  const refresh = async () => {
    if (held()) return;
    again = running;
    if (running) return;
    running = true;
    try {
      const answer = await fetch(location.pathname + location.search, { credentials: "same-origin" });
      if (answer.redirected) return location.reload();
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        if (held()) return;
        regions(document).forEach((region) => {
          const fresh = page.getElementById(region.id);
          if (fresh) swap(region, fresh);
        });
        state.textContent = `Live, ${new Date().toISOString().slice(11, 19)}`;
      }
    } catch {
      state.textContent = "Reconnecting";
    } finally {
      running = false;
      if (again) {
        again = false;
        setTimeout(refresh, 300);
      }
    }
  };

  let source = null;
  const connect = () => {
    if (source || !document.body.dataset.events) return;
    source = new EventSource(document.body.dataset.events);
    source.onopen = () => {
      state.classList.add("on");
      state.textContent = "Live";
      refresh();
    };
    source.onerror = () => {
      state.classList.remove("on");
      state.textContent = "Reconnecting";
      if (source.readyState === EventSource.CLOSED) {
        source = null;
        setTimeout(connect, 5000);
      }
    };
    source.onmessage = (message) => {
      const event = JSON.parse(message.data);
      if (only && event.incident && event.incident !== only) return;
      if (event.text) announcer.textContent = event.text;
      refresh();
    };
  };
  // A browser has six connections for a host: hidden pages give theirs back.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      source?.close();
      source = null;
    } else {
      connect();
    }
  });
  document.addEventListener("focusout", () => source && setTimeout(refresh, 200));
  if (!document.hidden) connect();

  // A second press while the first one is on its way would only ask for the same again.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
    setTimeout(() => delete form.dataset.sent, 4000);
  });

  let went = false;
  const step = (by) => {
    const items = [...document.querySelectorAll("[data-item]")].map((item) => item.querySelector("a.title, summary, a")).filter(Boolean);
    const at = items.indexOf(document.activeElement);
    items[Math.min(Math.max(at < 0 && by < 0 ? 0 : at + by, 0), items.length - 1)]?.focus();
  };
  const decide = () => {
    const place = document.querySelector("[data-decide]");
    place?.scrollIntoView({ block: "center" });
    (place?.matches("a") ? place : place?.querySelector("input:not([type=hidden])"))?.focus();
  };
  const keys = {
    j: () => step(1),
    k: () => step(-1),
    a: decide,
    "/": () => (document.querySelector("[data-search]") ?? { focus: () => location.assign("/#history") }).focus(),
    "?": () => document.getElementById("shortcuts")?.toggleAttribute("open"),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
    const link = went && document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
    went = event.key === "g";
    if (link) link.click();
    else if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  });
})();
