"use strict";
// Runs the layers that export.py lists, in the arithmetic of models/encoders.py, decoders.py and heads.py in eval mode.
// An image or a map is {data: Float32Array, shape: [height, width, channels]}; a vector has the shape [1, 1, length].

// The page's arrays.  sizes: numbers of each part of the store; packed: bytes of the deflated text.
async function unpack(text, {sizes, packed}) {
  const words = new Uint16Array(text.length);
  for (let i = 0, n = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    words[n++] = code === 0xe000 ? text.charCodeAt(++i) ^ 0x8000 : code;
  }
  const inflate = new DecompressionStream("deflate"), writer = inflate.writable.getWriter();
  writer.write(new Uint8Array(words.buffer, 0, packed));
  writer.close();
  const buffer = await new Response(inflate.readable).arrayBuffer();
  const single = new Float32Array(buffer, 0, sizes.single);
  const low = new Uint8Array(buffer, 4 * sizes.single, sizes.half);
  const high = new Uint8Array(buffer, 4 * sizes.single + sizes.half, sizes.half);
  const bytes = new Uint8Array(buffer, 4 * sizes.single + 2 * sizes.half, sizes.bytes);
  const value = Float32Array.from({length: 65536}, (_, code) => float16(code));
  const half = new Float32Array(sizes.half);
  for (let i = 0; i < half.length; i++) half[i] = value[low[i] | high[i] << 8];
  const parts = {single, half, bytes};
  return ([part, start, count]) => parts[part].subarray(start, start + count);
}

function float16(code) {
  const exponent = code >> 10 & 31, fraction = (code & 1023) / 1024, sign = code >> 15 ? -1 : 1;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
}

// Abramowitz and Stegun 1964, 7.1.26: within 1.5e-7
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const y = 1 - t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    * Math.exp(-x * x);
  return x < 0 ? -y : y;
}

const ACTIVATIONS = {
  gelu: (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2)), // the exact form, torch's default
  relu: (x) => Math.max(x, 0),
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
};

// scale, shift and activation, in place; both are per channel
function finish({data}, {scale, shift, act}) {
  const f = ACTIVATIONS[act];
  if (scale) for (let i = 0; i < data.length; i++) data[i] *= scale[i % scale.length];
  if (shift) for (let i = 0; i < data.length; i++) data[i] += shift[i % shift.length];
  if (f) for (let i = 0; i < data.length; i++) data[i] = f(data[i]);
}

// Each of the rows of x times each row of the weight: (rows, inputs) and (outputs, inputs) -> (rows, outputs).
// Two rows by four outputs at once, since reading numbers takes longer than multiplying them; the last may repeat.
function multiply(weight, outputs, x, rows) {
  const inputs = weight.length / outputs, out = new Float32Array(rows * outputs);
  for (let row = 0; row < rows; row += 2) {
    const next = Math.min(row + 1, rows - 1), x0 = row * inputs, x1 = next * inputs;
    for (let o = 0; o < outputs; o += 4) {
      const o1 = Math.min(o + 1, outputs - 1), o2 = Math.min(o + 2, outputs - 1), o3 = Math.min(o + 3, outputs - 1);
      const w0 = o * inputs, w1 = o1 * inputs, w2 = o2 * inputs, w3 = o3 * inputs;
      let a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
      for (let i = 0; i < inputs; i++) {
        const a = x[x0 + i], b = x[x1 + i];
        const p = weight[w0 + i], q = weight[w1 + i], r = weight[w2 + i], s = weight[w3 + i];
        a0 += a * p; a1 += a * q; a2 += a * r; a3 += a * s;
        b0 += b * p; b1 += b * q; b2 += b * r; b3 += b * s;
      }
      const to = row * outputs, then = next * outputs;
      out[to + o] = a0; out[to + o1] = a1; out[to + o2] = a2; out[to + o3] = a3;
      out[then + o] = b0; out[then + o1] = b1; out[then + o2] = b2; out[then + o3] = b3;
    }
  }
  return out;
}

const LAYERS = {
  affine: ({data, shape}) => ({data: data.slice(), shape}),
  dense: ({data}, {weight, outputs}) => ({data: multiply(weight, outputs, data, 1), shape: [1, 1, outputs]}),
  conv({data, shape: [height, width, channels]}, {weight, outputs, side, padding, pooled}) {
    let rows = height + 2 * padding - side + 1, columns = width + 2 * padding - side + 1;
    if (pooled) [rows, columns] = [rows - rows % 2, columns - columns % 2]; // pooling drops an odd last one
    const patches = new Float32Array(rows * columns * side * side * channels); // 0 beyond the border
    for (let y = 0, to = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        for (let v = y - padding; v < y - padding + side; v++) {
          for (let u = x - padding; u < x - padding + side; u++, to += channels) {
            if (v < 0 || u < 0 || v >= height || u >= width) continue;
            for (let c = 0, from = (v * width + u) * channels; c < channels; c++) patches[to + c] = data[from + c];
          }
        }
      }
    }
    const map = {data: multiply(weight, outputs, patches, rows * columns), shape: [rows, columns, outputs]};
    return pooled ? pooledOver(map, rows / 2, columns / 2, true) : map;
  },
  double({data, shape: [height, width, channels]}) {
    const out = new Float32Array(4 * data.length);
    for (let i = 0; i < out.length; i++) {
      const c = i % channels, x = Math.floor(i / channels) % (2 * width), y = Math.floor(i / channels / (2 * width));
      out[i] = data[((y >> 1) * width + (x >> 1)) * channels + c];
    }
    return {data: out, shape: [2 * height, 2 * width, channels]};
  },
  // torch orders a flattened map by channel, then row, then column
  pool({data, shape: [height, width, channels]}, {how}) {
    const pixels = height * width;
    if (how !== "flatten") return pooledOver({data, shape: [height, width, channels]}, 1, 1, how === "max");
    return {data: data.map((_, i) => data[i % pixels * channels + Math.floor(i / pixels)]), shape: [1, 1, data.length]};
  },
  image({data}, {shape}) {
    const pixels = shape[0] * shape[1], channels = shape[2];
    return {data: data.map((_, i) => data[i % channels * pixels + Math.floor(i / channels)]), shape};
  },
  keep(map, {grid}, kept) {
    kept.push(LAYERS.pool(pooledOver(map, grid, grid), {how: "flatten"}).data);
    return map;
  },
  kept({data}, _, kept) {
    const all = Float32Array.from([...kept, data].flatMap((part) => [...part]));
    return {data: all, shape: [1, 1, all.length]};
  },
};

// Maximum or mean over the cells of a grid, whose borders are those of torch's adaptive pooling
function pooledOver({data, shape: [height, width, channels]}, rows, columns, largest) {
  const out = new Float32Array(rows * columns * channels).fill(largest ? -Infinity : 0);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const top = Math.floor(y * height / rows), bottom = Math.ceil((y + 1) * height / rows);
      const left = Math.floor(x * width / columns), right = Math.ceil((x + 1) * width / columns);
      const to = (y * columns + x) * channels, area = (bottom - top) * (right - left);
      for (let v = top; v < bottom; v++) {
        for (let u = left; u < right; u++) {
          for (let c = 0, from = (v * width + u) * channels; c < channels; c++) {
            out[to + c] = largest ? Math.max(out[to + c], data[from + c]) : out[to + c] + data[from + c] / area;
          }
        }
      }
    }
  }
  return {data: out, shape: [rows, columns, channels]};
}

// The layers with their arrays in place of references
const filled = (layers, get) => layers.map((layer) => Object.fromEntries(Object.entries(layer).map(
  ([key, value]) => [key, ["weight", "scale", "shift"].includes(key) ? get(value) : value])));

// data: Float32Array or array of the shape's size -> Float32Array
function run(layers, data, shape = [1, 1, data.length]) {
  let x = {data, shape};
  const kept = [];
  for (const layer of layers) {
    x = LAYERS[layer.kind](x, layer, kept);
    finish(x, layer);
  }
  return x.data;
}
