// Grey levels as shades of the screen: the LINEAR window of DICOM PS3.3 C.11.2.1.2.1, as overread/arrays/windows.py.

const GREYS = 65536;

/** The shade, 0 to 255, of every grey level.  Ties are rounded to the even one, as numpy does. */
export function table(centre, width, invert) {
  const shades = new Uint8ClampedArray(GREYS);
  for (let grey = 0; grey < GREYS; grey += 1) {
    const above = grey - (centre - width / 2);
    // A clamped array rounds to the nearest, ties to the even one, and clips.
    shades[grey] = width > 1 ? Math.min(Math.max(above / (width - 1), 0), 1) * 255 : above > 0 ? 255 : 0;
    if (invert) shades[grey] = 255 - shades[grey];
  }
  return shades;
}

/** Draw `levels` (height x width grey levels) on the canvas with this table of shades. */
export function draw(canvas, levels, width, height, shades) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  const words = new Uint32Array(pixels.data.buffer);
  // Opaque; the three colours are alike, so that the order of bytes does not matter but for the last.
  const word = new Uint32Array(GREYS);
  const bytes = new Uint8ClampedArray(word.buffer);
  for (let grey = 0; grey < GREYS; grey += 1) {
    bytes.fill(shades[grey], 4 * grey, 4 * grey + 3);
    bytes[4 * grey + 3] = 255;
  }
  for (let i = 0; i < levels.length; i += 1) words[i] = word[levels[i]];
  context.putImageData(pixels, 0, 0);
}
