// libwfvae from Node, through koffi: models, streams, latents and frames as promises. README.md beside it shows how.
//
// Calls that compute run in libuv's thread pool, so that the event loop goes on. Calls on one stream queue up and run in
// the order in which you made them. Frames and latents are Buffers, typed arrays or DataViews, read and written in place.
// Do not detach one (transfer, postMessage with a transfer list) before its call has ended.
//
// SPDX-License-Identifier: MIT OR Apache-2.0
'use strict';

const path = require('node:path');
const koffi = require('koffi');

// The library needs 256 KiB of stack, and koffi gives asynchronous calls 128 KiB. It refuses changes after the first
// library was loaded; then another part of the program must have set enough.
const STACK = 1 << 20;
if (koffi.config().async_stack_size < STACK) {
  try {
    koffi.config({ async_stack_size: STACK });
  } catch (cause) {
    throw new Error('require wfvae.js before other modules load libraries with koffi, or set async_stack_size to 1 MiB first', { cause });
  }
}

const DIRECTION = { encode: 1, decode: 2 };
const POSTERIOR = { mean: 0, sample: 1, moments: 2 };
const FORMAT = {
  rgb8: { value: 1, bytes: 3, elements: 'Uint8Array' }, rgba8: { value: 2, bytes: 4, elements: 'Uint8Array' },
  bgr8: { value: 9, bytes: 3, elements: 'Uint8Array' }, bgra8: { value: 10, bytes: 4, elements: 'Uint8Array' },
  rgb16: { value: 11, bytes: 6, elements: 'Uint16Array' }, rgba16: { value: 12, bytes: 8, elements: 'Uint16Array' },
  rgb_f32: { value: 15, bytes: 12, elements: 'Float32Array' }, rgba_f32: { value: 16, bytes: 16, elements: 'Float32Array' },
};

const ModelOptions = koffi.struct({
  struct_size: 'size_t', runtime_path: 'const char *', provider: 'uint32_t', device: 'uint32_t', n_threads: 'uint32_t',
  check_finite: 'uint32_t', log_callback: 'void *', log_user: 'void *', log_level: 'uint32_t', cache_type: 'uint32_t',
  attention_bytes: 'uint64_t', convolution: 'uint32_t', layout: 'uint32_t', encode_precision: 'uint32_t',
  decode_precision: 'uint32_t', provider_options: 'const char *', error_text: 'void *', error_size: 'size_t',
});
const ModelInfo = koffi.struct({
  struct_size: 'size_t', name: 'const char *', provider: 'const char *', runtime_path: 'const char *',
  runtime_version: 'const char *', parameters: 'uint64_t', identity: 'uint64_t', weight_bytes: 'uint64_t', sessions: 'uint32_t',
  generation: 'uint32_t', latent_channels: 'uint32_t', spatial_compression: 'uint32_t', temporal_compression: 'uint32_t',
  encode_delay: 'uint32_t', decode_delay: 'uint32_t', has_attention: 'uint32_t', has_scaling: 'uint32_t', whole_clips: 'uint32_t',
  encode_halo: 'uint32_t', decode_halo: 'uint32_t', fallback: 'const char *', device_bytes: 'uint64_t', device: 'uint32_t',
  encode_precision: 'uint32_t', decode_precision: 'uint32_t', directions: 'uint32_t', encoder_identity: 'uint64_t',
  decoder_identity: 'uint64_t', decode_whole_clips: 'uint32_t',
  reserved: 'uint32_t',
});
const Options = koffi.struct({
  struct_size: 'size_t', width: 'uint32_t', height: 'uint32_t', directions: 'uint32_t', padding: 'uint32_t',
  latent_type: 'uint32_t', posterior: 'uint32_t', seed: 'uint64_t', scaled: 'uint32_t', tiling: 'uint32_t',
  tile_width: 'uint32_t', tile_height: 'uint32_t', tile_overlap: 'uint32_t', any_encoder: 'uint32_t', clip_frames: 'uint64_t',
  memory_limit: 'uint64_t', alpha: 'uint32_t', frame_memory: 'uint32_t', latent_memory: 'uint32_t',
  reserved: 'uint32_t', cuda_stream: 'void *', error_text: 'void *', error_size: 'size_t',
});
const Info = koffi.struct({
  struct_size: 'size_t', width: 'uint32_t', height: 'uint32_t', latent_width: 'uint32_t', latent_height: 'uint32_t',
  latent_channels: 'uint32_t', encoded_channels: 'uint32_t', latent_size: 'uint64_t', encoded_size: 'uint64_t',
  encode_state_bytes: 'uint64_t', decode_state_bytes: 'uint64_t', frames_in: 'uint64_t', latents_out: 'uint64_t',
  latents_in: 'uint64_t', frames_out: 'uint64_t', encode_steps: 'uint64_t', decode_steps: 'uint64_t', needs_reset: 'uint32_t',
  reserved: 'uint32_t',
});
const Progress = koffi.struct({ struct_size: 'size_t', steps_done: 'uint64_t', steps_total: 'uint64_t' });
const Frame = koffi.struct({
  struct_size: 'size_t', format: 'uint32_t', width: 'uint32_t', height: 'uint32_t', bit_depth: 'uint32_t', range: 'uint32_t',
  matrix: 'uint32_t', planes: koffi.array('void *', 4), strides: koffi.array('intptr_t', 4, 'Array'),
  pixel_steps: koffi.array('intptr_t', 4, 'Array'), yuv_range: 'uint32_t', siting: 'uint32_t',
});
const Frames = koffi.struct({
  struct_size: 'size_t', first: 'void *', n_frames: 'size_t', frame_strides: koffi.array('intptr_t', 4, 'Array'),
});
const structs = {
  wfvae_model_options: ModelOptions, wfvae_model_info: ModelInfo, wfvae_options: Options, wfvae_info: Info,
  wfvae_progress: Progress, wfvae_frame: Frame, wfvae_frames: Frames,
};

const name = process.platform === 'win32' ? 'wfvae.dll' : 'libwfvae.so';
const file = process.env.WFVAE_LIBRARY || path.join(__dirname, '../../target/release', name);
let library;
try {
  library = koffi.load(file);
} catch (cause) {
  throw new Error(`${file}: ${cause.message}; set WFVAE_LIBRARY to the path of ${name}`, { cause });
}
const inout = (type) => koffi.inout(koffi.pointer(type));
const out = (type) => koffi.out(koffi.pointer(type));
const c = {
  version: library.func('wfvae_version', 'str', []),
  status_str: library.func('wfvae_status_str', 'str', ['int32_t']),
  last_error: library.func('wfvae_last_error', 'str', ['void *']),
  model_open: library.func('wfvae_model_open', 'int', ['str', koffi.pointer(ModelOptions), out('void *')]),
  model_close: library.func('wfvae_model_close', 'void', ['void *']),
  model_get_info: library.func('wfvae_model_get_info', 'int', ['void *', inout(ModelInfo)]),
  latents_for_frames: library.func('wfvae_latents_for_frames', 'uint64_t', ['void *', 'uint64_t']),
  create: library.func('wfvae_create', 'int', ['void *', koffi.pointer(Options), out('void *')]),
  destroy: library.func('wfvae_destroy', 'void', ['void *']),
  encode_frames: library.func('wfvae_encode_frames', 'int', ['void *', koffi.pointer(Frames), 'void *', 'size_t', out('size_t')]),
  encode_flush: library.func('wfvae_encode_flush', 'int', ['void *', 'void *', 'size_t', out('size_t')]),
  decode_frames: library.func('wfvae_decode_frames', 'int', ['void *', 'void *', 'size_t', koffi.pointer(Frames), out('size_t')]),
  decode_flush_frames: library.func('wfvae_decode_flush_frames', 'int', ['void *', koffi.pointer(Frames), out('size_t')]),
  encode_count: library.func('wfvae_encode_count', 'int', ['void *', 'size_t', out('size_t')]),
  encode_flush_count: library.func('wfvae_encode_flush_count', 'int', ['void *', out('size_t')]),
  decode_count: library.func('wfvae_decode_count', 'int', ['void *', 'size_t', out('size_t')]),
  decode_flush_count: library.func('wfvae_decode_flush_count', 'int', ['void *', out('size_t')]),
  reset: library.func('wfvae_reset', 'int', ['void *']),
  cancel: library.func('wfvae_cancel', 'int', ['void *']),
  set_frame_count: library.func('wfvae_set_frame_count', 'int', ['void *', 'uint64_t']),
  set_seed: library.func('wfvae_set_seed', 'int', ['void *', 'uint64_t']),
  get_info: library.func('wfvae_get_info', 'int', ['void *', inout(Info)]),
  get_progress: library.func('wfvae_get_progress', 'int', ['void *', inout(Progress)]),
};

// A struct's value with all fields zero but struct_size.
function blank(type) {
  const zero = ({ primitive, length, ref }) => {
    if (primitive === 'Array') return Array(length).fill(zero(ref));
    return primitive === 'Pointer' || primitive === 'String' ? null : 0;
  };
  const fields = Object.entries(type.members).map(([name, member]) => [name, zero(member.type)]);
  return { ...Object.fromEntries(fields), struct_size: koffi.sizeof(type) };
}

/** An error of libwfvae: `status` is a wfvae_status, `message` the library's text. */
class WfvaeError extends Error {
  constructor(status, text) {
    super(text || c.status_str(status));
    this.name = 'WfvaeError';
    this.status = status;
  }
}

// What the pool's threads read and write. koffi keeps no references to buffers during an asynchronous call.
const inUse = new Set();

// Runs a function in the thread pool and gives its status. `keep` is all that it reads and writes.
function background(call, keep, ...args) {
  return new Promise((resolve, reject) => {
    inUse.add(keep);
    try {
      call.async(...args, (error, status) => {
        inUse.delete(keep);
        if (error) reject(error);
        else resolve(status);
      });
    } catch (error) {
      inUse.delete(keep);
      reject(error);
    }
  });
}

function check(condition, text) {
  if (!condition) throw new TypeError(text);
}

function integer(value, name, least = 0) {
  check(Number.isSafeInteger(value) && value >= least, `${name} is ${String(value)}, not an integer of at least ${least}`);
  return value;
}

// uint32_t, which koffi would cut without a word.
function u32(value, name) {
  check(integer(value, name) <= 0xffffffff, `${name} is ${value}, too large`);
  return value;
}

function seedOf(value) {
  check(
    (typeof value === 'bigint' || Number.isSafeInteger(value)) && value >= 0 && value < 1n << 64n,
    `seed is ${String(value)}, not an integer of 0 to 2^64 - 1; above 2^53 use a BigInt`,
  );
  return value;
}

function text(value, name) {
  check(value == null || (typeof value === 'string' && !value.includes('\0')), `${name} is no string without zero characters`);
  return value ?? null;
}

function choice(table, key, name) {
  check(Object.hasOwn(table, key), `${name} is "${String(key)}", not one of ${Object.keys(table).join(', ')}`);
  return table[key];
}

// An object of options, without a name that is not one of theirs.
function known(options, ...names) {
  check(Object.prototype.toString.call(options) === '[object Object]', `options is no object with ${names.join(', ')}`);
  for (const key of Object.keys(options)) check(names.includes(key), `there is no option ${key}, only ${names.join(', ')}`);
  return options;
}

// The bytes of a Buffer, typed array or DataView, which hold whole items. Touching `buffer` moves small typed arrays off
// V8's heap, where the garbage collector would move them during a call.
function bytes(view, name, elements, item, size) {
  check(ArrayBuffer.isView(view), `${name} is no Buffer, typed array or DataView`);
  const type = view[Symbol.toStringTag];
  check(view.BYTES_PER_ELEMENT === 1 || type === 'DataView' || type === elements, `${name} is a ${type}, not a ${elements} or bytes`);
  check(!view.buffer.resizable && !view.buffer.growable, `${name} lies in a resizable buffer, which may shrink during a call`);
  check(view.byteLength > 0 && view.byteLength % size === 0, `${name} has ${view.byteLength} bytes; a ${item} has ${size}`);
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

function errorBuffer() {
  const buffer = Buffer.alloc(4096);
  return { buffer, read: () => buffer.toString('utf8', 0, Math.max(buffer.indexOf(0), 0)) };
}

// Frees what was not closed. The held value must not refer to the object itself.
const forgotten = new FinalizationRegistry(({ free, pointer }) => free(pointer));

class Handle {
  constructor(pointer, free) {
    this.pointer = pointer;
    this.free = free;
    forgotten.register(this, { free, pointer }, this);
  }

  get closed() {
    return this.pointer === null;
  }

  use() {
    check(this.pointer !== null, `this ${this.constructor.name} is closed`);
    return this.pointer;
  }

  release() {
    if (this.pointer === null) return;
    forgotten.unregister(this);
    this.free(this.pointer);
    this.pointer = null;
  }
}

/** An open model. Any number of streams share its weights. */
class Model extends Handle {
  /**
   * Opens a checkpoint (a folder or file), or without a path the built-in model.
   * options: runtimePath, threads (for one call; 0: one for each CPU), checkFinite.
   */
  static async open(checkpoint = null, options = {}) {
    known(options, 'runtimePath', 'threads', 'checkFinite');
    const error = errorBuffer();
    const native = {
      ...blank(ModelOptions), runtime_path: text(options.runtimePath, 'runtimePath'), n_threads: u32(options.threads ?? 0, 'threads'),
      check_finite: options.checkFinite ? 1 : 0, error_text: error.buffer, error_size: error.buffer.length,
    };
    const result = [null];
    const status = await background(c.model_open, [error.buffer, native, result], text(checkpoint, 'the path'), native, result);
    if (status !== 0) throw new WfvaeError(status, error.read());
    return new Model(result[0]);
  }

  constructor(pointer) {
    super(pointer, c.model_close);
    this.running = 0;
    this.closing = false;
  }

  /** What the model is and what it runs on; the fields of wfvae_model_info. Integers above 2^53 are BigInts. */
  get info() {
    const info = blank(ModelInfo);
    const status = c.model_get_info(this.use(), info);
    if (status !== 0) throw new WfvaeError(status, c.last_error(null));
    delete info.struct_size;
    return info;
  }

  /** Latents of a whole clip of so many frames. */
  latentsForFrames(frames) {
    return Number(c.latents_for_frames(this.use(), integer(frames, 'frames')));
  }

  /**
   * Creates a stream for frames of width x height pixels. options: format (rgb8, rgba8, bgr8, bgra8, rgb16, rgba16,
   * rgb_f32, rgba_f32), bottomUp, directions (a list of 'encode' and 'decode'), padding, posterior (mean, sample,
   * moments), seed (a number or BigInt), scaled, alpha.
   */
  async stream(width, height, options = {}) {
    known(options, 'format', 'bottomUp', 'directions', 'padding', 'posterior', 'seed', 'scaled', 'alpha');
    const error = errorBuffer();
    const format = choice(FORMAT, options.format ?? 'rgb8', 'format');
    const directions = options.directions ?? [], seed = seedOf(options.seed ?? 0);
    check(Array.isArray(directions), 'directions is no list');
    const native = {
      ...blank(Options), width: u32(width, 'width'), height: u32(height, 'height'),
      directions: directions.reduce((all, one) => all | choice(DIRECTION, one, 'directions'), 0),
      padding: options.padding ? 1 : 0, posterior: choice(POSTERIOR, options.posterior ?? 'mean', 'posterior'), seed,
      scaled: options.scaled ? 1 : 0, alpha: options.alpha ? 1 : 0, error_text: error.buffer, error_size: error.buffer.length,
    };
    const result = [null], model = this.use();
    this.running++;
    let status;
    try {
      status = await background(c.create, [this, error.buffer, native, result], model, native, result);
    } finally {
      this.running--;
      if (this.closing && this.running === 0) this.release();
    }
    if (status !== 0) throw new WfvaeError(status, error.read());
    return new Stream(result[0], format, Boolean(options.bottomUp));
  }

  use() {
    check(!this.closing, 'this Model is closed');
    return super.use();
  }

  /** Closes the model. Its streams keep what they need. */
  close() {
    this.closing = true;
    if (this.running === 0) this.release();
  }
}

/** A stream: encodes frames to latents and decodes latents to frames, one clip at a time. */
class Stream extends Handle {
  constructor(pointer, format, bottomUp) {
    super(pointer, c.destroy);
    this.format = format;
    this.bottomUp = bottomUp;
    this.tail = Promise.resolve();
    this.closing = null;
    const info = this.read();
    this.width = info.width;
    this.height = info.height;
    this.latentShape = [info.latent_channels, info.latent_height, info.latent_width];
    this.latentSize = info.latent_size;
    this.encodedSize = info.encoded_size;
    /** Bytes of one frame. */
    this.frameSize = info.width * info.height * format.bytes;
  }

  read() {
    const info = blank(Info);
    this.check(c.get_info(this.use(), info));
    delete info.struct_size;
    delete info.reserved;
    return info;
  }

  check(status) {
    if (status !== 0) throw new WfvaeError(status, c.last_error(this.pointer));
  }

  // Runs a job when those before it have ended. A stream serves one call at a time; the next would be refused as busy.
  queue(job) {
    const result = this.tail.then(() => {
      check(!this.closing, 'this Stream is closed');
      return job();
    });
    this.tail = result.catch(() => {});
    return result;
  }

  // Asks one of the functions that count.
  count(call, ...args) {
    const result = [0];
    this.check(call(this.pointer, ...args, result));
    return Number(result[0]);
  }

  // A call that computes, in its turn, on `input`. prepare() runs only then, because the calls before this one change how
  // much it will give: it returns the memory for the result, the function, its arguments, and what they refer to. Only the
  // call's own signal cancels it.
  compute(options = {}, input, prepare) {
    const { signal } = known(options, 'signal');
    check(signal == null || typeof signal.throwIfAborted === 'function', 'signal is no AbortSignal');
    return this.queue(async () => {
      signal?.throwIfAborted();
      check(input?.length !== 0, 'the memory was transferred before its call began');
      const { result, call, args, keep } = prepare();
      const cancel = () => c.cancel(this.pointer);
      signal?.addEventListener('abort', cancel, { once: true });
      let status;
      try {
        const written = [0];
        status = await background(call, [this, input, result, args, keep, written], this.pointer, ...args, written);
      } finally {
        signal?.removeEventListener('abort', cancel);
      }
      // An abort has cancelled the stream, however the call ended.
      signal?.throwIfAborted();
      this.check(status);
      return result;
    });
  }

  // wfvae_frames for `count` frames in `view`, and what it refers to.
  frames(view, count) {
    const stride = this.width * this.format.bytes;
    const top = this.bottomUp && count > 0 ? view.subarray((this.height - 1) * stride) : view;
    const memory = Buffer.alloc(koffi.sizeof(Frame));
    koffi.encode(memory, Frame, {
      ...blank(Frame), format: this.format.value, width: this.width, height: this.height,
      planes: [count > 0 ? top : null, null, null, null], strides: [this.bottomUp ? -stride : stride, 0, 0, 0],
    });
    const many = { ...blank(Frames), first: memory, n_frames: count, frame_strides: [this.frameSize, 0, 0, 0] };
    return { many, keep: [top, memory] };
  }

  /**
   * Encodes frames, which lie one after another without gaps. Resolves to a Float32Array of the latents that they
   * complete, [n, C, h, w]. signal: an AbortSignal; after it has ended a call, reset().
   */
  async encode(frames, options) {
    const view = bytes(frames, 'frames', this.format.elements, 'frame', this.frameSize), count = view.length / this.frameSize;
    return this.compute(options, view, () => {
      const latents = this.count(c.encode_count, count), result = new Float32Array(latents * this.encodedSize / 4);
      const { many, keep } = this.frames(view, count);
      return { result, call: c.encode_frames, args: [many, result, latents], keep };
    });
  }

  /** Ends the clip for encoding. Resolves to the latent of an incomplete last group, if there is one. */
  async encodeFlush(options) {
    return this.compute(options, null, () => {
      const latents = this.count(c.encode_flush_count), result = new Float32Array(latents * this.encodedSize / 4);
      return { result, call: c.encode_flush, args: [result, latents] };
    });
  }

  /** Decodes latents, a Float32Array of [n, C, h, w]. Resolves to a Buffer of the frames that are final. */
  async decode(latents, options) {
    const view = bytes(latents, 'latents', 'Float32Array', 'latent', this.latentSize), count = view.length / this.latentSize;
    return this.compute(options, view, () => {
      // Not from Node's pool of small Buffers, which other code shares.
      const frames = this.count(c.decode_count, count), result = Buffer.alloc(frames * this.frameSize);
      const { many, keep } = this.frames(result, frames);
      return { result, call: c.decode_frames, args: [view, count, many], keep };
    });
  }

  /** Ends the clip for decoding. Resolves to the frames that were held back. */
  async decodeFlush(options) {
    return this.compute(options, null, () => {
      const frames = this.count(c.decode_flush_count), result = Buffer.alloc(frames * this.frameSize);
      const { many, keep } = this.frames(result, frames);
      return { result, call: c.decode_flush_frames, args: [many], keep };
    });
  }

  /** Tells the decoder how many frames the clip has, before its last latents are decoded. */
  async setFrameCount(frames) {
    integer(frames, 'frames');
    await this.queue(() => this.check(c.set_frame_count(this.pointer, frames)));
  }

  /** The seed of the next clip's samples, a number or a BigInt; not in the middle of a clip. */
  async setSeed(seed) {
    seedOf(seed);
    await this.queue(() => this.check(c.set_seed(this.pointer, seed)));
  }

  /** Starts a new clip, and forgets any failure and any cancellation. */
  reset() {
    return this.queue(() => this.check(c.reset(this.pointer)));
  }

  /** Sizes and counters when the calls before this one have ended; the fields of wfvae_info. */
  info() {
    return this.queue(() => this.read());
  }

  /** How far the running call is, at once: { done, total } in steps of the network; 0 of 0 if no call is running. */
  progress() {
    const progress = blank(Progress);
    this.check(c.get_progress(this.use(), progress));
    return { done: Number(progress.steps_done), total: Number(progress.steps_total) };
  }

  /** Cancels the calls that run or wait, and destroys the stream. Resolves when that is done. */
  close() {
    if (!this.closing) {
      c.cancel(this.pointer);
      this.closing = this.tail.then(() => this.release());
    }
    return this.closing;
  }
}

/** The release of the library. */
const version = c.version();

// For the test that compares the declarations above with the header.
const declared = {
  structs, functions: c,
  enums: {
    wfvae_direction: DIRECTION, wfvae_posterior: POSTERIOR,
    wfvae_pixel_format: Object.fromEntries(Object.entries(FORMAT).map(([name, { value }]) => [name, value])),
  },
};

module.exports = { Model, Stream, WfvaeError, version, declared };
