// What mouse, fingers and pen do to the viewer.

const WHEEL = 0.0015;
const DRAG = 1 / 400;

/** Zoom with wheel, pinch and double click, pan by dragging, change the light by dragging with the right button. */
export function followPointers(stage, viewer) {
  const pointers = new Map();

  const fromCentre = ({ clientX, clientY }) => {
    const box = stage.getBoundingClientRect();
    return { x: clientX - box.left - box.width / 2, y: clientY - box.top - box.height / 2 };
  };
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return { size: Math.hypot(a.x - b.x, a.y - b.y), middle: { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 } };
  };

  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    viewer.zoom(Math.exp(-event.deltaY * lines * WHEEL), fromCentre(event));
  }, { passive: false });

  stage.addEventListener("dblclick", (event) => viewer.toggleFit(fromCentre(event)));
  stage.addEventListener("contextmenu", (event) => event.preventDefault());

  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { ...fromCentre(event), right: event.button === 2 });
  });

  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = { ...fromCentre(event), right: before.right };
    const [x, y] = [now.x - before.x, now.y - before.y];
    if (pointers.size === 2) {
      const old = spread();
      pointers.set(event.pointerId, now);
      const { size, middle } = spread();
      viewer.pan(middle.x - old.middle.x, middle.y - old.middle.y);
      viewer.zoom(size / Math.max(old.size, 1), middle);
      return;
    }
    pointers.set(event.pointerId, now);
    if (before.right) viewer.adjust(-y * DRAG, x * DRAG);
    else viewer.pan(x, y);
  });

  const end = (event) => pointers.delete(event.pointerId);
  stage.addEventListener("pointerup", end);
  stage.addEventListener("pointercancel", end);
}
