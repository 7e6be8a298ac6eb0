// Keeps the newest words in sight, unless the reader goes up. Where the page is does not tell: smooth scrolling begins at the end.
const AT_THE_END_PX = 24;

export class Scrolling {
  staysAtEnd = true;
  #section;

  constructor(section) {
    this.#section = section;
    let before = { top: 0, height: 0 }, touchedAt = 0;
    section.addEventListener("wheel", (event) => event.deltaY < 0 && this.#goUp(), { passive: true });
    section.addEventListener("keydown", (event) => ["ArrowUp", "PageUp", "Home"].includes(event.key) && this.#goUp());
    section.addEventListener("touchstart", (event) => (touchedAt = event.touches[0].clientY), { passive: true });
    section.addEventListener("touchmove", (event) => event.touches[0].clientY > touchedAt && this.#goUp(), { passive: true });
    section.addEventListener("scroll", () => {
      const { scrollTop: top, scrollHeight: height } = section;
      if (top < before.top && height === before.height) this.#goUp(); // with the scroll bar
      else if (top > before.top && height - top - section.clientHeight < AT_THE_END_PX) this.staysAtEnd = true;
      before = { top, height };
    });
  }

  toEnd() {
    if (this.staysAtEnd) this.#section.scrollTop = this.#section.scrollHeight;
  }

  #goUp() {
    this.staysAtEnd = this.#section.scrollHeight <= this.#section.clientHeight;
  }
}
