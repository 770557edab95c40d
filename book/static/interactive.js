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

  // Some panes stay covered until the reader has voted; then the answer stands beside the vote.
  function vote(stage, data, choose) {
    const root = stage.parentElement, paint = pictures(stage, data, choose), votes = {};
    const panes = [...stage.children].map((pane, place) => {
      const canvas = pane.querySelector("canvas"), frame = document.createElement("span");
      frame.className = "explorer-frame";
      canvas.replaceWith(frame);
      frame.append(canvas);
      return {pane, box: add(frame, "i"), hidden: data.hidden.includes(data.panes[place].name)};
    });
    const ballot = add(root, "div", {class: "explorer-votes", role: "group", "aria-label": "Your vote"});
    const said = add(root, "p", {"aria-live": "polite"});
    let state = 0, words = "";
    const buttons = data.options.map((option, place) => {
      const button = add(ballot, "button", {type: "button"});
      button.addEventListener("click", () => { votes[state] = place; show(); next.focus(); });
      return button;
    });
    const next = add(add(root, "div", {class: "explorer-votes"}), "button", {type: "button"}, "Next case");
    next.addEventListener("click", () => choose((state + 1) % data.answers.length));
    function show() {
      const own = votes[state], right = data.answers[state], voted = own !== undefined, box = data.boxes[state];
      for (const {pane, box: mark, hidden} of panes) {
        pane.classList.toggle("veiled", hidden && !voted);
        mark.hidden = !box;
        if (box) {
          const [top, bottom, left, end] = box.map((pixels) => pixels / data.side * 100);
          mark.style.cssText = `top:${top}%;left:${left}%;width:${end - left}%;height:${bottom - top}%`;
        }
      }
      buttons.forEach((button, place) => {
        button.disabled = voted;
        button.className = voted && place === right ? "right" : place === own ? "own" : "";
        const mark = voted && place === right ? " ✓" : place === own ? " (your vote)" : "";
        button.textContent = `${"ABCD"[place]}. ${data.options[place]}${mark}`;
      });
      const cast = Object.keys(votes), agreed = cast.filter((at) => votes[at] === data.answers[at]).length;
      said.textContent = voted
        ? `${own === right ? "The numbers agree" : "The numbers say"}: ${data.options[right]}. ${data.reasons[state]} `
          + `(You and the numbers agree in ${agreed} of ${cast.length}.)`
        : "Vote, and the reference appears.";
      paint(state, words);
    }
    return (at, told) => { state = at; words = told; show(); };
  }

  // Points in the plane, their reconstructions from one number, and the encoder as a line (chapter on theory).
  function plane(stage, {points, frames, colours}) {
    const svg = add(stage, "svg", {viewBox: "-6 -3.6 12 7.2", "aria-hidden": "true"});
    const line = (values) => add(svg, "line", {stroke: "#999", "stroke-width": 0.03, ...values});
    line({x1: -6, x2: 6});
    line({y1: -3.6, y2: 3.6});
    add(svg, "text", {x: 5.4, y: -0.15, "font-size": 0.4, fill: "currentColor"}, "x₁");
    add(svg, "text", {x: 0.12, y: -3.2, "font-size": 0.4, fill: "currentColor"}, "x₂");
    const place = ({e, r}, x, y) => {
      const code = e[0] * x + e[1] * y;
      return {cx: r[0] * code, cy: -r[1] * code};
    };
    const pairs = points.map(([x, y]) => {
      const joined = line({x1: x, y1: -y});
      add(svg, "circle", {...place(frames[0], x, y), r: 0.08, fill: colours.refae, class: "reference"});
      add(svg, "circle", {cx: x, cy: -y, r: 0.09, fill: colours.original});
      return [x, y, joined, add(svg, "circle", {r: 0.11})];
    });
    const encoder = line({class: "encoder", stroke: "currentColor", "stroke-width": 0.08});
    return (state) => {
      const {e} = frames[state], set = (node, values) => { for (const key in values) node.setAttribute(key, values[key]); };
      for (const [x, y, joined, dot] of pairs) {
        const {cx, cy} = place(frames[state], x, y);
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
    const draw = {pictures, vote, plane}[data.kind](stage, data, (place) => { last.value = place; update(); });
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
