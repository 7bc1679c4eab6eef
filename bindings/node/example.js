// Encodes and decodes a clip of raw RGB frames: node example.js WIDTH HEIGHT < in.rgb > out.rgb
// For example between two ffmpegs: ffmpeg -i in.mkv -f rawvideo -pix_fmt rgb24 - | node example.js 640 480 | ffplay ...
//
// SPDX-License-Identifier: MIT OR Apache-2.0
'use strict';

const { once } = require('node:events');
const { Model } = require('./wfvae.js');

async function main([width, height]) {
  if (height === undefined) throw new Error('usage: node example.js WIDTH HEIGHT < in.rgb > out.rgb');
  const model = await Model.open();
  const stream = await model.stream(Number(width), Number(height), { padding: true });
  let frames = 0;
  const write = async (data) => {
    if (!process.stdout.write(data)) await once(process.stdout, 'drain');
  };
  const decode = async (latents) => {
    if (latents.length) await write(await stream.decode(latents));
  };
  let rest = Buffer.alloc(0);
  for await (const piece of process.stdin) {
    rest = Buffer.concat([rest, piece]);
    const whole = Math.floor(rest.length / stream.frameSize);
    if (whole === 0) continue;
    await decode(await stream.encode(rest.subarray(0, whole * stream.frameSize)));
    frames += whole;
    rest = rest.subarray(whole * stream.frameSize);
  }
  if (rest.length) throw new Error(`the clip ends within frame ${frames}`);
  if (frames === 0) throw new Error('the clip has no frames');
  await stream.setFrameCount(frames);
  await decode(await stream.encodeFlush());
  await write(await stream.decodeFlush());
  await stream.close();
  model.close();
  console.error(`${frames} frames through ${width}x${height}`);
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
