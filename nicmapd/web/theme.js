// Runs before anything is painted, so that a chosen theme never flashes. Not a module: modules run too late for that.
"use strict";
try {
  const chosen = localStorage.getItem("nicmapd.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be forbidden; the system's theme holds then.
}
