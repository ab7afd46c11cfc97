"use strict";
// A line over the picture follows the sound, and a click into the picture moves it. Nothing here draws a number.
for (const article of document.querySelectorAll("article")) {
  const audio = article.querySelector("audio");
  const picture = article.querySelector("svg.utterance");
  if (!audio) continue;
  audio.addEventListener("loadedmetadata", () => { audio.dataset.seconds = audio.duration.toFixed(3); });
  audio.addEventListener("error", () => { audio.dataset.failed = "yes"; });
  if (!picture) continue;
  const cursor = picture.querySelector(".cursor");
  const left = Number(picture.dataset.left), right = Number(picture.dataset.right);
  const seconds = Number(picture.dataset.seconds);
  const follow = () => {
    const x = left + (right - left) * Math.min(1, audio.currentTime / seconds);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.classList.toggle("on", audio.currentTime > 0);
    const frame = picture.parentElement;
    const place = x / picture.viewBox.baseVal.width * picture.clientWidth;
    if (!audio.paused && picture.clientWidth > frame.clientWidth) frame.scrollLeft = place - frame.clientWidth / 2;
    if (!audio.paused) requestAnimationFrame(follow);
  };
  for (const event of ["play", "seeked", "pause"]) audio.addEventListener(event, follow);
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * picture.viewBox.baseVal.width;
    audio.currentTime = Math.max(0, Math.min(1, (x - left) / (right - left))) * seconds;
  });
}
// Whose patches are drawn: a choice of each picture.
for (const choice of document.querySelectorAll("fieldset input")) {
  choice.addEventListener("change", () => {
    for (const grid of choice.closest("article").querySelectorAll("svg g[class^='grid-']")) {
      grid.style.display = grid.classList.contains(choice.value) ? "" : "none";
    }
  });
  if (choice.checked) choice.dispatchEvent(new Event("change"));
}
addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details")) one.open = true; });
document.documentElement.dataset.ready = "yes";
