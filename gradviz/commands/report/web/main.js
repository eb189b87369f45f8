"use strict";
/* Everything that moves is set going. */

for (const section of document.querySelectorAll("section.gallery")) {
  new Gallery(section, DATA.maps);
}
document.querySelectorAll("section.explorer").forEach((section, n) => {
  if (DATA.explorers[n].fields.length) new Explorer(section, DATA.explorers[n]);
});
document.querySelectorAll("section.comparison").forEach((section, n) => {
  new Pairs(section, DATA.comparisons[n]);
});
