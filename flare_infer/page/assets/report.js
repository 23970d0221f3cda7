"use strict";
// The viewer of one case. Without it the page still has the picture and the tables.
(() => {
  const byId = (id) => document.getElementById(id);
  const text = (id) => byId(id).textContent;

  // Array axes of the viewer: x toward the patient's right, y toward the front, z toward the head.
  const AXIS = { sagittal: 0, coronal: 1, axial: 2 };
  const SLICE_TYPE = { axial: 0, coronal: 1, sagittal: 2 };
  const TILES = {
    axial: [0, 0, 0.495, 0.495],
    coronal: [0, 0.505, 0.495, 0.495],
    sagittal: [0.505, 0.505, 0.495, 0.495],
  };

  function say(words) {
    const message = byId("message");
    message.textContent = words;
    message.hidden = false;
  }

  function hasWebGL2() {
    const context = document.createElement("canvas").getContext("webgl2");
    if (!context) return false;
    context.getExtension("WEBGL_lose_context")?.loseContext();
    return true;
  }

  async function inflated(base64) {
    const packed = Uint8Array.from(atob(base64.trim()), (character) => character.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // Stored are differences along x, of gray values of which each stands for an intensity.
  function intensities(bytes, facts) {
    const columns = facts.shape[0];
    const Kind = facts.in_hounsfield ? Int16Array : Float32Array;
    const table = Kind.from(facts.values, (value) => (facts.in_hounsfield ? Math.round(value) : value));
    const voxels = new Kind(bytes.length);
    for (let start = 0; start < bytes.length; start += columns) {
      let gray = 0;
      for (let at = start; at < start + columns; at++) {
        gray = (gray + bytes[at]) & 255;
        voxels[at] = table[gray];
      }
    }
    return voxels;
  }

  // A NIfTI file in memory, which is what NiiVue reads.
  function nifti(voxels, facts, shape = facts.shape, affine = facts.affine) {
    const kinds = { Uint8Array: 2, Int16Array: 4, Float32Array: 16 };
    const buffer = new ArrayBuffer(352 + voxels.byteLength);
    const header = new DataView(buffer);
    header.setInt32(0, 348, true);
    [3, ...shape, 1, 1, 1, 1].forEach((size, at) => header.setInt16(40 + 2 * at, size, true));
    header.setInt16(70, kinds[voxels.constructor.name], true);
    header.setInt16(72, 8 * voxels.BYTES_PER_ELEMENT, true);
    [1, ...facts.spacing_mm, 1, 1, 1, 1].forEach((mm, at) => header.setFloat32(76 + 4 * at, mm, true));
    header.setFloat32(108, 352, true);
    header.setFloat32(112, 1, true);
    header.setUint8(123, 2); // mm
    header.setInt16(254, 1, true); // the affine below holds
    affine.flat().forEach((value, at) => header.setFloat32(280 + 4 * at, value, true));
    header.setUint32(344, 0x00312b6e, true); // "n+1"
    new Uint8Array(buffer).set(new Uint8Array(voxels.buffer), 352);
    return buffer;
  }

  // The box around all classes: there is less to draw in 3D, and it fills the view.
  function cropped(labels, facts) {
    const [columns, rows, slices] = facts.shape;
    const low = [columns, rows, slices], high = [0, 0, 0];
    labels.forEach((code, at) => {
      if (!code) return;
      const place = [at % columns, Math.floor(at / columns) % rows, Math.floor(at / columns / rows)];
      place.forEach((index, axis) => {
        low[axis] = Math.min(low[axis], index);
        high[axis] = Math.max(high[axis], index);
      });
    });
    if (high[0] < low[0]) return nifti(labels, facts);
    // A rim, without which the outermost faces of an organ would not be drawn.
    const start = low.map((index) => index - 2);
    const shape = high.map((index, axis) => index - start[axis] + 3);
    const box = new Uint8Array(shape[0] * shape[1] * shape[2]);
    for (let z = low[2]; z <= high[2]; z++) {
      for (let y = low[1]; y <= high[1]; y++) {
        const row = (z * rows + y) * columns;
        const target = ((z - start[2]) * shape[1] + y - start[1]) * shape[0] + 2;
        box.set(labels.subarray(row + low[0], row + high[0] + 1), target);
      }
    }
    const affine = facts.affine.map((row) => [
      ...row.slice(0, 3), row[3] + row[0] * start[0] + row[1] * start[1] + row[2] * start[2],
    ]);
    return nifti(box, facts, shape, affine);
  }

  function colorTable(facts, shown) {
    const R = [0], G = [0], B = [0], A = [0], I = [0], labels = [""];
    for (const one of facts.classes) {
      R.push(one.color[0]);
      G.push(one.color[1]);
      B.push(one.color[2]);
      A.push(shown.has(one.code) ? 255 : 0);
      I.push(one.code);
      labels.push(one.name);
    }
    return { R, G, B, A, I, labels };
  }

  const OPTIONS = {
    logLevel: "error",
    loadingText: "",
    dragAndDropEnabled: false,
    isRadiologicalConvention: true,
    sagittalNoseLeft: true,
    showAllOrientationMarkers: true,
    isOrientationTextVisible: true,
    isColorbar: false,
    showLegend: false,
    isRuler: false,
    backColor: [0, 0, 0, 1],
    fontColor: [0.93, 0.93, 0.93, 1],
    fontMinPx: 15,
    crosshairColor: [0.93, 0.93, 0.93, 0.55],
    crosshairWidth: 1,
    crosshairWidthUnit: "mm",
    crosshairGap: 10,
    multiplanarShowRender: 0,
    dragMode: 9, // of the right button: the window
  };

  class Viewer {
    constructor(facts) {
      this.facts = facts;
      this.shown = new Set(facts.classes.map((one) => one.code));
      this.planes = new niivue.Niivue({ ...OPTIONS });
      this.solid = new niivue.Niivue({ ...OPTIONS, show3Dcrosshair: false, crosshairWidth: 0, sliceType: 4 });
    }

    async start(image, labels) {
      const { level, width } = this.facts.windows[0];
      await this.planes.attachToCanvas(byId("planes"), true);
      await this.solid.attachToCanvas(byId("solid"), true);
      const read = niivue.NVImage.new.bind(niivue.NVImage);
      this.image = await read(nifti(image, this.facts), "image.nii", "gray", 1, null, level - width / 2, level + width / 2);
      this.labels = await read(nifti(labels, this.facts), "labels.nii", "gray", 0.45, null, 0, 255);
      this.bodies = await read(cropped(labels, this.facts), "bodies.nii", "gray", 1, null, 0, 255);
      this.color();
      this.planes.addVolume(this.image);
      this.planes.addVolume(this.labels);
      this.solid.addVolume(this.bodies);
      await this.solid.setVolumeRenderIllumination(0.7);
      this.solid.setRenderAzimuthElevation(180, 10); // from the front
      this.view("all");
      this.goTo(this.facts.start_mm);
    }

    get size() {
      return this.image.dimsRAS.slice(1, 4);
    }

    color() {
      for (const volume of [this.labels, this.bodies]) volume.setColormapLabel(colorTable(this.facts, this.shown));
    }

    show(codes) {
      this.shown = new Set(codes);
      this.color();
      this.planes.updateGLVolume();
      this.solid.updateGLVolume();
    }

    view(name) {
      document.querySelector(".stage").dataset.view = name;
      const names = name === "all" ? Object.keys(TILES) : name === "solid" ? [] : [name];
      if (names.length) {
        this.planes.setCustomLayout(
          names.map((one) => ({ sliceType: SLICE_TYPE[one], position: names.length > 1 ? TILES[one] : [0, 0, 1, 1] }))
        );
      }
      this.planes.resizeListener();
      this.solid.resizeListener();
    }

    goTo(mm) {
      this.planes.scene.crosshairPos = this.planes.mm2frac(mm);
      this.moved();
    }

    // Indices (x, y, z) of the voxel in the crosshair, from 0.
    get voxel() {
      return this.size.map((size, axis) =>
        Math.min(size - 1, Math.max(0, Math.floor(this.planes.scene.crosshairPos[axis] * size)))
      );
    }

    set voxel(indices) {
      this.planes.scene.crosshairPos = this.size.map(
        (size, axis) => (Math.min(size - 1, Math.max(0, indices[axis])) + 0.5) / size
      );
      this.moved();
    }

    step(axis, by) {
      const voxel = this.voxel;
      voxel[axis] += by;
      this.voxel = voxel;
    }

    moved() {
      this.planes.drawScene();
      this.planes.createOnLocationChange();
    }

    window(level, width) {
      this.image.cal_min = level - width / 2;
      this.image.cal_max = level + width / 2;
      this.planes.updateGLVolume();
    }

    turn(azimuth, elevation) {
      this.solid.setRenderAzimuthElevation(this.solid.scene.renderAzimuth + azimuth, this.solid.scene.renderElevation + elevation);
    }
  }

  function connectPlaces(viewer) {
    viewer.size.forEach((size, axis) => {
      const name = Object.keys(AXIS).find((one) => AXIS[one] === axis);
      const slider = byId(`at-${name}`);
      slider.max = size;
      slider.addEventListener("input", () => {
        const voxel = viewer.voxel;
        voxel[axis] = slider.valueAsNumber - 1;
        viewer.voxel = voxel;
      });
    });
    const names = new Map(viewer.facts.classes.map((one) => [one.code, one.name]));
    viewer.planes.onLocationChange = (location) => {
      viewer.voxel.forEach((index, axis) => {
        const name = Object.keys(AXIS).find((one) => AXIS[one] === axis);
        byId(`at-${name}`).value = index + 1;
        byId(`number-${name}`).textContent = `${index + 1} of ${viewer.size[axis]}`;
      });
      const [gray, code] = location.values.map((one) => one.value);
      const value = viewer.facts.in_hounsfield ? `about ${Math.round(gray)} HU` : `about ${Number(gray.toPrecision(3))}`;
      const sides = [["left", "right"], ["back", "front"], ["feet", "head"]];
      const where = Array.from(location.mm).slice(0, 3).map((mm, axis) => `${Math.abs(mm).toFixed(0)} mm ${sides[axis][mm > 0 ? 1 : 0]}`);
      byId("place").textContent = `${names.get(Math.round(code)) ?? "no class"}, ${value}, at ${where.join(", ")}`;
    };
    for (const button of document.querySelectorAll(".go")) {
      button.hidden = false;
      button.addEventListener("click", () => {
        viewer.goTo(button.dataset.mm.split(" ").map(Number));
        document.querySelector(".stage").scrollIntoView({ block: "nearest" });
        byId("planes").focus({ preventScroll: true });
      });
    }
  }

  function connectWindow(viewer) {
    const preset = byId("window"), level = byId("level"), width = byId("width");
    const show = (newLevel, newWidth) => {
      level.value = Number(newLevel.toPrecision(4));
      width.value = Number(newWidth.toPrecision(4));
      preset.value = `${level.value} ${width.value}`;
      if (preset.selectedIndex < 0) preset.value = "";
    };
    const { level: first, width: wide } = viewer.facts.windows[0];
    show(first, wide);
    preset.addEventListener("change", () => {
      if (!preset.value) return level.focus();
      const [newLevel, newWidth] = preset.value.split(" ").map(Number);
      viewer.window(newLevel, newWidth);
      show(newLevel, newWidth);
    });
    for (const field of [level, width]) {
      field.addEventListener("change", () => {
        if (!Number.isFinite(level.valueAsNumber) || !(width.valueAsNumber > 0)) return;
        viewer.window(level.valueAsNumber, width.valueAsNumber);
        show(level.valueAsNumber, width.valueAsNumber);
      });
    }
    viewer.planes.onIntensityChange = (volume) => show((volume.cal_min + volume.cal_max) / 2, volume.cal_max - volume.cal_min);
  }

  function connectClasses(viewer) {
    const boxes = Array.from(document.querySelectorAll(".organ"));
    const changed = () => viewer.show(boxes.filter((box) => box.checked).map((box) => Number(box.value)));
    for (const box of boxes) box.addEventListener("change", changed);
    for (const [id, checked] of [["all", true], ["none", false]]) {
      byId(id).addEventListener("click", () => {
        for (const box of boxes) box.checked = checked;
        changed();
      });
    }
    const opacity = byId("opacity");
    const show = () => {
      byId("opacity-number").textContent = `${opacity.value} %`;
      viewer.planes.setOpacity(1, opacity.valueAsNumber / 100);
    };
    opacity.addEventListener("input", show);
    show();
    for (const radio of document.querySelectorAll('input[name="view"]')) {
      radio.checked = radio.value === "all";
      radio.addEventListener("change", () => viewer.view(radio.value));
    }
    for (const box of boxes) box.checked = true; // browsers keep what was there before the page was loaded anew
  }

  // NiiVue listens to keys of its own, which change views behind the back of the controls.
  function connectKeys(viewer) {
    const planes = {
      ArrowUp: () => viewer.step(2, 1),
      ArrowDown: () => viewer.step(2, -1),
      PageUp: () => viewer.step(2, 10),
      PageDown: () => viewer.step(2, -10),
      ArrowLeft: () => viewer.step(0, 1),
      ArrowRight: () => viewer.step(0, -1),
    };
    const planesWithShift = { ArrowUp: () => viewer.step(1, 1), ArrowDown: () => viewer.step(1, -1) };
    const solid = {
      ArrowLeft: () => viewer.turn(10, 0),
      ArrowRight: () => viewer.turn(-10, 0),
      ArrowUp: () => viewer.turn(0, 10),
      ArrowDown: () => viewer.turn(0, -10),
    };
    const stage = document.querySelector(".stage");
    stage.addEventListener("keydown", (event) => {
      event.stopPropagation();
      const keys = event.target.id === "solid" ? solid : event.shiftKey ? planesWithShift : planes;
      if (!(event.key in keys) || event.ctrlKey || event.altKey || event.metaKey) return;
      keys[event.key]();
      event.preventDefault();
    }, true);
    // A double click would set a window that nobody chose.
    for (const kind of ["keyup", "dblclick"]) stage.addEventListener(kind, (event) => event.stopPropagation(), true);
  }

  async function main() {
    if (!hasWebGL2()) return say("This browser has no WebGL2, which the viewer needs; the picture and the tables show the same case.");
    if (typeof DecompressionStream === "undefined") return say("This browser is too old for the viewer; the picture and the tables show the same case.");
    const facts = JSON.parse(text("facts"));
    const [image, labels] = await Promise.all([inflated(text("image")), inflated(text("labels"))]);
    byId("viewer").hidden = false;
    document.body.classList.add("viewing");
    const viewer = new Viewer(facts);
    await viewer.start(intensities(image, facts), labels);
    connectPlaces(viewer);
    connectWindow(viewer);
    connectClasses(viewer);
    connectKeys(viewer);
    viewer.moved();
    byId("message").hidden = true;
    byId("viewer").dataset.ready = "yes";
  }

  main().catch((error) => {
    byId("viewer").hidden = true;
    document.body.classList.remove("viewing");
    say(`The viewer could not start (${error.message}); the picture and the tables show the same case.`);
    console.error(error);
  });
})();
