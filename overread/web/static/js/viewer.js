// One image, large: zoom, pan, and how light it is.  Every image begins as the data set shows it, so that nobody reads
// with the settings of the image before.

import { h } from "./dom.js";
import { followPointers } from "./gestures.js";
import { draw, table } from "./shades.js";

const MARGIN = 12;
const LARGEST = 64;
const PLAIN = { brightness: 1, contrast: 1, invert: false };

/** Shows pictures in `element`.  Event "changed": zoom or light are others now. */
export class Viewer extends EventTarget {
  #image = h("img", { class: "picture", alt: "The image to read", draggable: false });
  #canvas = h("canvas", { class: "picture", hidden: true, role: "img", "aria-label": "The image to read" });
  #drawing = false;
  picture = null;

  constructor() {
    super();
    this.element = h("div", { class: "stage" }, this.#image, this.#canvas);
    followPointers(this.element, this);
    new ResizeObserver(() => this.#resized()).observe(this.element);
    this.show(null);
  }

  show(picture) {
    this.picture = picture;
    this.#image.hidden = !picture;
    this.#canvas.hidden = true;
    if (picture) this.#image.src = picture.url;
    else this.#image.removeAttribute("src");
    this.reset();
  }

  /** How it was when it came. */
  reset() {
    this.light = { ...PLAIN };
    if (this.grey) Object.assign(this.light, { centre: this.grey.centre, window: this.grey.window });
    this.fit();
    this.#relight();
  }

  /** What the server says of the grey levels; null for an image with colours. */
  get grey() {
    return this.picture?.about.grey ? this.picture.about : null;
  }

  get #room() {
    return { width: this.element.clientWidth, height: this.element.clientHeight };
  }

  get #fitScale() {
    const { width, height } = this.#room;
    const { width: w, height: h } = this.picture;
    return Math.max(Math.min((width - 2 * MARGIN) / w, (height - 2 * MARGIN) / h), 0.01);
  }

  fit() {
    Object.assign(this, { fitted: true, x: 0, y: 0, scale: this.picture ? this.#fitScale : 1 });
    this.#place();
  }

  /** Between the whole image and its own pixels, or twice as large where those are small. */
  toggleFit(at) {
    if (!this.picture) return;
    if (!this.fitted) this.fit();
    else this.zoom(Math.max(1 / devicePixelRatio / this.scale, 2), at);
  }

  /** `factor` times as large; `at`, from the centre of the stage, stays where it is. */
  zoom(factor, at = { x: 0, y: 0 }) {
    if (!this.picture) return;
    const least = this.#fitScale;
    const scale = Math.min(Math.max(this.scale * factor, least), Math.max(LARGEST, 8 * least));
    const ratio = scale / this.scale;
    this.x = at.x - (at.x - this.x) * ratio;
    this.y = at.y - (at.y - this.y) * ratio;
    this.scale = scale;
    this.fitted = scale <= least * 1.001;
    this.#place();
  }

  pan(x, y) {
    this.x += x;
    this.y += y;
    this.#place();
  }

  #resized() {
    if (!this.picture) return;
    if (this.fitted) this.fit();
    else this.#place();
  }

  #place() {
    if (this.picture) {
      const { width, height } = this.#room;
      const [w, h] = [this.picture.width * this.scale, this.picture.height * this.scale];
      // No further than the edge of the image to the edge of the stage.
      const most = { x: Math.max((w - width) / 2, 0), y: Math.max((h - height) / 2, 0) };
      this.x = Math.min(Math.max(this.x, -most.x), most.x);
      this.y = Math.min(Math.max(this.y, -most.y), most.y);
      for (const { style } of [this.#image, this.#canvas]) {
        style.width = `${w}px`;
        style.height = `${h}px`;
        style.transform = `translate(${(width - w) / 2 + this.x}px, ${(height - h) / 2 + this.y}px)`;
      }
    }
    this.element.classList.toggle("zoomed", Boolean(this.picture) && !this.fitted);
    this.dispatchEvent(new Event("changed"));
  }

  /** Set some of `brightness`, `contrast`, `centre`, `window` and `invert`. */
  setLight(light) {
    if (!this.picture) return;
    Object.assign(this.light, light);
    this.#relight();
  }

  /** Lighter and richer in contrast by these shares, whatever the image has for it. */
  adjust(lighter, richer) {
    const { light, grey } = this;
    const range = grey && grey.highest - grey.lowest + 1;
    if (grey) {
      const window = Math.max(light.window * 2 ** -richer, 1);
      // Of an image whose large levels are dark, the other way.
      const centre = light.centre - lighter * range * (grey.invert !== light.invert ? -1 : 1);
      this.setLight({ window, centre: Math.min(Math.max(centre, grey.lowest), grey.highest) });
    } else {
      const within = (value) => Math.min(Math.max(value, 0.36), 2.8);
      this.setLight({ brightness: within(light.brightness + lighter), contrast: within(light.contrast + richer) });
    }
  }

  get isAdjusted() {
    const { light, grey } = this;
    const moved = grey && (light.centre !== grey.centre || light.window !== grey.window);
    return moved || light.brightness !== 1 || light.contrast !== 1 || light.invert;
  }

  #relight() {
    const { brightness, contrast, invert } = this.light;
    const filters = [];
    if (brightness !== 1) filters.push(`brightness(${brightness})`);
    if (contrast !== 1) filters.push(`contrast(${contrast})`);
    // Grey levels are inverted where they become shades, so that the window stays what it is.
    if (invert && !this.grey) filters.push("invert(1)");
    this.#image.style.filter = filters.join(" ");
    this.dispatchEvent(new Event("changed"));
    if (this.grey && (this.isAdjusted || !this.#canvas.hidden)) this.#redraw();
  }

  async #redraw() {
    if (this.#drawing) return;
    this.#drawing = true;
    const { picture } = this;
    try {
      const levels = await picture.grey();
      await new Promise(requestAnimationFrame);
      if (this.picture === picture) {
        const { light, grey } = this;
        draw(this.#canvas, levels, picture.width, picture.height, this.#shades(light, grey));
        // What the server drew may follow a curve of the file; it is what an image that nobody changed looks like.
        this.#canvas.hidden = !this.isAdjusted;
        this.#image.hidden = this.isAdjusted;
        this.drawn = { ...light };
      }
    } catch {
      this.dispatchEvent(new Event("unreachable"));
      return;
    } finally {
      this.#drawing = false;
    }
    // The light may have changed meanwhile, or the image.
    if (this.grey && JSON.stringify(this.drawn) !== JSON.stringify(this.light)) this.#relight();
  }

  #shades(light, grey) {
    return table(light.centre, light.window, grey.invert !== light.invert);
  }
}
