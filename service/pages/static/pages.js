"use strict";
// What makes a page more convenient; everything works without it.

// A form that was typed before the session ended is sent by itself, once.
document.addEventListener("DOMContentLoaded", () => {
  // Where the pages stand in one line that is wider than the window, the one at hand is seen.
  const pages = document.querySelector(".pages");
  const here = pages?.querySelector("[aria-current]");
  if (here) pages.scrollLeft = here.offsetLeft - (pages.clientWidth - here.offsetWidth) / 2;
  const form = document.querySelector("form[data-send-at-once]");
  if (form) form.requestSubmit();
  for (const button of document.querySelectorAll("[data-print]")) {
    button.addEventListener("click", () => window.print());
  }
});

// A button is pressed once. What came to nothing, because the line broke or somebody stopped it,
// can be sent again after a while.
const AGAIN_AFTER_MS = 10000;
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.getAttribute("method") !== "post") return;
  if (form.dataset.sent) event.preventDefault();
  else setTimeout(() => delete form.dataset.sent, AGAIN_AFTER_MS);
  form.dataset.sent = "yes";
});
window.addEventListener("pageshow", (event) => {
  if (event.persisted) for (const form of document.forms) delete form.dataset.sent;
});
