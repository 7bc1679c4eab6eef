// Tests wfvae.js with real models: node --test. WFVAE_LIBRARY: the library's path; WFVAE_ABI: what abi.py wrote.
//
// SPDX-License-Identifier: MIT OR Apache-2.0
'use strict';

const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const test = require('node:test');
const v8 = require('node:v8');
const vm = require('node:vm');
const { Worker } = require('node:worker_threads');
const koffi = require('koffi');
const { Model, WfvaeError, version, declared } = require('../wfvae.js');

v8.setFlagsFromString('--expose-gc');
const gc = vm.runInNewContext('gc');

const W = 64, H = 48, N = 17;
const golden = path.join(__dirname, '../../../tests/golden');
// Node cannot start other programs in Wine.
const programs = { skip: process.env.WFVAE_TEST_NO_PROCESSES && 'WFVAE_TEST_NO_PROCESSES is set' };

function clip(width, height, count, channels = 3) {
  const data = Buffer.alloc(width * height * channels * count);
  let i = 0;
  for (let t = 0; t < count; t++)
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++)
        for (let k = 0; k < channels; k++)
          data[i++] = k === 3 ? 255 : 128 + 100 * Math.sin((x + 3 * t) * 0.15 + k) * Math.cos((y - t) * 0.11);
  return data;
}

function psnr(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return 10 * Math.log10(255 * 255 * a.length / sum);
}

function joined(arrays) {
  return Buffer.concat(arrays.map((a) => Buffer.from(a.buffer, a.byteOffset, a.byteLength)));
}

async function encodeAll(stream, frames) {
  await stream.reset();
  return joined([await stream.encode(frames), await stream.encodeFlush()]);
}

async function decodeAll(stream, latents, count) {
  await stream.reset();
  await stream.setFrameCount(count);
  return joined([await stream.decode(latents), await stream.decodeFlush()]);
}

function status(expected, text) {
  return (error) => {
    assert.ok(error instanceof WfvaeError, String(error));
    assert.equal(error.status, expected, error.message);
    assert.match(error.message, text);
    return true;
  };
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// A type in the words of abi.py.
function kind({ primitive, size, ref }) {
  const letter = primitive === 'Void' ? 'v' : primitive === 'String' ? 's' : primitive === 'Pointer' ? (ref.name === 'float' ? 'r' : 'p')
    : /^UInt/.test(primitive) ? 'u' : /^Int/.test(primitive) ? 'i' : /^Float/.test(primitive) ? 'f' : primitive;
  return letter + size;
}

// wfvae.js declares what it uses: of a struct all, of the rest some.
test('declarations are those of the C compiler', { skip: !process.env.WFVAE_ABI && 'WFVAE_ABI is not set' }, () => {
  const lines = fs.readFileSync(process.env.WFVAE_ABI, 'utf8').trim().split('\n');
  const { structs, functions, enums } = declared;
  const ours = [];
  for (const [name, type] of Object.entries(structs)) {
    ours.push(`struct ${name} ${koffi.sizeof(type)}`);
    for (const [field, { type: of, offset }] of Object.entries(type.members)) {
      const element = of.primitive === 'Array' ? of.ref : of;
      ours.push(`field ${name} ${field} ${offset} ${of.size / element.size} ${kind(element)}`);
    }
  }
  for (const [name, values] of Object.entries(enums))
    for (const [value, number] of Object.entries(values)) ours.push(`value ${name} ${`${name}_${value}`.toUpperCase()} ${number}`);
  for (const { info } of Object.values(functions)) {
    // An enumeration is an int here.
    const result = info.result.name === 'int' ? 'e4' : kind(info.result);
    ours.push(['function', info.name, result, ...info.arguments.map((one) => kind(one.type))].join(' '));
  }
  assert.ok(ours.length > 120, String(ours.length));
  assert.deepEqual(ours.filter((line) => !lines.includes(line)), []);
  const whole = lines.filter((line) => line.startsWith('field ') && structs[line.split(' ')[1]]);
  assert.deepEqual(whole.filter((line) => !ours.includes(line)), []);
});

test('a clip in one call and in pieces', async () => {
  const frames = clip(W, H, N);
  const model = await Model.open();
  assert.equal(model.info.name, 'the built-in model');
  assert.match(version, /^\d+\.\d+/);
  const stream = await model.stream(W, H);
  const whole = await encodeAll(stream, frames);
  assert.equal(whole.length, model.latentsForFrames(N) * stream.latentSize);
  const decoded = await decodeAll(stream, whole, N);
  assert.equal(decoded.length, frames.length);
  assert.ok(psnr(frames, decoded) > 25, psnr(frames, decoded));

  // Calls that are not awaited queue up, so that a stream is never busy.
  await stream.reset();
  const size = stream.frameSize;
  const parts = [[0, 1], [1, 3], [3, 8], [8, 9], [9, 17]].map(([a, b]) => stream.encode(frames.subarray(a * size, b * size)));
  parts.push(stream.encodeFlush());
  assert.deepEqual(joined(await Promise.all(parts)), whole);
  assert.equal((await stream.info()).frames_in, N);
  const out = [stream.setFrameCount(N)];
  for (let i = 0; i < whole.length; i += stream.latentSize) out.push(stream.decode(whole.subarray(i, i + stream.latentSize)));
  out.push(stream.decodeFlush());
  assert.deepEqual(Buffer.concat((await Promise.all(out)).slice(1)), decoded);

  // Other kinds of memory: typed arrays, DataViews, an offset into a buffer, shared memory.
  const shared = new Uint8Array(new SharedArrayBuffer(frames.length + 5), 5);
  shared.set(frames);
  for (const view of [new Uint8Array(frames), new Uint8ClampedArray(frames), new DataView(new Uint8Array(frames).buffer), shared])
    assert.deepEqual(await encodeAll(stream, view), whole);

  // RGBA, the bottom row first.
  const texture = await model.stream(W, H, { format: 'rgba8', bottomUp: true });
  const turned = Buffer.alloc(W * H * 4 * N);
  const rgba = clip(W, H, N, 4);
  for (let t = 0; t < N; t++)
    for (let y = 0; y < H; y++) rgba.copy(turned, (t * H + H - 1 - y) * W * 4, (t * H + y) * W * 4, (t * H + y + 1) * W * 4);
  assert.deepEqual(await encodeAll(texture, turned), whole);

  // Each clip has its seed.
  const seed = 2n ** 64n - 1n, sampler = await model.stream(W, H, { posterior: 'sample' });
  const other = await model.stream(W, H, { posterior: 'sample', seed });
  const sampled = await encodeAll(sampler, frames);
  await assert.rejects(sampler.setSeed(seed), status(103, /encoded already/));
  await sampler.reset();
  await sampler.setSeed(seed);
  assert.deepEqual(await encodeAll(sampler, frames), await encodeAll(other, frames));
  assert.notDeepEqual(await encodeAll(other, frames), sampled);
  await Promise.all([stream.close(), texture.close(), sampler.close(), other.close()]);
  model.close();
});

test('error texts', async () => {
  const missing = Array.from({ length: 20 }, (_, i) => `missing-${i} Grüße 世界 🎬`);
  const errors = await Promise.allSettled(missing.map((name) => Model.open(name)));
  errors.forEach(({ reason }, i) => {
    status(200, /missing/)(reason);
    assert.ok(reason.message.includes(missing[i]), reason.message);
  });
  await assert.rejects(Model.open('a\0b'), TypeError);
  await assert.rejects(Model.open(7), TypeError);
  await assert.rejects(Model.open(null, { threads: -1 }), /threads/);
  await assert.rejects(Model.open(null, { threads: 2 ** 32 }), /threads/);
  await assert.rejects(Model.open(null, { threads: 99999 }), status(100, /threads/));
  await assert.rejects(Model.open(null, { runtimePath: '/nonexistent/libonnxruntime.so' }), (error) => [103, 300].includes(error.status));
  const model = await Model.open(path.join(golden, 'v1-tiny-8x'));
  await assert.rejects(model.stream(63, 48), status(101, /63/));
  await assert.rejects(model.stream(W, 2 ** 33), TypeError);
  await assert.rejects(model.stream(W, H, { format: 'rgb7' }), /rgb7/);
  await assert.rejects(model.stream(W, H, { posterior: '__proto__' }), /posterior/);
  await assert.rejects(model.stream(W, H, { seed: -1 }), TypeError);
  for (const seed of [1.5, 'x', 2 ** 53, 1n << 64n]) await assert.rejects(model.stream(W, H, { seed }), /seed is .* use a BigInt/);
  await assert.rejects(model.stream(W, H, { directions: 'encode' }), /directions is no list/);
  await assert.rejects(model.stream(W, H, { bottom_up: true }), /no option bottom_up, only format, bottomUp/);
  await assert.rejects(Model.open(null, { runtime: 'x' }), /no option runtime, only runtimePath/);
  const stream = await model.stream(W, H);
  const frames = clip(W, H, 1);
  for (const options of [null, new AbortController().signal, 7]) await assert.rejects(stream.encode(frames, options), /no object with signal/);
  await assert.rejects(stream.encode(frames, { signal: new AbortController() }), /signal is no AbortSignal/);
  // Values of another type would be read as other pixels, in another number.
  await assert.rejects(stream.encode(new Float32Array(frames.length)), /frames is a Float32Array, not a Uint8Array or bytes/);
  await assert.rejects(stream.encode(new Uint16Array(frames.length)), /frames is a Uint16Array/);
  const deep = await model.stream(W, H, { format: 'rgb_f32' });
  await assert.rejects(deep.encode(new Float64Array(frames.length)), /frames is a Float64Array, not a Float32Array or bytes/);
  await assert.rejects(deep.encode(new Uint8Array(4 * frames.length + 1).subarray(1)), status(100, /multiples of 4 bytes/));
  const floats = new Float32Array(frames).map((value) => value / 255), first = await deep.encode(floats);
  await deep.reset();
  assert.deepEqual(await deep.encode(Buffer.from(floats.buffer)), first);
  await deep.close();
  await assert.rejects(stream.encode('text'), TypeError);
  await assert.rejects(stream.encode([1, 2, 3]), TypeError);
  await assert.rejects(stream.encode(frames.subarray(1)), /9215 bytes; a frame has 9216/);
  await assert.rejects(stream.encode(Buffer.alloc(0)), TypeError);
  const resizable = new ArrayBuffer(frames.length, { maxByteLength: 99999 }); // Node 18 has none
  if (resizable.resizable) await assert.rejects(stream.encode(new Uint8Array(resizable)), /resizable/);
  await assert.rejects(stream.decode(new Float64Array(stream.latentSize / 8)), /Float32Array/);
  await assert.rejects(stream.decode(new Float32Array(7)), /a latent has/);
  await assert.rejects(stream.decode(new Uint8Array(stream.latentSize + 1).subarray(1)), status(100, /aligned to 4 bytes/));
  const gone = new Uint8Array(frames), last = stream.encode(gone);
  structuredClone(gone.buffer, { transfer: [gone.buffer] });
  await assert.rejects(last, /transferred/);
  const nan = new Float32Array(stream.latentSize / 4).fill(NaN);
  await assert.rejects(stream.decode(nan), status(304, /NaN|finite/));
  assert.equal((await stream.info()).needs_reset, 0);
  await assert.rejects(stream.setFrameCount(-1), TypeError);
  await assert.rejects(stream.setSeed(-1), TypeError);
  await assert.rejects(stream.setSeed(1), status(100, /not a sample/));
  const z = await stream.encode(frames);
  await stream.encodeFlush();
  await assert.rejects(stream.encode(frames), status(103, /reset/));
  assert.ok((await stream.decode(z)).length > 0);
  const encoder = await model.stream(W, H, { directions: ['encode'] });
  await assert.rejects(encoder.decode(z), status(103, /decode/));
  await encoder.close();
  await stream.close();
  model.close();
});

test('closing', async () => {
  const model = await Model.open();
  const creating = model.stream(W, H);
  model.close();
  model.close();
  assert.throws(() => model.info, /closed/);
  await assert.rejects(model.stream(W, H), /closed/);
  const stream = await creating;
  const waiting = [stream.encode(clip(W, H, 9)), stream.reset(), stream.encode(clip(W, H, 9))];
  const closed = stream.close();
  const results = await Promise.allSettled(waiting);
  assert.ok(results.every((result) => result.status === 'rejected'), JSON.stringify(results));
  await closed;
  await stream.close();
  await assert.rejects(stream.encode(clip(W, H, 1)), /closed/);
  await assert.rejects(stream.info(), /closed/);
  assert.throws(() => stream.progress(), /closed/);

  const again = await Model.open();
  const big = await again.stream(512, 384);
  const running = big.encode(clip(512, 384, 17)).catch((error) => error);
  while (big.progress().done === 0) await sleep(1);
  const start = Date.now();
  await big.close();
  status(400, /cancel/)(await running);
  assert.ok(Date.now() - start < 1000);
  again.close();
});

test('cancelling, progress, and an event loop that goes on', async () => {
  const model = await Model.open();
  const stream = await model.stream(512, 384);
  const frames = clip(512, 384, 25);
  const controller = new AbortController();
  let ticks = 0, longest = 0, last = Date.now();
  const timer = setInterval(() => {
    longest = Math.max(longest, Date.now() - last);
    last = Date.now();
    ticks++;
  }, 2);
  const call = stream.encode(frames, { signal: controller.signal });
  const next = stream.encode(frames).catch((error) => error);
  let seen = { done: 0, total: 0 };
  while (seen.done < 4) {
    await sleep(1);
    seen = stream.progress();
  }
  clearInterval(timer);
  assert.ok(seen.total > seen.done, JSON.stringify(seen));
  assert.ok(ticks > 3 && longest < 500, `${ticks} ticks, the longest pause ${longest} ms`);
  const start = Date.now();
  controller.abort();
  await assert.rejects(call, { name: 'AbortError' });
  assert.ok(Date.now() - start < 1000);
  status(105, /reset/)(await next);
  await stream.reset();
  assert.deepEqual(stream.progress(), { done: 0, total: 0 });

  // An abort after the call's end, of which JavaScript has not heard yet: the call is cancelled all the same, as the
  // stream would refuse the next one.
  const late = new AbortController();
  await stream.encode(frames.subarray(0, stream.frameSize));
  const short = stream.encode(frames.subarray(0, stream.frameSize), { signal: late.signal });
  for (let i = 0; i < 20; i++) await null;
  for (const end = Date.now() + 100; Date.now() < end;);
  late.abort();
  await assert.rejects(short, { name: 'AbortError' });
  await stream.reset();
  await assert.rejects(stream.encode(frames, { signal: AbortSignal.abort() }), { name: 'AbortError' });
  // The same for a call that ends with another error.
  const bad = new AbortController(), refused = stream.decode(new Float32Array(stream.latentSize / 4).fill(NaN), { signal: bad.signal });
  for (let i = 0; i < 20; i++) await null;
  for (const end = Date.now() + 50; Date.now() < end;);
  bad.abort();
  await assert.rejects(refused, { name: 'AbortError' });
  await stream.reset();
  assert.equal((await stream.encode(frames.subarray(0, stream.frameSize))).byteLength, stream.encodedSize);
  await stream.close();
  model.close();
});

test('two streams at once, while the garbage collector runs', async () => {
  const model = await Model.open();
  const frames = clip(W, H, 9);
  const expected = await encodeAll(await model.stream(W, H), frames);
  let stop = false;
  const collector = (async () => {
    while (!stop) {
      for (let i = 0; i < 20; i++) Buffer.alloc(50000, 0xff);
      gc();
      await sleep(1);
    }
  })();
  await Promise.all([1, 2].map(async () => {
    for (let i = 0; i < 8; i++) {
      // Nothing else refers to the copy, nor to the stream, which is not closed.
      const stream = await model.stream(W, H);
      assert.deepEqual(joined([await stream.encode(Buffer.from(new Uint8Array(frames))), await stream.encodeFlush()]), expected);
    }
  }));
  // Calls that wait for a thread of the pool: what they read must still be there when they begin.
  const many = await Promise.all(Array.from({ length: 12 }, () => model.stream(W, H)));
  const calls = many.map((stream) => stream.encode(frames));
  for (let i = 0; i < 50; i++) await null;
  const litter = [];
  for (let i = 0; i < 8; i++) {
    gc();
    for (let k = 0; k < 2000; k++) litter.push(new Uint8Array(128).fill(0xff), Buffer.alloc(152, 0xff));
  }
  for (const latents of await Promise.all(calls)) assert.deepEqual(joined([latents]), expected);
  assert.equal(litter.length, 32000);
  // Tiny arrays live in V8's own heap, where they would move.
  const small = await (await Model.open(path.join(golden, 'v1-image'))).stream(8, 8, { padding: true });
  const picture = clip(8, 8, 1);
  const latent = joined([await small.encode(picture)]);
  for (let i = 0; i < 10; i++) {
    await small.reset();
    assert.deepEqual(joined([await small.encode(new Uint8Array(picture))]), latent);
  }
  stop = true;
  await collector;
  gc();
  await sleep(5);
});

test('worker threads', async () => {
  const program = `
    const { parentPort } = require('node:worker_threads');
    const { Model } = require(${JSON.stringify(path.join(__dirname, '../wfvae.js'))});
    Model.open().then((model) => model.stream(16, 16)).then(async (stream) => {
      parentPort.postMessage(await stream.encode(Buffer.alloc(16 * 16 * 3, 99)));
      stream.encode(Buffer.alloc(16 * 16 * 3 * 300));
      setTimeout(() => parentPort.postMessage('in a call'), 5);
    });`;
  const model = await Model.open(), stream = await model.stream(16, 16);
  const expected = await stream.encode(Buffer.alloc(16 * 16 * 3, 99));
  const worker = new Worker(program, { eval: true });
  assert.deepEqual((await once(worker, 'message'))[0], expected);
  await once(worker, 'message');
  await worker.terminate();
  await stream.close();
  model.close();
});

test('a process that ends during a call', programs, () => {
  const program = `
    const { Model } = require(${JSON.stringify(path.join(__dirname, '../wfvae.js'))});
    Model.open().then((model) => model.stream(256, 192)).then((stream) => {
      stream.encode(Buffer.alloc(256 * 192 * 3 * 9));
      setTimeout(() => process.exit(7), 20);
    });`;
  const result = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8' });
  assert.equal(result.status, 7, result.stderr);
});

test('the program of README.md', programs, () => {
  const [, program] = fs.readFileSync(path.join(__dirname, '../README.md'), 'utf8').match(/```js\n([^]*?)```/);
  const result = spawnSync(process.execPath, ['-e', program], { cwd: path.join(__dirname, '..'), encoding: 'utf8' });
  assert.equal(result.stdout, 'true\n', result.stderr);
});

test('the example program', programs, () => {
  const frames = clip(W, H, 11);
  const run = (input, ...args) => spawnSync(process.execPath, [path.join(__dirname, '../example.js'), ...args], { input });
  const result = run(frames, String(W), String(H));
  assert.equal(result.status, 0, result.stderr.toString());
  assert.equal(result.stdout.length, frames.length);
  assert.ok(psnr(frames, result.stdout) > 25);
  assert.equal(run(frames.subarray(1), String(W), String(H)).status, 1);
  assert.equal(run(frames).status, 1);
});
