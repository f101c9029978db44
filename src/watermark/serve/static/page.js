// What the page does beyond its form: files can be dropped on it, and it says that it is
// working. Without this, everything still works.
"use strict";

const drop = document.getElementById("drop");
if (drop) {
  const file = document.getElementById("file");
  const form = drop.closest("form");
  const status = document.getElementById("status");
  const button = document.getElementById("check");

  const over = (on) => (event) => {
    event.preventDefault();
    drop.classList.toggle("over", on);
  };
  document.addEventListener("dragover", over(true));
  document.addEventListener("dragleave", over(false));
  document.addEventListener("drop", (event) => {
    over(false)(event);
    if (event.dataTransfer.files.length > 0) {
      file.files = event.dataTransfer.files;
      status.textContent = `${file.files[0].name} is chosen.`;
    }
  });

  form.addEventListener("submit", (event) => {
    if (button.getAttribute("aria-disabled") === "true") {
      event.preventDefault();
      return;
    }
    button.setAttribute("aria-disabled", "true");
    status.textContent = "Looking. This takes a few seconds.";
  });
  // The page may be shown again as it was left.
  window.addEventListener("pageshow", () => {
    button.removeAttribute("aria-disabled");
    status.textContent = "";
  });
}
