// Starts every figure with controls on the page; cladec_companion/evidence/explorer.py writes this behind each of them.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const add = (parent, kind, values = {}, text = "") => {
    const space = kind === "svg" || parent.namespaceURI === SVG ? SVG : "http://www.w3.org/1999/xhtml";
    const made = document.createElementNS(space, kind);
    for (const name in values) made.setAttribute(name, values[name]);
    made.textContent = text;
    return parent.appendChild(made);
  };

  // Small pictures side by side, cut out of one sprite.
  function pictures(stage, data, choose) {
    const side = data.side, sprite = new Image();
    stage.style.setProperty("--panes", data.panes.length);
    const panes = data.panes.map(({name, colour, tiles}) => {
      const pane = add(stage, "div");
      const canvas = add(pane, "canvas", {width: side, height: side, role: "img", style: `border-color:${colour}`});
      add(pane, "div", {"aria-hidden": "true"}, name);
      return {name, tiles, canvas, paint: canvas.getContext("2d")};
    });
    let last = () => {};
    const draw = (state, words) => (last = () => {
      for (const {name, tiles, canvas, paint} of panes) {
        const x = tiles[state] % data.columns, y = Math.floor(tiles[state] / data.columns);
        paint.drawImage(sprite, x * side, y * side, side, side, 0, 0, side, side);
        canvas.setAttribute("aria-label", `${name}: ${words}`);
        canvas.dataset.tile = tiles[state];
      }
    })();
    sprite.onload = () => { last(); stage.dataset.drawn = "yes"; };
    sprite.src = data.sprite;
    if (data.drag) drag(panes[0].canvas, data, choose);
    return draw;
  }

  // The square follows the pointer over the first picture: the nearest of its places.
  function drag(canvas, {side, drag: {corners, square}}, choose) {
    const nearest = (where) => {
      const distances = corners.map((corner) => Math.abs(corner + square / 2 - where));
      return distances.indexOf(Math.min(...distances));
    };
    const follow = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      const box = canvas.getBoundingClientRect();
      const row = nearest((event.clientY - box.top) / box.height * side);
      const column = nearest((event.clientX - box.left) / box.width * side);
      choose(row * corners.length + column);
      event.preventDefault();
    };
    canvas.classList.add("draggable");
    canvas.addEventListener("pointerdown", follow);
    canvas.addEventListener("pointermove", follow);
  }

  // Points in the plane, their reconstructions from one number, and the encoder as a line (chapter on theory).
  function plane(stage, {points, frames, colours}) {
    const svg = add(stage, "svg", {viewBox: "-6 -3.6 12 7.2", "aria-hidden": "true"});
    const line = (values) => add(svg, "line", {stroke: "#999", "stroke-width": 0.03, ...values});
    line({x1: -6, x2: 6});
    line({y1: -3.6, y2: 3.6});
    add(svg, "text", {x: 5.4, y: -0.15, "font-size": 0.4, fill: "currentColor"}, "x₁");
    add(svg, "text", {x: 0.12, y: -3.2, "font-size": 0.4, fill: "currentColor"}, "x₂");
    const pairs = points.map(([x, y]) => {
      const joined = line({x1: x, y1: -y});
      add(svg, "circle", {cx: x, cy: -y, r: 0.09, fill: colours.original});
      return [x, y, joined, add(svg, "circle", {r: 0.11})];
    });
    const encoder = line({class: "encoder", stroke: "currentColor", "stroke-width": 0.08});
    return (state) => {
      const {e, r} = frames[state], set = (node, values) => { for (const key in values) node.setAttribute(key, values[key]); };
      for (const [x, y, joined, dot] of pairs) {
        const code = e[0] * x + e[1] * y, cx = r[0] * code, cy = -r[1] * code;
        set(joined, {x2: cx, y2: cy});
        set(dot, {cx, cy, fill: state ? colours.cladec : colours.refae});
      }
      set(encoder, {x2: 2.6 * e[0], y2: -2.6 * e[1]});
    };
  }

  function start(root) {
    const data = JSON.parse(root.querySelector("script").textContent);
    const stage = add(root, "div", {class: `explorer-stage ${data.kind}`}), panel = add(root, "div", {class: "explorer-controls"});
    const note = add(root, "p", {"aria-live": "polite"});
    const inputs = data.controls.map(({label, values, slider, start}) => {
      const row = add(panel, "label", values.length > 1 ? {} : {hidden: ""});
      add(row, "span", {}, label);
      const input = add(row, slider ? "input" : "select", slider ? {type: "range", min: 0, max: values.length - 1} : {});
      if (!slider) values.forEach((value, place) => add(input, "option", {value: place}, value));
      input.value = start;
      input.addEventListener("input", update);
      return {input, values, shown: slider ? add(row, "output") : null};
    });
    const last = inputs[inputs.length - 1].input;
    const draw = {pictures, plane}[data.kind](stage, data, (place) => { last.value = place; update(); });
    if (data.drag) last.addEventListener("keydown", (event) => { // up and down: a row of places
      const rows = {ArrowUp: -1, ArrowDown: 1}[event.key];
      if (!rows) return;
      event.preventDefault();
      const place = Number(last.value) + rows * data.drag.corners.length;
      if (place >= 0 && place <= last.max) { last.value = place; update(); }
    });
    function update() {
      let state = 0;
      const words = inputs.map(({input, values, shown}) => {
        state = state * values.length + Number(input.value);
        const word = values[input.value];
        if (shown) { shown.textContent = word; input.setAttribute("aria-valuetext", word); }
        return word;
      });
      note.textContent = data.notes[state];
      draw(state, words.join(", "));
    }
    update();
    root.classList.add("ready");
  }

  document.querySelectorAll(".explorer:not(.ready)").forEach(start);
})();
