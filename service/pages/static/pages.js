"use strict";
// What makes a page more convenient; everything works without it.

// A form that was typed before the session ended is sent by itself, once.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector("form[data-send-at-once]");
  if (form) form.requestSubmit();
  for (const button of document.querySelectorAll("[data-print]")) {
    button.hidden = false;
    button.addEventListener("click", () => window.print());
  }
});

// A button is pressed once.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post") return;
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});
window.addEventListener("pageshow", (event) => {
  if (event.persisted) for (const form of document.forms) delete form.dataset.sent;
});
