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
  const a = scale, b = shift, channels = (a ?? b)?.length;
  if (channels) for (let i = 0; i < data.length; i++) data[i] = data[i] * (a ? a[i % channels] : 1) + (b ? b[i % channels] : 0);
  if (f) for (let i = 0; i < data.length; i++) data[i] = f(data[i]);
}

// out[to + o] = sum over i of weight[o, i] x[from + i]
function multiply(weight, outputs, inputs, x, from, out, to) {
  const even = inputs - inputs % 4;
  for (let o = 0, w = 0; o < outputs; o++) {
    let s0 = 0, s1 = 0, s2 = 0, s3 = 0, i = 0;
    for (; i < even; i += 4, w += 4) {
      s0 += weight[w] * x[from + i];
      s1 += weight[w + 1] * x[from + i + 1];
      s2 += weight[w + 2] * x[from + i + 2];
      s3 += weight[w + 3] * x[from + i + 3];
    }
    for (; i < inputs; i++, w++) s0 += weight[w] * x[from + i];
    out[to + o] = s0 + s1 + s2 + s3;
  }
}

const LAYERS = {
  affine: ({data, shape}) => ({data: data.slice(), shape}),
  dense({data}, {weight, outputs}) {
    const out = new Float32Array(outputs);
    multiply(weight, outputs, data.length, data, 0, out, 0);
    return {data: out, shape: [1, 1, outputs]};
  },
  conv({data, shape: [height, width, channels]}, {weight, outputs, side, padding, pooled}) {
    let rows = height + 2 * padding - side + 1, columns = width + 2 * padding - side + 1;
    if (pooled) [rows, columns] = [rows - rows % 2, columns - columns % 2]; // pooling drops an odd last one
    const patch = new Float32Array(side * side * channels), out = new Float32Array(rows * columns * outputs);
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        for (let dy = 0, to = 0; dy < side; dy++) {
          for (let dx = 0; dx < side; dx++, to += channels) {
            const v = y + dy - padding, u = x + dx - padding, from = (v * width + u) * channels;
            if (v < 0 || u < 0 || v >= height || u >= width) patch.fill(0, to, to + channels);
            else for (let c = 0; c < channels; c++) patch[to + c] = data[from + c];
          }
        }
        multiply(weight, outputs, patch.length, patch, 0, out, (y * columns + x) * outputs);
      }
    }
    const map = {data: out, shape: [rows, columns, outputs]};
    return pooled ? pooledOver(map, rows / 2, columns / 2, Math.max) : map;
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
    if (how !== "flatten") return pooledOver({data, shape: [height, width, channels]}, 1, 1, how === "max" && Math.max);
    const pixels = height * width;
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

// Maximum or, without a function, mean over the cells of a grid, whose borders are those of torch's adaptive pooling
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
