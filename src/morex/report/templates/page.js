"use strict";
// Hover texts, legend toggles and the gallery's filter. The page can be read without this script.
(() => {
  const tip = document.getElementById("tip");

  function place(event) {
    const room = 12;
    const box = tip.getBoundingClientRect();
    const left = Math.min(event.clientX + room, innerWidth - box.width - room);
    const above = event.clientY - box.height - room;
    tip.style.left = `${Math.max(room, left)}px`;
    tip.style.top = `${above > 0 ? above : event.clientY + room}px`;
  }

  // The hover text of a mark is in its <title>, which is removed: the browser would show it as well.
  for (const mark of document.querySelectorAll(".chart-svg .mark")) {
    const title = mark.querySelector("title");
    if (!title || !title.textContent) continue;
    mark.dataset.tip = title.textContent;
    title.remove();
  }
  document.addEventListener("pointerover", (event) => {
    const mark = event.target.closest && event.target.closest("[data-tip]");
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.dataset.tip;
    place(event);
  });
  document.addEventListener("pointermove", (event) => tip.hidden || place(event));

  function isPressed(button) {
    return button.getAttribute("aria-pressed") === "true";
  }

  for (const button of document.querySelectorAll("[data-toggle]")) {
    button.addEventListener("click", () => {
      const shown = !isPressed(button);
      button.setAttribute("aria-pressed", shown);
      const series = CSS.escape(button.dataset.toggle);
      for (const mark of button.closest("figure").querySelectorAll(`.panels [data-series="${series}"]`)) {
        mark.classList.toggle("off", !shown);
      }
    });
  }

  for (const button of document.querySelectorAll("[data-filter]")) {
    button.addEventListener("click", () => {
      for (const other of document.querySelectorAll("[data-filter]")) {
        other.setAttribute("aria-pressed", other === button);
      }
      const wanted = button.dataset.filter;
      for (const exhibit of document.querySelectorAll(".exhibit")) {
        exhibit.hidden = wanted !== "all" && exhibit.dataset.kind !== wanted;
      }
    });
  }
})();
