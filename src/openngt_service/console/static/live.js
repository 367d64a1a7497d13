// SPDX-License-Identifier: GPL-3.0-or-later
// Follows a task: asks for its own page once a second and takes over the part that changes, until that says it is done.
// Without this file the page reloads itself.
"use strict";

const PAUSE = 1000;
const LONGEST_PAUSE = 10000;

async function follow() {
  let pause = PAUSE;
  while (document.querySelector("#live[data-live]")) {
    await new Promise((done) => setTimeout(done, pause));
    try {
      const answer = await fetch(location.href, { headers: { "X-Openngt-Live": "1" }, redirect: "manual" });
      if (answer.type === "opaqueredirect") {
        location.reload(); // the session has ended
        return;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      takeOver(new DOMParser().parseFromString(await answer.text(), "text/html"));
      pause = PAUSE;
    } catch {
      pause = Math.min(pause * 2, LONGEST_PAUSE); // the service restarts, or the network is away
    }
  }
}

function takeOver(page) {
  const now = document.getElementById("live");
  const next = page.getElementById("live");
  const focused = now.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  now.replaceWith(next);
  if (focused !== null) next.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
}

follow();
